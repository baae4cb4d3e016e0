"""What a run came to, in a few numbers: before and after."""

from typing import Any

from coppice.experiments.accuracy_matrix import AccuracyMatrix
from coppice.experiments.page.panel import Record, Words
from coppice.experiments.report import metric, widths_text

Tile = tuple[str, str, str]  # name, number, remark


def tiles(record: Record) -> list[Tile]:
    """The numbers to be seen first; of a run that is not finished none."""
    result = record["result"]
    final = result.get("final")
    if record.get("unfinished") or not final:
        return []
    if record["task"] == "stream":
        return _stream(result, final)
    found = []
    initial, path = result.get("initial"), result.get("path")
    if path:
        first, last = (sum(step["widths"]) for step in (path[0], path[result["chosen"]]))
        words = f"{widths_text(path[0]['widths'])} to {widths_text(path[result['chosen']]['widths'])}"
        found.append(("neurons", f"{first:,} → {last:,}", words))
    if final.get("sparsity"):
        found.append(
            ("dead synapses", f"{100 * final['sparsity']:.1f} %", f"{final['alive']:,} parameters alive")
        )
    before = initial["parameters"] if initial else None
    found.append(("parameters", _change(before, final["parameters"]), _fewer(before, final["parameters"])))
    found.append(("bytes", _change(initial["bytes"] if initial else None, final["bytes"]), ""))
    found.append(_score(record, final, initial))
    latency = record.get("timing", {}).get("latency", {})
    if latency.get("final"):
        was = f"{latency['initial'] * 1e6:,.0f} before" if latency.get("initial") else "one input"
        found.append(("latency, µs", f"{latency['final'] * 1e6:,.0f}", was))
    return found


def cost_table(record: Record) -> Words | None:
    """Size and cost before the first cut and at the end; None where there was no cut."""
    result, latency = record["result"], record.get("timing", {}).get("latency", {})
    initial, final = result.get("initial"), result.get("final")
    if not initial or not final:
        return None
    lines = []
    for key, words in (
        ("parameters", "parameters"),
        ("bytes", "bytes"),
        ("flops", "operations of a forward pass"),
    ):
        if initial.get(key) and final.get(key):
            lines.append([words, f"{initial[key]:,}", f"{final[key]:,}", _times(initial[key] / final[key])])
    if latency.get("initial") and latency.get("final"):
        before, after = latency["initial"], latency["final"]
        lines.append(
            ["latency of one input, µs", f"{before * 1e6:.1f}", f"{after * 1e6:.1f}", _times(before / after)]
        )
    lines.append([f"test {metric(dict(record))}", f"{initial['test']:.4f}", f"{final['test']:.4f}", ""])
    return Words(("", "before", "after", "times less"), lines)


def _stream(result: dict[str, Any], final: dict[str, Any]) -> list[Tile]:
    matrix = AccuracyMatrix(result["accuracy"]["tasks"], result["accuracy"]["rows"])
    found = [("mean accuracy", f"{100 * matrix.acc():.1f} %", f"{len(matrix.rows)} tasks, at the end")]
    if len(matrix.rows) > 1:
        found.append(("forgetting", f"{100 * matrix.forgetting():+.2f}", "points, max − last"))
    found.append(("synapses", f"{final['synapses']:,}", f"{final['bytes']:,} bytes as saved"))
    modules = result["tasks"][-1].get("modules", {})
    grown, alive = (sum(module[key] for module in modules.values()) for key in ("of_kernels", "kernels"))
    if grown:
        found.append(
            ("local kernels dead", f"{100 * (1 - alive / grown):.0f} %", f"{alive:,} of {grown:,} alive")
        )
    if result.get("costs"):
        energy = [cost["energy_compute_pj"] / 1000 for cost in result["costs"].values()]
        found.append(
            ("energy of an answer", f"{sum(energy) / len(energy):,.0f} nJ", "arithmetic, mean over the tasks")
        )
    return found


def _score(record: Record, final: dict[str, Any], initial: dict[str, Any] | None) -> Tile:
    if record["task"] == "forecast":
        unit = f"{final['test_unit']:.4g} in the target's unit" if final.get("test_unit") is not None else ""
        return ("test MAE, σ", f"{final['test']:.4f}", unit)
    before = (
        f"{initial['test']:.4f} before"
        if initial
        else f"± {final.get('test_error') or 0:.4f}, one standard error"
    )
    return (f"test {metric(dict(record))}", f"{final['test']:.4f}", before)


def _change(before: int | None, after: int) -> str:
    return f"{after:,}" if before is None else f"{before:,} → {after:,}"


def _fewer(before: int | None, after: int) -> str:
    return "" if before is None else f"{before / after:.1f} times fewer"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"

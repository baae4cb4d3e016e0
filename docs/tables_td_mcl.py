"""The tables of docs/methods/td_mcl.md, from the records in results/."""

from collections.abc import Iterator, Sequence

from claim_rules_td_mcl import Study, bwt, old_tasks
from sources import Record, found_records, markdown

from coppice.experiments.report_continual import Words, arms, cells_table, tables, untold
from coppice.experiments.report_forecasting import seeds_text
from coppice.experiments.statistics import mean
from coppice.methods.td_mcl import LearningTask
from coppice.methods.td_mcl_growth import fitting_width, predecessor
from coppice.methods.td_mcl_inference import strangeness
from coppice.methods.td_mcl_inhibition import Inhibition
from coppice.methods.td_mcl_own import in_turn
from coppice.methods.td_mcl_wiring import Evolution
from coppice.models.modular_export import export
from coppice.models.modular_module import TaskModule
from coppice.parts import feedback
from coppice.parts.kernels import LocalConv
from coppice.parts.spikes import LIF, Triangular, lif
from coppice.parts.synaptic_operations import measure
from coppice.parts.wiring import Wiring, pressure

BLIND = ("blind magnitude", "blind random")  # knows of the old tasks nothing

EQUATIONS = (
    ("LIF", "h = u + (I - u)/tau, s = H(h - threshold), hard or soft reset", lif),
    ("", "its constants", LIF),
    ("", "surrogate: alpha - alpha^2 abs(d), where that is above 0", Triangular.gradient),
    ("component 1", "one task: grow, wire, refine, inhibit, prune", LearningTask.advance),
    ("", "a module: blocks, head, links", TaskModule.forward),
    ("", "where it starts from", predecessor),
    ("", "how wide it may be, strict", fitting_width),
    ("component 2", "dp, from counts and performance of the candidates", pressure),
    ("", "p <- softmax(p + gamma dp), and with logits", Wiring.record),
    ("", "all links, then those without which held-out samples fare worst", Evolution.choose),
    (
        "component 3",
        "own = sum over batches of abs(dL/dq): what its task loses without the kernel",
        LearningTask._masses,
    ),
    ("", "the same while it learns: abs(sum over taps of W dL/dW)", feedback.kernel_masses),
    ("", "(1 - q) W, and the mean of what is lost made up for: homeostasis", LocalConv.forward),
    ("", "the same in turn: the least are taken out first, each is measured in what is left", in_turn),
    ("", "fb = abs(W) r_in sum over readers of abs(V) E[trace trace]", feedback.feedback),
    ("", "S = sqrt(norm(own)) + kappa norm(fb)", feedback.worth),
    ("", "the least S, within both bounds", feedback.condemned),
    ("", "fade, then die", Inhibition.ramp),
    ("", "R, the survival value of DSD-SNN and DPAP", feedback.survival),
    ("energy", "operations counted from real spikes and living weights", measure),
    ("", "dead channels and kernels taken out", export),
    ("without a task", "which task a sample is of", strangeness),
)


def study_tables(recipe: str) -> Iterator[str]:
    """Every table of a study's records, or which command makes them."""
    found = sorted(found_records(recipe), key=lambda record: record["seed"])
    if not found:
        yield missing(recipe)
        return
    yield f"{seeds_text(found)}; `coppice run {recipe}`."
    yield ""
    yield from told(tables(recipe, found))


def order_tables(recipe: str) -> Iterator[str]:
    """Every order of the tasks against the first one."""
    found = sorted(found_records(recipe), key=lambda record: record["seed"])
    if not found:
        yield missing(recipe)
        return
    cells: dict[str, list[Record]] = {}
    for record in found:
        cells.setdefault(", ".join(record["recipe"]["data"]["tasks"]), []).append(record)
    yield from told([cells_table(f"orders ({seeds_text(next(iter(cells.values())))})", cells)])


def worth_table(recipe: str) -> Iterator[str]:
    """What each measure of a kernel's worth leaves of the old tasks, at equal sparsity."""
    found = sorted(found_records(recipe), key=lambda record: record["seed"])
    if not found:
        yield missing(recipe)
        return
    ranked, lines = Study(found, ()), []
    for arm in arms(found):
        parts = list(ranked.parts(arm).values())
        old = mean([100 * old_tasks(part) for part in parts]).text(2)
        gaps = ["" if arm == blind else ranked.points(arm, blind, old_tasks).text(2) for blind in BLIND]
        dead = mean([100 * part["dead_since_own_task"] for part in parts]).text(1)
        lines.append(
            [arm.removeprefix("worth "), old, *gaps, mean([bwt(part) for part in parts]).text(2), dead]
        )
    against = [f"against {blind}, points [95 %]" for blind in BLIND]
    header = ["ranked by", "old tasks, %", *against, "BWT", "old kernels dead, %"]
    yield f"{seeds_text(found)}; `coppice run {recipe}`."
    yield ""
    yield from markdown(header, lines)


def untold_table() -> Iterator[str]:
    """TD-MCL alone on two streams: accuracies with the task told, and without."""
    lines = []
    for recipe in ("td-mcl-cifar-mini", "td-mcl-pmi-mini"):
        found = sorted(found_records(recipe), key=lambda record: record["seed"])
        if not found:
            yield missing(recipe)
            continue
        told_it = mean([100 * record["result"]["final"]["test"] for record in found]).text(2)
        lines.append([f"`{recipe}`", seeds_text(found), told_it, *(value for _, value, _ in untold(found))])
    if lines:
        header = [
            "stream",
            "",
            "class right, %, task told",
            "task right, none told",
            "class right, none told",
        ]
        yield from markdown(header, lines)


def told(found: Sequence[Words]) -> Iterator[str]:
    for title, header, lines in found:
        yield f"**{title}**"
        yield ""
        yield from markdown(header, lines)
        yield ""


def missing(recipe: str) -> str:
    return f"No records yet: `coppice run {recipe} --seeds 0-4 --out results/{recipe}`."

"""Write the tables and figures of README and docs from the records in results/.

python docs/tables.py            write tables and figures
python docs/tables.py --check    fail when a table differs from what the records say
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator

import tables_bdnn_sp as bdnn_sp
import tables_forecasting as forecasting
import tables_readme as readme
import tables_td_mcl as td_mcl
from claims import claims_table
from claims_td_mcl import claims_table as td_mcl_claims
from forecasting_study import recorded
from sources import RESULTS, ROOT, code_lines


def benchmark_table(name: str) -> Iterator[str]:
    file = RESULTS / "benchmarks" / f"{name}.json"
    if not file.is_file():
        yield f"No record yet: `python benchmarks/{name}.py --json {file.relative_to(ROOT)}`."
        return
    measured = json.loads(file.read_text())
    yield "| | ratio, median [quartiles] | goal |"
    yield "|---|---|---|"
    for row in measured["ratios"]:
        goal = (
            ""
            if row["goal"] is None
            else f"<= {row['goal']:.2f}{'' if row['ratio'] <= row['goal'] else ', **missed**'}"
        )
        spread = f" [{row['lower']:.3f}, {row['upper']:.3f}]" if "lower" in row else ""
        yield f"| {row['row']} | {row['ratio']:.3f}{spread} | {goal} |"


BLOCKS: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "README.md": {
        "results": bdnn_sp.readme_table,
        "forecast": forecasting.readme_table,
        "skills": readme.skills_table,
        "papers": readme.papers_table,
    },
    "docs/benchmarks.md": {
        "masks": lambda: benchmark_table("masks"),
        "removal": lambda: benchmark_table("removal"),
        "synaptic": lambda: benchmark_table("synaptic"),
        "spikes": lambda: benchmark_table("spikes"),
        "modular": lambda: benchmark_table("modular"),
    },
    "docs/methods/bdnn_sp.md": {
        "equations": lambda: code_lines(bdnn_sp.EQUATIONS),
        "fig3": bdnn_sp.fig3_table,
        "fig4a": bdnn_sp.fig4a_table,
        "fig4bc": bdnn_sp.fig4bc_table,
        "alternatives-mnist": lambda: bdnn_sp.alternatives_table("alternatives-mnist"),
        "alternatives-digits": lambda: bdnn_sp.alternatives_table("alternatives-digits"),
    },
    "docs/methods/synaptic_pruning.md": {
        "equations": lambda: code_lines(forecasting.EQUATIONS),
        "overall": forecasting.overall,
        "early": forecasting.early,
        "figures": forecasting.pictures,
        "cells": forecasting.cell_tables,
        "lengths": forecasting.lengths_table,
        "claims": lambda: claims_table(recorded()),
    },
    "docs/methods/td_mcl.md": {
        "equations": lambda: code_lines(td_mcl.EQUATIONS),
        "cifar-mini": lambda: td_mcl.study_tables("continual-cifar-mini"),
        "worth": lambda: td_mcl.worth_table("worth-cifar-mini"),
        "untold": td_mcl.untold_table,
        "claims": td_mcl_claims,
        "orders": lambda: td_mcl.order_tables("order-pmi-mini"),
    },
}


def with_block(text: str, name: str, block: str) -> str:
    """The text with what stands between the two marks of a block replaced."""
    head, found, rest = text.partition(f"<!-- {name} -->\n")
    _, end, tail = rest.partition(f"<!-- end {name} -->")
    if not found or not end:
        raise ValueError(f"there is no block '{name}': it needs <!-- {name} --> and <!-- end {name} -->.")
    return f"{head}{found}{block}\n{end}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when a table is out of date"
    )
    check = parser.parse_args().check
    stale = []
    for file, blocks in BLOCKS.items():
        text = old = (ROOT / file).read_text()
        for name, table in blocks.items():
            text = with_block(text, name, "\n".join(table()))
        if text != old:
            stale.append(file)
            if not check:
                (ROOT / file).write_text(text)
    if check and stale:
        sys.exit(f"{', '.join(stale)}: the tables differ from the records; run python docs/tables.py.")
    if not check:
        from figures import draw_all

        draw_all()
    print("tables agree with the records." if not stale else f"wrote {', '.join(stale)}.")


if __name__ == "__main__":
    main()

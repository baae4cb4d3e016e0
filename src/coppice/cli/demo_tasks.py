"""A part of coppice demo: a spiking network learns six tasks, one after another, and shrinks meanwhile."""

from pathlib import Path
from typing import Any

from coppice.cli import terminal
from coppice.experiments import recipe
from coppice.experiments.accuracy_matrix import FORMULAS, AccuracyMatrix
from coppice.experiments.batch import Job
from coppice.experiments.report_continual import matrix_table


def job(out: Path, seed: int) -> Job:
    """The stream of six tasks."""
    return Job(recipe.load("td-mcl-pmi-mini"), "six tasks", seed, out / "tasks")


def show(out: Path, run: dict[str, Any]) -> None:
    """The accuracy matrix, and what became of each module."""
    matrix = AccuracyMatrix.from_record(run["result"]["accuracy"])
    terminal.print_table(*matrix_table("six tasks, one after another", [matrix]))
    learned, costs = run["result"]["tasks"], run["result"]["costs"]
    modules = learned[-1]["modules"]
    terminal.print_table(
        "what grew for each task, and what an answer takes",
        [
            "task",
            "function",
            "synapses then, in all",
            "local kernels grown",
            "alive now",
            "links",
            "energy, nJ",
        ],
        [
            [
                task["task"],
                task["group"],
                f"{task['synapses']:,}",
                f"{modules[task['task']]['of_kernels']:,}",
                f"{modules[task['task']]['kernels']:,}",
                str(modules[task["task"]]["links"]),
                f"{costs[task['task']]['energy_compute_pj'] / 1000:.0f}",
            ]
            for task in learned
        ],
    )
    untold = run["result"]["inferred"]
    shares = {name: found["share"] for name, found in run["result"]["in_the_loop"].items()}
    returns = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    grown = sum(module["of_kernels"] for module in modules.values())
    alive = sum(module["kernels"] for module in modules.values())
    print(
        f"{100 * (1 - alive / grown):.0f} % of the local kernels died; forgetting {100 * matrix.forgetting():+.1f} points"
        f" ({FORMULAS['forgetting (max - last)']}). No sample of an old task was kept.\n"
        f"In the loop: {returns}, of 100 % for the controller that was cloned and 0 % for chance.\n"
        f"Without being told the task: {100 * untold['class']:.1f} % right, {100 * matrix.acc():.1f} % when told. Energy:"
        " arithmetic of all modules at work, 45 nm.\n"
        f"One seed. The network can learn more: coppice learn NAME --data more.npz --into {out / 'tasks'}; the"
        " next demo writes it over."
    )

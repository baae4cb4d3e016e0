"""The picture of a modular network: kernels that live and die, links that grow and strengthen."""

from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments.page.panel import Group, Link, Network, Panel

Tasks = Sequence[Mapping[str, Any]]
Epoch = Mapping[str, Any]


def epochs_of(tasks: Tasks) -> list[tuple[int, Epoch]]:
    """Every epoch of the stream, with the number of its task."""
    return [(number, epoch) for number, task in enumerate(tasks) for epoch in task["curve"]]


def module_picture(tasks: Tasks) -> Panel:
    """Each module with its kernels at each epoch, and the links into it."""
    told = epochs_of(tasks)
    names = [task["task"] for task in tasks]
    totals = _totals(tasks, names)
    groups = [
        Group(
            name,
            totals[name],
            [epoch["kernels"].get(name) for _, epoch in told],
            [_words(epoch["kernels"].get(name), totals[name]) for _, epoch in told],
        )
        for name in names
    ]
    steps, facts = [], []
    for number, epoch in told:
        task = tasks[number]
        within = epoch["epoch"] + 1
        steps.append(f"{task['task']}, epoch {within} of {len(task['curve'])}")
        facts.append(
            {
                "living synapses": f"{sum(epoch['synapses'].values()):,}" if "synapses" in epoch else "",
                "living kernels": f"{sum(epoch['kernels'].values()):,}",
                "links of this module": f"{epoch.get('links', 0):,}",
                "their mass": f"{epoch.get('link_mass', 0):.4g}",
                "validation accuracy": f"{100 * epoch['score']:.1f} %",
            }
        )
    exact = all("link_masses" in epoch for _, epoch in told)
    picture = Network(
        kind="modules",
        unit="local kernel",
        label=f"{len(names)} modules with their local kernels and the links between them, over {len(told)} epochs",
        steps=steps,
        facts=[{name: words for name, words in told.items() if words} for told in facts],
        groups=groups,
        links=_links(tasks, names),
        start=len(told) - 1,
    )
    words = (
        "A row is a module, grown for one task; its dots are local kernels, which die as they are refined and inhibited. "
        "The arcs are long-range links from earlier modules, the wider the stronger. Move the slider through the epochs of "
        "the stream."
        + (
            ""
            if exact
            else " This record keeps the mass of a module's links together, so they share it evenly."
        )
    )
    return Panel("network", "The network grows, links and shrinks", words, network=picture)


def _totals(tasks: Tasks, names: Sequence[str]) -> dict[str, int]:
    """Local kernels that each module grew with; while it is learned, the most that were seen."""
    counted = [task["modules"] for task in tasks if task.get("modules")]
    census: Mapping[str, Any] = counted[-1] if counted else {}
    most = {
        name: max((epoch["kernels"].get(name, 0) for _, epoch in epochs_of(tasks)), default=0)
        for name in names
    }
    return {name: census.get(name, {}).get("of_kernels", most[name]) for name in names}


def _words(alive: int | None, total: int) -> str:
    return "not there yet" if alive is None else f"{alive:,} of {total:,} kernels"


def _links(tasks: Tasks, names: Sequence[str]) -> list[Link]:
    """Of every pair of modules that was ever linked, the mass at each epoch; once its task is over it stays."""
    told = epochs_of(tasks)
    found: dict[tuple[int, int], list[float]] = {}
    for place, (number, epoch) in enumerate(told):
        for source, mass in _masses(tasks[number], number, epoch, names).items():
            found.setdefault((source, number), [0.0] * len(told))[place] = mass
    for (_, target), masses in found.items():
        last = max(place for place, (number, _) in enumerate(told) if number == target)
        masses[last + 1 :] = [masses[last]] * (len(told) - last - 1)
    return [Link(source, target, masses) for (source, target), masses in found.items()]


def _masses(task: Mapping[str, Any], number: int, epoch: Epoch, names: Sequence[str]) -> dict[int, float]:
    """By number of the earlier module; records of earlier versions hold the sum only."""
    if "link_masses" in epoch:
        return {names.index(name): mass for name, mass in epoch["link_masses"].items()}
    kept = task.get("wiring", {}).get("kept", {})
    count = epoch.get("links", 0)
    chosen = count == sum(len(sources) for sources in kept.values())
    sources = sorted({source for some in kept.values() for source in some}) if chosen else list(range(number))
    return {source: epoch["link_mass"] / len(sources) for source in sources} if count and sources else {}

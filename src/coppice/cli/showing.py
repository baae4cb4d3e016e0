"""coppice list, coppice report, coppice data"""

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

LONGEST = 80  # letters of a figure's name
NAMED = 3  # recipes that a page's title names


def list_() -> None:
    """Recipes, methods, presets and data sets that coppice knows."""
    import dataclasses

    from coppice import data as sets
    from coppice.cli import terminal
    from coppice.data.data_sets import TASK_SETS
    from coppice.data.streams import STREAMS
    from coppice.experiments import recipe
    from coppice.methods import CATALOGUE, PRESETS, STREAMED
    from coppice.models import GROWING, MODELS

    recipes = [(name, recipe.load(name).about) for name in recipe.names()]
    terminal.print_table("recipes: coppice run NAME", ["name", "about"], recipes)
    every = {**CATALOGUE, **STREAMED}
    # the first line of a method's file says what it does
    files = {name: import_module(f"coppice.methods.{name.replace('-', '_')}") for name in every}
    methods = [(name, (file.__doc__ or "").split("\n")[0]) for name, file in files.items()]
    terminal.print_table("methods: --set method.name=NAME", ["name", "about"], methods)
    presets = []
    for method, named in PRESETS.items():
        usual = every[method]()
        for name, preset in named.items():
            values = {f.name: getattr(preset, f.name) for f in dataclasses.fields(preset)}
            changed = [
                f"{key}={type(value).__name__ if dataclasses.is_dataclass(value) else value}"
                for key, value in values.items()
                if value != getattr(usual, key)
            ]
            presets.append((method, name, ", ".join(changed)))
    terminal.print_table(
        "presets: --set method.name=METHOD --set method.preset=NAME", ["method", "name", "changes"], presets
    )
    models = [
        (name, ", ".join(f.name for f in dataclasses.fields(kind) if f.name != "name"))
        for name, kind in {**MODELS, **GROWING}.items()
    ]
    terminal.print_table("models: --set model.name=NAME", ["name", "keys"], models)
    alone = [entry for entry in sets.SETS.values() if entry not in TASK_SETS]  # the others serve streams only
    known = [(entry.name, entry.what, sets.status(entry.name)) for entry in alone]
    own = [
        ("file", "your own .csv (with data.target) or .npz: --set data.name=file --set data.path=FILE", ""),
        ("", "your own series, a .csv of unique_id, ds, y: --set data.csv=FILE --set data.target=COLUMN", ""),
    ]
    terminal.print_table("data sets: --set data.name=NAME", ["name", "what", "status"], [*known, *own])
    streams = [(name, stream.what, ", ".join(stream.defaults)) for name, stream in STREAMS.items()]
    terminal.print_table(
        "streams of tasks, for method td-mcl: --set data.name=NAME", ["name", "what", "keys"], streams
    )


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Record files, or folders searched for record.json."),
    ],
    figures: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures of searches, streams and studies, as PNG and SVG."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page; a report that is there is written over, another file is not.",
            show_default="report.html in RUN, of several RUNs in the current folder",
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show what runs came to: tables here, and a page of HTML with pictures that needs no network.

    One table for each recipe and setting, with mean and 95 % interval. The page shows the same of one run or of many,
    with the network as it shrank, every curve, and how each run was made. A record that cannot be read is named and
    passed over.
    """
    from coppice.cli import paging, terminal
    from coppice.experiments import report as tables
    from coppice.experiments.page.render import refuse_other

    file = html or paging.place(runs)
    records, skipped = _records(runs)
    refuse_other(file)
    groups = tables.grouped(records)
    terminal.print_groups(groups)
    terminal.print_warnings(text for record in records for text in record["result"].get("warnings", []))
    if figures is not None:
        _draw(groups, figures)
    paging.write(records, file, _title(runs, records), skipped)
    if open_:
        paging.show(file)


def data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Data sets to fetch and check.")
    ] = None,
) -> None:
    """Show the data sets; with names, fetch them and say where they are."""
    from coppice import data as sets
    from coppice.cli import terminal
    from coppice.data.fetch import fetch
    from coppice.experiments.tables import nearest

    if not names:
        lines = [(e.name, e.what, e.licence, sets.status(e.name), e.homepage) for e in sets.SETS.values()]
        terminal.print_table("", ["name", "what", "licence", "status", "homepage"], lines)
        return
    for name in names:
        if name not in sets.SETS:
            raise ValueError(f"there is no data set '{name}'{nearest(name, sets.SETS)}")
    for name in names:
        if not sets.SETS[name].files:
            print(f"{name}: embedded in a package, nothing to fetch")
        for file in sets.SETS[name].files:
            print(f"{name}: {fetch(file)}", flush=True)


def _title(runs: list[Path], records: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(record["name"] for record in records))
    if len(records) == 1:
        return f"{names[0]}, seed {records[0]['seed']}"
    if len(names) <= NAMED:
        return ", ".join(names)
    return runs[0].resolve().name if len(runs) == 1 else f"{len(names)} recipes"


def _records(runs: list[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """The records in these files and folders; and those that cannot be read, which are named and passed over."""
    from coppice.experiments import record

    found: dict[Path, dict[str, Any]] = {}
    skipped: list[str] = []
    for place in runs:
        if not place.exists():
            raise FileNotFoundError(f"there is no file or folder {place}.")
        for file in sorted(place.rglob("record.json"), key=_by_number) if place.is_dir() else [place]:
            try:
                found[file.resolve()] = _finished(record.read(file), file)
            except (ValueError, OSError) as error:
                print(f"warning: passed over: {error}", file=sys.stderr)
                skipped.append(str(error))
    if not found:
        places = ", ".join(str(place) for place in runs)
        raise ValueError(f"{places}: no readable record of a finished run; `coppice run` writes them.")
    return list(found.values()), skipped


def _finished(found: dict[str, Any], file: Path) -> dict[str, Any]:
    """Raises ValueError for the record of a run at work, or interrupted: it has no results yet."""
    if "unfinished" in found:
        raise ValueError(
            f"{file} is of a run that is not finished: `coppice run ... --resume` goes on with it, and --watch shows it"
            " at work."
        )
    return found


def _by_number(path: Path) -> list[tuple[int, str]]:
    """train=600 before train=1200."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", str(path))]


def _draw(groups: list[Any], folder: Path) -> None:
    from coppice.data.extras import need

    need("matplotlib", "plots")
    from coppice.experiments.figures import save, search_figure
    from coppice.experiments.figures_continual import continual_figures
    from coppice.experiments.figures_forecasting import forecasting_figures
    from coppice.experiments.report_forecasting import is_study

    studies: dict[str, list[Any]] = {}
    taken: set[str] = set()
    for group in groups:
        if group.records[0]["task"] == "stream":
            for name, figure in continual_figures(group.records):
                png, svg = save(figure, folder / re.sub(r"[^\w.=+-]+", "_", f"{group.title}-{name}"))
                print(f"figure: {png}, {svg.name}")
            continue
        for record in group.records:
            if is_study(record):
                studies.setdefault(group.name, []).append(record)
                continue
            if not record["result"].get("path"):
                print(f"no figure of {group.title}, seed {record['seed']}: it searched no size")
                continue
            name = re.sub(r"[^\w.=-]+", "_", "-".join([*group.title.split(", ", 1), str(record["seed"])]))
            if len(name) > LONGEST or name in taken:
                name = f"{group.name}-{record['seed']}-{record['fingerprint'][:8]}"
            taken.add(name)
            png, svg = save(search_figure(record), folder / name)
            print(f"figure: {png}, {svg.name}")
    for recipe, records in studies.items():
        for name, figure in forecasting_figures(records):
            png, svg = save(figure, folder / f"{recipe}-{name}")
            print(f"figure: {png}, {svg.name}")

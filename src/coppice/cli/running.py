"""coppice run"""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coppice.cli import BAD_INPUT, FAILED, INTERRUPTED

if TYPE_CHECKING:  # these import torch
    from coppice.experiments.batch import Job, Outcome, Then

TERMINATED = 128 + signal.SIGTERM


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Tracker(StrEnum):
    tensorboard = "tensorboard"
    mlflow = "mlflow"
    wandb = "wandb"


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end a run as gently as Ctrl-C."""


def run(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A name from `coppice list`, or a .toml file of your own.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change a value of the recipe; repeatable."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="One run for each: 0-4, or 0,2,5.")] = "0",
    out: Annotated[Path | None, typer.Option(help="Folder for the runs.", show_default="runs/RECIPE")] = None,
    device: Annotated[Device, typer.Option(help="auto takes the GPU if there is one.")] = Device.auto,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with interrupted runs; keep finished ones.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each run.")] = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve a page that shows the runs while they go on.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Of that page; 0: any that is free.",
            show_default="8765, or any that is free",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address that page listens at.", show_default="127.0.0.1: this machine only"),
    ] = None,
    track: Annotated[
        list[Tracker] | None, typer.Option(help="Also tell an experiment tracker; repeatable.")
    ] = None,
) -> None:
    """Run a recipe, once for each seed and each cell of its sweep, and leave a record of every run.

    Each run has its folder OUT/[CELL/]SEED: a record, the model, and what it needs to go on after an interruption.

    Trackers write below OUT: tensorboard/, mlflow.db, wandb/. They send nothing anywhere, unless MLFLOW_TRACKING_URI names
    a server or WANDB_MODE is online.

    The tables of a recipe are data, model, training, method and study; a key that is none is answered with those there
    are. `coppice list` names what can be chosen. Another method.name or method.preset comes with its own values.
    """
    chosen = parse_seeds(seeds)
    for name, given in (("--port", port), ("--host", host)):
        if given is not None and not watch:
            raise ValueError(
                f"{name} is {given}, but there is no page to serve: add --watch, or leave it out."
            )
    from coppice.cli import onlookers, terminal, watching
    from coppice.experiments import batch, report
    from coppice.experiments.recipe import load

    if len(chosen) > 1:
        report.mean([0.0, 1.0])  # what the table will need is missing now, not after hours
    plan = load(recipe, set_ or [])
    folder = out if out is not None else Path("runs") / plan.name
    work = batch.plan(plan, chosen, folder)
    if not resume:
        batch.refuse_used_folders(work)
    batch.refuse_missing_files(work)
    options: dict[str, Any] = {"device": find_device(device), "resume": resume, "threads": threads}
    page = watching.Page(work, plan.name) if watch else None
    looking = onlookers.Onlookers(track or [], page, folder)
    with looking.served(host, port):
        with resumable(context), looking.told() as told, terminal.watching(len(work)) as shown:
            both = batch.Watch.together(told, shown)
            outcomes = batch.run_all(work, **options, workers=jobs, watch=both, live=bool(looking))
        terminal.print_groups(report.grouped(o.record for o in outcomes if o.record is not None))
        terminal.print_warnings([*(text for o in outcomes for text in o.warnings), *looking.warnings()])
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        for outcome in failed:
            print(f"{outcome.trace or ''}error: {outcome.job.name} failed: {outcome.error}", file=sys.stderr)
        if len(failed) < len(outcomes):
            print(f"records: {folder}/{'*/' if plan.sweep else ''}{_numbers(chosen)}/record.json", flush=True)
        for name, tracker in looking.trackers.items():
            print(f"{name}: {tracker.look}", flush=True)
    if failed:
        raise typer.Exit(BAD_INPUT if all(outcome.bad_input for outcome in failed) else FAILED)


def run_together(
    jobs: "Sequence[Job]", workers: int, then: "Then", show: Callable[[Path, dict[str, Any]], None]
) -> None:
    """These runs, and those that need the record of one of them. Raises RuntimeError when one failed.

    show: gets folder and record of each as soon as it is done
    """
    from coppice.cli import terminal
    from coppice.experiments import batch

    def end(outcome: "Outcome") -> None:
        if outcome.record is not None:
            show(outcome.job.folder, outcome.record)

    with interruptible(), terminal.watching(len(jobs) + len(then)) as told:
        watch = batch.Watch.together(told, batch.Watch(end=end))
        outcomes = batch.run_all(jobs, workers=workers, watch=watch, then=then)
    terminal.print_warnings(text for outcome in outcomes for text in outcome.warnings)
    for outcome in outcomes:
        if outcome.record is None:
            raise RuntimeError(f"{outcome.trace or ''}{outcome.error}")


def parse_seeds(text: str) -> list[int]:
    """0-4, 7 or 0,2,5-9 as numbers. Raises ValueError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"--seeds is '{text}', but must list numbers such as 0-4 or 0,2,5.")
        start, end = int(first), int(last) if dash else int(first)
        if end < start:
            raise ValueError(f"--seeds is '{text}', but {start}-{end} counts down: write {end}-{start}.")
        seeds += range(start, end + 1)
    return list(dict.fromkeys(seeds))


def find_device(asked: Device) -> str:
    """ "cpu" or "cuda". Raises ValueError for a GPU that is not there."""
    import torch

    there = torch.cuda.is_available()
    if asked is Device.cuda and not there:
        raise ValueError("--device is cuda, but torch finds no GPU here: choose cpu, or leave --device out.")
    return "cuda" if there and asked is not Device.cpu else "cpu"


@contextmanager
def resumable(context: typer.Context) -> Iterator[None]:
    """Who stops a command that has --resume is told the line that goes on with it."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt as stop:
        again = shlex.join(["coppice", *context.obj, *([] if context.params["resume"] else ["--resume"])])
        print(f"stopped; what was reached is kept. Go on with:\n  {again}", file=sys.stderr)
        raise typer.Exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from stop


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM arrives as an exception, as Ctrl-C does."""

    def stop(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _numbers(seeds: list[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else "{" + ",".join(str(seed) for seed in seeds) + "}"

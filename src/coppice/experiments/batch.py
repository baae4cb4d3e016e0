"""Many runs of one recipe: one after another in this process, or side by side in processes of their own."""

import multiprocessing
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from coppice.contract import Progress
from coppice.experiments.folder import Folder, refuse_used
from coppice.experiments.recipe import Recipe, StreamRecipe
from coppice.experiments.run import run

BAD_INPUT = (ValueError, FileNotFoundError, FileExistsError)
EXPECTED = (*BAD_INPUT, RuntimeError, OSError, ImportError)  # their message says what to do; others are bugs


@dataclass(frozen=True)
class Job:
    """One run: a recipe without a sweep, a seed, the folder it is to leave; `cell` names the swept values."""

    recipe: Recipe | StreamRecipe
    cell: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.cell} seed {self.seed}".strip()


Then = Mapping[Path, Callable[[dict[str, Any]], Job]]  # folder of a job -> what its record calls for


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a record, or with an error; `trace` only when the error was not foreseen.

    bad_input: the error is in what the job was given, and will come again until that is changed
    """

    job: Job
    record: dict[str, Any] | None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    trace: str | None = None
    bad_input: bool = False


@dataclass(frozen=True)
class Watch:
    """What to call while a batch runs; always in the process that started it."""

    start: Callable[[Job], None] = lambda job: None
    progress: Callable[[Job, Progress], None] = lambda job, progress: None
    end: Callable[[Outcome], None] = lambda outcome: None

    @classmethod
    def together(cls, *watches: "Watch") -> "Watch":
        """All of these as one, called in this order."""

        def start(job: Job) -> None:
            for watch in watches:
                watch.start(job)

        def progress(job: Job, now: Progress) -> None:
            for watch in watches:
                watch.progress(job, now)

        def end(outcome: Outcome) -> None:
            for watch in watches:
                watch.end(outcome)

        return cls(start, progress, end)


def plan(recipe: Recipe | StreamRecipe, seeds: Sequence[int], out: Path) -> list[Job]:
    """Every cell of the recipe's sweep with every seed, in folders out/[cell/]seed."""
    return [
        Job(cell, label, seed, out / label.replace("/", "_") / str(seed))
        for label, cell in recipe.cells()
        for seed in seeds
    ]


def refuse_used_folders(jobs: Sequence[Job]) -> None:
    """Raise FileExistsError when the folder of a job holds a run or a learner, before anything is begun."""
    refuse_used([Folder(job.folder) for job in jobs])


def refuse_missing_files(jobs: Sequence[Job]) -> None:
    """Raise FileNotFoundError when a file of the user's is not there that a job would read, before anything is begun."""
    for job in jobs:
        if (file := job.recipe.file) is not None and not file.is_file() and not Folder(job.folder).finished:
            raise FileNotFoundError(f"there is no file '{file}': check the recipe's table [data].")


def run_all(
    jobs: Sequence[Job],
    *,
    device: str = "cpu",
    resume: bool = False,
    workers: int = 1,
    threads: int = 1,
    watch: Watch | None = None,
    live: bool = False,
    then: Then | None = None,
) -> list[Outcome]:
    """Run every job, `workers` at a time with `threads` threads each; outcomes in the order of the jobs.

    live: each keeps an unfinished record in its folder while it is at work
    then: the jobs that need the record of one of these; they come last

    A job that fails does not stop the others. An interrupt stops all of them and passes on; what they had
    saved stays and can be resumed.
    """
    watch = watch or Watch()
    if workers > 1 and len(jobs) > 1:
        return _side_by_side(jobs, device, resume, workers, threads, watch, live, then or {})
    waiting, outcomes = list(jobs), list[Outcome]()
    with cpu_threads(threads):
        while waiting:
            job = waiting.pop(0)
            watch.start(job)
            outcomes.append(
                _work(job, device, resume, lambda progress, j=job: watch.progress(j, progress), live)  # type: ignore[misc]
            )
            watch.end(outcomes[-1])
            waiting += _called(outcomes[-1], then or {})
    return outcomes


def _work(job: Job, device: str, resume: bool, tell: Callable[[Progress], None], live: bool) -> Outcome:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        record, error, trace, bad_input = None, None, None, False
        try:
            folder = Folder(job.folder)
            record = run(job.recipe, job.seed, folder, device=device, resume=resume, watch=tell, live=live)
        except EXPECTED as failure:
            error, bad_input = str(failure), isinstance(failure, BAD_INPUT)
        except Exception as failure:
            error, trace = f"{type(failure).__name__}: {failure}", traceback.format_exc()
    kept = [] if record is None else record["result"].get("warnings", [])
    # subclasses of UserWarning come from libraries and are not for the user
    texts = [str(w.message) for w in caught if w.category is UserWarning]
    return Outcome(job, record, error, tuple(dict.fromkeys([*kept, *texts])), trace, bad_input)


def _side_by_side(
    jobs: Sequence[Job],
    device: str,
    resume: bool,
    workers: int,
    threads: int,
    watch: Watch,
    live: bool,
    then: Then,
) -> list[Outcome]:
    """A process for each job: one that crashes, or runs out of memory, takes no other along."""
    context = multiprocessing.get_context("spawn")
    known, waiting, outcomes = list(jobs), list(jobs), dict[Path, Outcome]()
    running: dict[Connection, tuple[Job, SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                child = context.Process(target=_child, args=(job, device, resume, threads, theirs, live))
                child.start()
                theirs.close()  # so that the death of the child ends the pipe
                running[ours] = (job, child)
                watch.start(job)
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                job, child = running[pipe]
                message = _receive(pipe, job, child)
                if isinstance(message, Outcome):
                    outcomes[job.folder] = message
                    child.join()
                    pipe.close()
                    del running[pipe]
                    watch.end(message)
                    known += (called := _called(message, then))
                    waiting += called
                else:
                    watch.progress(job, message)
    finally:
        for _, child in running.values():
            child.terminate()
        for _, child in running.values():
            child.join()
    return [outcomes[job.folder] for job in known]


def _called(outcome: Outcome, then: Then) -> list[Job]:
    call = then.get(outcome.job.folder)
    return [call(outcome.record)] if call and outcome.record else []


def _receive(pipe: Connection, job: Job, child: SpawnProcess) -> Progress | Outcome:
    try:
        message: Progress | Outcome = pipe.recv()
        return message
    except (EOFError, OSError):  # OSError: it died in the middle of a message
        child.join()
        code = child.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        hint = " (out of memory?)" if code == -9 else ""
        return Outcome(job, None, f"its process {how}{hint}; --resume goes on with what it had saved.")


def _child(job: Job, device: str, resume: bool, threads: int, pipe: Connection, live: bool) -> None:
    # Ctrl-C reaches every process of the terminal; the one that started this decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    outcome = _work(job, device, resume, pipe.send, live)
    with suppress(BrokenPipeError):  # nobody listens any more; what was saved can be resumed
        pipe.send(outcome)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """torch with so many threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

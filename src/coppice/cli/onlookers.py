"""Who looks on while `coppice run` is at work, besides its terminal: the page of --watch, the trackers of --track."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from coppice.cli.watching import HOST, Page, open_to_others, serving
from coppice.experiments.batch import Watch
from coppice.experiments.trackers import TRACKERS
from coppice.experiments.tracking import Tracking


class Onlookers:
    """Those asked for, checked before anything is begun. Raises ImportError where the package of one is missing."""

    def __init__(self, trackers: Iterable[str], page: Page | None, out: Path) -> None:
        self.page = page
        self.trackers = {name: TRACKERS[name](out) for name in dict.fromkeys(trackers)}
        self._tracking = [Tracking(name, tracker) for name, tracker in self.trackers.items()]

    def __bool__(self) -> bool:
        """Whether there is any, for whom the runs are to keep unfinished records."""
        return self.page is not None or bool(self.trackers)

    @contextmanager
    def served(self, host: str | None, port: int | None) -> Iterator[None]:
        """The page, if asked for, is served until the end of the block, and a little longer where it has just been seen.

        Raises ValueError where it cannot be served.
        """
        if self.page is None:
            yield
            return
        host = host or HOST
        with serving(self.page, host, port) as address:
            if open_to_others(host):
                print(
                    f"warning: --host {host} shows these runs to everybody who can reach this machine; there is no"
                    " password.",
                    file=sys.stderr,
                )
            print(f"watch: {address}", flush=True)
            yield
            self.page.last_look()

    @contextmanager
    def told(self) -> Iterator[Watch]:
        """What to call while the batch runs."""
        with ExitStack() as stack:
            watches = [stack.enter_context(tracking.watch()) for tracking in self._tracking]
            yield Watch.together(*([self.page.watch()] if self.page is not None else []), *watches)

    def warnings(self) -> list[str]:
        """What went wrong for them while the runs went on."""
        seen = [] if self.page is None else list(self.page.warnings)
        return seen + [tracking.warning for tracking in self._tracking if tracking.warning is not None]

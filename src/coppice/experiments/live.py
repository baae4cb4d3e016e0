"""What a run at work leaves beside its checkpoint for whoever looks on: its record so far, marked unfinished."""

import time
import warnings
from pathlib import Path
from typing import Any

from coppice.contract import Process
from coppice.experiments import record

PAUSE = 1.0  # seconds at least between two records
SHARE = 20  # times as long as writing one took, at least: looking on costs no more than a twentieth


class Live:
    """`live.json` of a run at work: the same tables as its record will have, with what `result` holds so far, and
    `unfinished`: what it does, how far it is (0 to 1, or null), and when that was.

    envelope: the record without results
    """

    def __init__(self, file: Path, process: Process, envelope: dict[str, Any]) -> None:
        self.file, self.process, self.envelope = file, process, envelope
        self.due = 0.0  # by time.monotonic()

    def note(self) -> None:
        """Write it, unless the last one is too young. What fails here is a warning: nobody looks on, the run goes on."""
        begun = time.monotonic()
        if begun < self.due:
            return
        try:
            record.write(self.file, self._record())
        except Exception as error:
            warnings.warn(f"the run cannot be watched: {self.file} was not written ({error}).", stacklevel=2)
            self.due = float("inf")
            return
        now = time.monotonic()
        self.due = now + max(PAUSE, SHARE * (now - begun))

    def _record(self) -> dict[str, Any]:
        now = self.process.progress()
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return {
            **self.envelope,
            "unfinished": {"doing": now.doing, "done": now.done, "written": written},
            "result": self.process.summary(),
            "timing": self.process.timing(),
        }

"""The trackers that `coppice run --track` knows; each needs the extra of its name. They write below the runs' folder and
send nothing anywhere, unless MLFLOW_TRACKING_URI names a server or WANDB_MODE is online.
"""

import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from coppice.data.extras import need
from coppice.experiments.tracking import Ended, Numbers, Tracker

RECORD = "coppice-record.json"  # not record.json: who searches the folder for runs must not find them twice

AT_ONCE = 100  # entries that MLflow takes in one call


class TensorBoard:
    """Event files in tensorboard/, a folder for each run."""

    def __init__(self, out: Path) -> None:
        need("tensorboard", "tensorboard")
        self.folder = out / "tensorboard"
        self.look = f"tensorboard --logdir {shlex.quote(str(self.folder))}"

    def open(self, recipe: str, name: str, choices: dict[str, str]) -> "TensorBoardRun":
        return TensorBoardRun(self.folder / name.replace("/", "_"), choices)


class TensorBoardRun:
    def __init__(self, folder: Path, choices: dict[str, str]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # what an interrupted run wrote here is told again from step 0, and would be drawn twice
        self.writer, self.choices = SummaryWriter(str(folder), purge_step=0), choices
        lines = [f"| {key} | {value} |" for key, value in choices.items()]
        self.writer.add_text("recipe", "\n".join(["| key | value |", "|---|---|", *lines]))

    def row(self, step: int, numbers: Numbers) -> None:
        for key, value in numbers.items():
            self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def close(self, how: Ended, results: Numbers, text: str | None) -> None:
        if text is not None:
            self.writer.add_text("record", f"```json\n{text}\n```")
            self.writer.add_hparams(self.choices, results, run_name=".")
        self.writer.close()


class MLflow:
    """A database, mlflow.db, and files in mlflow/; or the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, out: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import: nothing leaves unasked
        need("mlflow", "mlflow")
        need("sqlalchemy", "mlflow")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table it makes

        self.out = out.resolve()
        self.here = f"sqlite:///{self.out / 'mlflow.db'}"
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or self.here
        self.look = f"mlflow ui --backend-store-uri {shlex.quote(self.uri)}"
        if self.uri == self.here:
            self.out.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(self.uri)

    def open(self, recipe: str, name: str, choices: dict[str, str]) -> "MLflowRun":
        found = self.client.get_experiment_by_name(recipe)
        if found is not None:
            experiment = found.experiment_id
        else:
            place = (self.out / "mlflow").as_uri() if self.uri == self.here else None
            experiment = self.client.create_experiment(recipe, artifact_location=place)
        run = self.client.create_run(experiment, run_name=name).info.run_id
        opened = MLflowRun(self.client, run)
        opened.choices(choices)
        return opened


class MLflowRun:
    def __init__(self, client: Any, run: str) -> None:
        self.client, self.run = client, run

    def choices(self, choices: dict[str, str]) -> None:
        from mlflow.entities import Param

        for part in batched(choices.items(), AT_ONCE):
            self.client.log_batch(self.run, params=[Param(_plain(key), value) for key, value in part])

    def row(self, step: int, numbers: Numbers) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for part in batched(numbers.items(), AT_ONCE):
            metrics = [Metric(_plain(key), value, now, step) for key, value in part]
            self.client.log_batch(self.run, metrics=metrics)

    def close(self, how: Ended, results: Numbers, text: str | None) -> None:
        self.row(0, results)
        if text is not None:
            self.client.log_text(self.run, text, RECORD)
        ended = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
        self.client.set_terminated(self.run, ended[how])


class WandB:
    """Offline runs in wandb/; `wandb sync` sends them. WANDB_MODE=online sends at once."""

    def __init__(self, out: Path) -> None:
        self.out, self.mode = out, os.environ.get("WANDB_MODE") or "offline"
        if self.mode == "offline":
            os.environ.setdefault(
                "WANDB_ERROR_REPORTING", "false"
            )  # before the import: nothing leaves unasked
        need("wandb", "wandb")
        runs = f"{shlex.quote(str(out / 'wandb'))}/offline-run-*"
        self.look = f"wandb sync {runs}" if self.mode == "offline" else "wandb.ai"

    def open(self, recipe: str, name: str, choices: dict[str, str]) -> "WandBRun":
        return WandBRun(self, recipe, name, choices)


class WandBRun:
    def __init__(self, tracker: WandB, recipe: str, name: str, choices: dict[str, str]) -> None:
        import wandb

        tracker.out.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "coppice",
            group=recipe,
            name=name,
            config=choices,
            dir=str(tracker.out),
            mode=tracker.mode,
            reinit="create_new",  # several runs at a time
            settings=wandb.Settings(silent=True, console="off", save_code=False, disable_git=True),
        )

    def row(self, step: int, numbers: Numbers) -> None:
        self.run.log(numbers, step=step)

    def close(self, how: Ended, results: Numbers, text: str | None) -> None:
        self.run.summary.update(results)
        if text is not None:
            file = Path(self.run.dir) / RECORD
            file.write_text(text)
            self.run.save(str(file), base_path=self.run.dir, policy="now")
        self.run.finish(exit_code=0 if how == "finished" else 1)


TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def _plain(key: str) -> str:
    """MLflow takes letters, digits, and few other characters in a name."""
    return re.sub(r"[^\w\-. /]", "_", key)


def batched(entries: Iterable[tuple[str, Any]], size: int) -> Iterator[list[tuple[str, Any]]]:
    """Lists of so many entries."""
    left = iter(entries)
    while part := list(islice(left, size)):
        yield part

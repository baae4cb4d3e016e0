"""What a finished model needs to forecast from new rows: the constants of its training rows, as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coppice.data.extras import need
from coppice.data.series_frame import SINGLE, Columns, Frame, long_form
from coppice.data.series_step import Step
from coppice.data.series_windows import Constants, Form, Scale, inputs, last, restored, trimmed


@dataclass(frozen=True)
class Preparation:
    """From new rows to the model's input, and from its output back to the target's unit.

    Made by `load`, kept as `provenance["preparation"]`; `series` holds the constants of each series by name.
    """

    columns: Columns
    form: Form
    step: Step
    series: dict[str, Constants]

    def record(self) -> dict[str, Any]:
        """Ready for JSON; `from_record` brings it back."""
        return {
            "columns": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(self.columns).items()
            },
            "form": asdict(self.form),
            "step": self.step.record(),
            "series": {
                name: {
                    "target": list(known.target),
                    "history": list(known.history),
                    "covariates": [list(scale) for scale in known.covariates],
                }
                for name, known in self.series.items()
            },
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Preparation":
        """The inverse of `record`, also after JSON; ValueError when something is missing from it."""
        try:
            columns = dict(record["columns"])
            for key in ("covariates", "series"):
                columns[key] = None if columns[key] is None else tuple(columns[key])
            series = {
                name: Constants(
                    Scale(*known["target"]),
                    Scale(*known["history"]),
                    tuple(Scale(*scale) for scale in known["covariates"]),
                )
                for name, known in record["series"].items()
            }
            return cls(Columns(**columns), Form(**record["form"]), Step(**record["step"]), series)
        except (KeyError, TypeError) as wrong:
            raise ValueError(
                f"This is no record of a preparation ({type(wrong).__name__}: {wrong}): take "
                'provenance["preparation"] of a data set loaded by this version.'
            ) from wrong

    def latest(self, frame: Frame, what: str = "the table") -> tuple[Tensor, list[dict[str, Any]]]:
        """The last window of each series in a table of new rows: x [series, length, channel] and a key for each.

        Columns as in training; a column of series may lack when there was one series. Keys (JSON) belong into
        `restore`. ValueError: unknown series, too few rows, and all that `load` refuses.
        """
        long = long_form(frame, self.columns, what, self.step)
        rows = self.form.length + self.form.first
        windows, keys = [], []
        for run in long.runs:
            name = self._known(run.name, len(long.runs), what)
            run = trimmed(run, self.form, what)
            if len(run.y) < rows or np.isnan(run.y).all():
                raise ValueError(
                    f"{what} has {len(run.y)} rows of '{run.name}' from the first observed target on, but the "
                    f"model sees {self.form.length}: give {rows} rows or more."
                )
            start = np.array([len(run.y) - self.form.length])
            windows.append(inputs(run, self.form, self.series[name], start))
            moment = run.ds[-1]
            keys.append(
                {
                    self.columns.id: run.name,
                    self.columns.time: int(moment) if self.step.kind == "rows" else str(moment),
                    "present": float(last(run, self.form, start)[0]),
                }
            )
        return torch.from_numpy(np.concatenate(windows)), keys

    def restore(self, y: Tensor, keys: list[dict[str, Any]]) -> Frame:
        """Forecasts [series, horizon] in the target's unit, with their times: a table in the long form.

        Columns: name of the series, time, target. ValueError when y and keys do not fit.
        """
        if y.shape != (len(keys), self.form.horizon):
            raise ValueError(
                f"y is {list(y.shape)}, but {len(keys)} keys and the horizon {self.form.horizon} ask for "
                f"[{len(keys)}, {self.form.horizon}]: pass the model's output for the x that came with the keys."
            )
        pandas = need("pandas")
        tables = []
        for forecast, key in zip(y.detach().cpu().double().numpy(), keys, strict=True):
            constants = self.series[self._known(key[self.columns.id], len(keys), "a key")]
            tables.append(
                pandas.DataFrame(
                    {
                        self.columns.id: key[self.columns.id],
                        self.columns.time: self.step.after(key[self.columns.time], self.form.horizon),
                        self.columns.target: restored(forecast, self.form, constants, key["present"]),
                    }
                )
            )
        return pandas.concat(tables, ignore_index=True)

    def _known(self, name: str, count: int, what: str) -> str:
        """The series of training that `name` stands for: itself, or the only one where names were left out."""
        if name in self.series:
            return name
        only = next(iter(self.series))
        if len(self.series) == count == 1 and SINGLE in (name, only):
            return only
        known = ", ".join(list(self.series)[:20])
        raise ValueError(
            f"{what} has the series '{name}', but the model was trained on {known}: its constants are known for "
            "these alone; forecast one of them, or train again with the new one."
        )

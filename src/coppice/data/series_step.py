"""The step of a series: inferred from its timestamps, checked on them, and carried on past the last one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coppice.data.extras import need

DAY = 86_400_000_000  # microseconds
LONGEST_CLOSURE = 14 * DAY  # the longest pause of a business-daily series; exchanges have closed for a week
SHORTEST_MONTH = 28 * DAY
# months, quarters and years by their first or last day, or first or last business day, in pandas' names
CALENDAR = (
    "MS",
    "ME",
    "BMS",
    "BME",
    "QS-JAN",
    "QS-FEB",
    "QS-MAR",
    "QE-MAR",
    "QE-JAN",
    "QE-FEB",
    "YS-JAN",
    "YE-DEC",
)
SEASONS = {
    3_600: 24,
    86_400: 7,
    604_800: 52,
    60: 60,
    300: 288,
    600: 144,
    900: 96,
    1_800: 48,
}  # rows, by seconds
CALENDAR_SEASONS = {"B": 5, "M": 12, "BM": 12, "Q": 4}  # rows, by the first letters of the offset


@dataclass(frozen=True)
class Step:
    """From one row to the next: `amount` whole numbers ("rows"), microseconds ("time"), or one `offset`.

    The offset is pandas' name of a calendar step, such as B (business day) or MS (month start).
    """

    kind: str
    amount: int = 1
    offset: str = ""

    def misfit(self, ds: NDArray[Any]) -> int | None:
        """The first row that does not follow the one before by one step; None when all do."""
        if len(ds) < 2:
            return None
        if self.kind == "offset" and self.offset == "B":
            gaps = gaps_of(ds)
            wrong = (gaps % DAY != 0) | (gaps > LONGEST_CLOSURE) | _weekend(ds[1:])
        elif self.kind == "offset":
            dates = need("pandas").date_range(ds[0], periods=len(ds), freq=self.offset)
            wrong = ds[1:] != dates.to_numpy().astype(ds.dtype)[1 - len(ds) :]
        else:
            wrong = gaps_of(ds) != self.amount
        rows = np.flatnonzero(wrong)
        return int(rows[0]) + 1 if rows.size else None

    def after(self, last: Any, count: int) -> NDArray[Any]:
        """The `count` timestamps that follow `last`."""
        if self.kind == "rows":
            return int(last) + self.amount * np.arange(1, count + 1)
        start = np.datetime64(last, "us")
        if self.kind == "time":
            return start + np.arange(1, count + 1) * np.timedelta64(self.amount, "us")
        pandas = need("pandas")
        offset, moment = pandas.tseries.frequencies.to_offset(self.offset), pandas.Timestamp(start)
        dates = []
        for _ in range(count):
            moment = moment + offset
            dates.append(moment.to_datetime64().astype("datetime64[us]"))
        return np.array(dates)

    def season(self) -> int:
        """Rows after which a pattern is likely to return: a day of hours, a week of days, a year of months."""
        if self.kind == "offset":
            return CALENDAR_SEASONS.get(self.offset.partition("-")[0].rstrip("SE"), 1)
        return SEASONS.get(self.amount // 1_000_000, 1) if self.kind == "time" else 1

    def __str__(self) -> str:
        if self.kind == "offset":
            return f"one {self.offset}"
        return str(self.amount) if self.kind == "rows" else str(need("pandas").Timedelta(self.amount, "us"))

    def record(self) -> dict[str, Any]:
        """Ready for JSON; `Step(**record)` brings it back."""
        return {"kind": self.kind, "amount": self.amount, "offset": self.offset}


def infer(ds: NDArray[Any]) -> Step:
    """The step of increasing timestamps: their commonest difference, or a step of the calendar.

    Days without any Saturday or Sunday are business days; that holidays are missing is no gap then.
    """
    gaps, counts = np.unique(gaps_of(ds), return_counts=True)
    common = int(gaps[counts.argmax()]) if gaps.size else 1
    if ds.dtype.kind != "M":
        return Step("rows", common)
    if len(gaps) > 1:
        days = Step("offset", offset="B")
        if common == DAY and not _weekend(ds[:1]).any() and days.misfit(ds) is None:
            return days
        if gaps[0] >= SHORTEST_MONTH:
            steps = [Step("offset", offset=offset) for offset in CALENDAR]
            return next((step for step in steps if step.misfit(ds) is None), Step("time", common))
    return Step("time", common)


def gaps_of(ds: NDArray[Any]) -> NDArray[np.int64]:
    """Differences between neighbours: whole numbers, or microseconds."""
    moments: NDArray[np.int64] = ds.astype(np.int64)
    return moments[1:] - moments[:-1]


def _weekend(ds: NDArray[Any]) -> NDArray[np.bool_]:
    # day 0 of the clock, 1970-01-01, was a Thursday
    return (ds.astype("datetime64[D]").astype(np.int64) + 3) % 7 >= 5

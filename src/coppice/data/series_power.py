"""UCI household power: hourly totals as they are handed around, or the original, one row per minute."""

import io
from typing import Any

from coppice.data.extras import need
from coppice.data.series_files import TextFile
from coppice.data.series_frame import Frame

ZIP = "https://archive.ics.uci.edu/static/public/235/individual+household+electric+power+consumption.zip"
BY_HAND = f"download {ZIP} and put it there as it is"
POWER = ("Global_active_power", "Global_reactive_power")  # kW, kvar; sums of minutes become kWh, kvarh
MEANS = ("Voltage", "Global_intensity")  # V, A; sums of minutes become means
ENERGY = ("Sub_metering_1", "Sub_metering_2", "Sub_metering_3")  # Wh
COLUMNS = (*POWER, *MEANS, *ENERGY)
# the original as its page describes it; we never saw the file whole, so its checksum is not known
MINUTE_ROWS, FIRST_MINUTE, LAST_MINUTE, EMPTY_MINUTES = (
    2_075_259,
    "16/12/2006 17:24:00",
    "26/11/2010 21:02:00",
    25_979,
)
ENOUGH = 0.9  # share of the minutes that must be there for a sum to count as observed

MINUTES = TextFile("household_power/household_power_consumption.txt", (), "", 0, BY_HAND)
HOURS = TextFile(
    "household_power/household_power_consumption_hourly.csv",
    (),
    "ae95f41e6c7dea54edd737cd8a7013746578680e9ef11805b7d705d6d7a86b04",
    3051857,
    BY_HAND,
    instead=MINUTES,
)


def read(aggregate: str) -> tuple[Frame, dict[str, Any]]:
    """Sums per "day" or "hour" in the long form, in kWh, kvarh and Wh; means in V and A.

    Days and hours that the record does not cover from beginning to end are left out at its ends. Of the original,
    a sum with fewer than 90 % of its minutes is missing, and the others are scaled up to all their minutes; in the
    hourly totals the gaps were filled by their uploader. Hebrail & Berard 2012, UCI 235.
    """
    file, content, digests, place = HOURS.read()
    frame = need("pandas").read_csv(io.BytesIO(content), **({} if file is HOURS else MINUTE_FORMAT))
    if file is HOURS:
        times = need("pandas").to_datetime(frame["datetime"], format="ISO8601")
        hours = frame[list(COLUMNS)].set_index(times.rename("ds"))
        checked = "SHA-256 of the content"
    else:
        check_minutes(frame)
        hours = hours_of(frame)
        checked = (
            f"{len(frame)} rows, first and last minute, {EMPTY_MINUTES} empty rows; its SHA-256 is not known"
        )
    origin = {"source": ZIP, "read_from": place, "sha256": digests, "checked": checked}
    sums = summed(hours.iloc[1:-1], aggregate)  # the record begins and ends within an hour
    sums.insert(0, "unique_id", "household-power")
    return sums.reset_index(), origin


MINUTE_FORMAT: dict[str, Any] = {"sep": ";", "na_values": ["?"], "dtype": {"Date": str, "Time": str}}


def check_minutes(frame: Frame) -> None:
    """RuntimeError when a table of minutes is not the one that UCI describes."""
    expected = ("Date", "Time", *COLUMNS)
    if tuple(frame.columns) != expected:
        raise RuntimeError(
            f"'{MINUTES.name}' has the columns {list(frame.columns)}, expected {list(expected)}: {BY_HAND}."
        )
    first, last = (f"{frame['Date'].iloc[at]} {frame['Time'].iloc[at]}" for at in (0, -1))
    found = (len(frame), first, last, int(frame[COLUMNS[0]].isna().sum()))
    known = (MINUTE_ROWS, FIRST_MINUTE, LAST_MINUTE, EMPTY_MINUTES)
    for value, wanted, what in zip(
        found, known, ("rows", "first minute", "last minute", "empty rows"), strict=True
    ):
        if value != wanted:
            raise RuntimeError(
                f"'{MINUTES.name}' is not the original: {what} {value}, expected {wanted}: {BY_HAND}."
            )


def hours_of(minutes: Frame) -> Frame:
    """Hourly sums of a table of minutes; missing where fewer than 90 % of the minutes are there, else scaled up."""
    times = need("pandas").to_datetime(minutes["Date"] + " " + minutes["Time"], format="%d/%m/%Y %H:%M:%S")
    hourly = minutes[list(COLUMNS)].groupby(times.dt.floor("h").rename("ds"))
    known = hourly.count()
    return (hourly.sum() * 60 / known).where(known >= ENOUGH * 60)


def summed(hours: Frame, aggregate: str) -> Frame:
    """Hours as they are, or days; sums of minutes as kWh and kvarh, and as means of V and A."""
    size = 60
    if aggregate == "day":
        daily = hours.groupby(hours.index.floor("D"))
        known, there = daily.count(), daily.size()
        whole = there[there == 24].index
        hours = (daily.sum() * 24 / known).where(known >= ENOUGH * 24).loc[whole]
        size = 1440
    result = hours.copy()
    result[list(POWER)] /= 60
    result[list(MEANS)] /= size
    return result

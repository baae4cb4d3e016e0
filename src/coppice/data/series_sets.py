"""The named series: their checked files, and how each becomes a table in the long form.

Where the origin gives a .zip or asks for a login, the file is to be put into the data folder by hand; it is checked by
its content, so that it may lie there packed or not.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from coppice.data import series_power
from coppice.data.extras import need
from coppice.data.series_files import TextFile
from coppice.data.series_frame import Frame, nearest

KAGGLE = "download it from https://www.kaggle.com/datasets/{} (a free account is needed) and put it, or the .zip, there"
TICKERS = (
    "AAPL",
    "IBM",
    "JNJ",
    "JPM",
    "XOM",
)  # large, of five trades, and complete from the first day to the last

SP500 = TextFile(
    "sp500/sp500_index_daily_1950_2015.csv",
    (
        "https://raw.githubusercontent.com/posit-dev/great-tables/79748b92e79bab767c3c72520a58d8f915448d22/"
        "great_tables/data/04-sp500.csv",
    ),
    "a5dc7650148db1bca456cc8fa106d9c944f45922d8b825146181f7c1cb2876ac",
    906055,
    package=("great_tables", "data/04-sp500.csv"),
)
STOCKS = TextFile(
    "sp500/all_stocks_5yr.csv",
    (),
    "6aea253cd19de60b568143991aaf1fa482456565c389205658d236e595e716cf",
    29580549,
    KAGGLE.format("camnugent/sandp500"),
)
BITCOIN = TextFile(
    "bitcoin/coin_Bitcoin.csv",
    (),
    "a0381a6a9d60d5170ff2ca79d1a7ddcf12000705304586855bd3e07548f1c052",
    381668,
    KAGGLE.format("sudalairajkumar/cryptocurrencypricehistory"),
)
AIR = TextFile(
    "air_quality/AirQualityUCI.csv",
    (),
    "edcba3469f7e4a13c4897b64f412ebc06914a55c86ffb9af03ad0fa9d0858722",
    785065,
    "download https://archive.ics.uci.edu/static/public/360/air+quality.zip and put it there as it is",
)


@dataclass(frozen=True)
class Choice:
    """What may be chosen of a set: which `series` (None: the usual ones), and sums per "day" or "hour"."""

    series: tuple[str, ...] | None = None
    aggregate: str = "day"


@dataclass(frozen=True)
class SeriesSet:
    """A named series: what it is, and what it is usually asked. `period` in rows; `read` gives table and origin."""

    name: str
    what: str
    licence: str
    homepage: str
    files: tuple[TextFile, ...]
    target: str
    transform: str
    period: int
    read: Callable[[Choice], tuple[Frame, dict[str, Any]]]


def _table(file: TextFile, **options: Any) -> tuple[Frame, dict[str, Any]]:
    used, content, digests, place = file.read()
    frame = need("pandas").read_csv(io.BytesIO(content), **options)
    source = " or ".join(used.urls) or used.by_hand
    return frame, {"source": source, "read_from": place, "sha256": digests}


def _prices(frame: Frame) -> Frame:
    """Closing price, and two covariates of the day: log of high over low, and change of the log of 1 + volume."""
    volume = np.log1p(frame["volume"].astype(float)).groupby(frame["unique_id"]).diff()
    return need("pandas").DataFrame(
        {
            "unique_id": frame["unique_id"],
            "ds": need("pandas").to_datetime(frame["date"], format="ISO8601"),
            "close": frame["close"],
            "range": np.log(frame["high"]) - np.log(frame["low"]),
            "volume": volume,
        }
    )


def _sp500(choice: Choice) -> tuple[Frame, dict[str, Any]]:
    frame, origin = _table(SP500)
    return _prices(frame.iloc[::-1].reset_index(drop=True).assign(unique_id="sp500")), origin


def _stocks(choice: Choice) -> tuple[Frame, dict[str, Any]]:
    frame, origin = _table(STOCKS)
    known = list(frame["Name"].unique())
    tickers = choice.series or TICKERS
    for ticker in tickers:
        if ticker not in known:
            raise ValueError(f"'sp500-stocks' has no series = '{ticker}': {nearest(ticker, known)}.")
    chosen = frame[frame["Name"].isin(tickers)].reset_index(drop=True)
    return _prices(chosen.rename(columns={"Name": "unique_id"})), origin


def _bitcoin(choice: Choice) -> tuple[Frame, dict[str, Any]]:
    frame, origin = _table(BITCOIN)
    frame = frame.rename(columns=str.lower).assign(unique_id="bitcoin")
    frame["date"] = frame["date"].str.slice(0, 10)  # a day is stamped with its last second
    return _prices(frame), origin


def _air_quality(choice: Choice) -> tuple[Frame, dict[str, Any]]:
    frame, origin = _table(AIR, sep=";", decimal=",", na_values=["-200", "-200,0"])
    frame = frame.loc[:, ~frame.columns.str.startswith("Unnamed")].dropna(how="all")  # it ends in empty cells
    times = need("pandas").to_datetime(frame["Date"] + " " + frame["Time"], format="%d/%m/%Y %H:%M:%S")
    # of NMHC(GT) nine tenths are missing
    sensors = frame.drop(columns=["Date", "Time", "NMHC(GT)"])
    sensors.insert(0, "ds", times)
    sensors.insert(0, "unique_id", "air-quality")
    return sensors, origin


def _co2(choice: Choice) -> tuple[Frame, dict[str, Any]]:
    weekly = need("statsmodels.datasets.co2").load_pandas().data["co2"]
    frame = need("pandas").DataFrame({"unique_id": "co2", "ds": weekly.index, "co2": weekly.to_numpy()})
    digest = hashlib.sha256(frame["co2"].to_numpy(dtype="<f8").tobytes()).hexdigest()
    version = need("statsmodels").__version__
    return frame, {
        "source": f"embedded in statsmodels {version}",
        "read_from": "embedded",
        "sha256": {"values, as little-endian float64": digest},
    }


def _power(choice: Choice) -> tuple[Frame, dict[str, Any]]:
    return series_power.read(choice.aggregate)


SERIES = {
    entry.name: entry
    for entry in (
        SeriesSet(
            name="co2",
            what="CO2 in the air of Mauna Loa, ppm, 2284 weeks from 1958 to 2001, 59 of them missing",
            licence="public domain (Keeling & Whorf 2004), embedded in statsmodels (BSD-3-Clause)",
            homepage="https://www.statsmodels.org/stable/datasets/generated/co2.html",
            files=(),
            target="co2",
            transform="difference",
            period=52,
            read=_co2,
        ),
        SeriesSet(
            name="air-quality",
            what="carbon monoxide and 11 other sensors in an Italian city, 9357 hours of 2004 and 2005",
            licence="CC BY 4.0 as commonly stated; the donors ask for research use only (UCI 360, De Vito et al. 2008)",
            homepage="https://archive.ics.uci.edu/dataset/360/air+quality",
            files=(AIR,),
            target="CO(GT)",
            transform="none",
            period=24,
            read=_air_quality,
        ),
        SeriesSet(
            name="household-power",
            what="electric power of a household near Paris, 1440 days (or 34587 hours) from 2006 to 2010",
            licence="CC BY 4.0 as commonly stated (UCI 235, Hebrail & Berard)",
            homepage="https://archive.ics.uci.edu/dataset/235/individual+household+electric+power+consumption",
            files=(series_power.HOURS,),
            target="Global_active_power",
            transform="none",
            period=7,
            read=_power,
        ),
        SeriesSet(
            name="bitcoin",
            what="price of a bitcoin in US dollars, 2991 days from 2013 to 2021",
            licence="CC0 as stated by the uploader; collected from CoinMarketCap",
            homepage="https://www.kaggle.com/datasets/sudalairajkumar/cryptocurrencypricehistory",
            files=(BITCOIN,),
            target="close",
            transform="log_return",
            period=7,
            read=_bitcoin,
        ),
        SeriesSet(
            name="sp500",
            what="S&P 500 index, 16607 trading days from 1950 to 2015",
            licence="in great_tables (MIT); the index values are S&P Dow Jones Indices'",
            homepage="https://github.com/posit-dev/great-tables",
            files=(SP500,),
            target="close",
            transform="log_return",
            period=5,
            read=_sp500,
        ),
        SeriesSet(
            name="sp500-stocks",
            what=f"505 stocks of the S&P 500, 1259 trading days from 2013 to 2018; {', '.join(TICKERS)} unless chosen",
            licence="CC0 as stated by the uploader (MIT in the compiler's repository)",
            homepage="https://www.kaggle.com/datasets/camnugent/sandp500",
            files=(STOCKS,),
            target="close",
            transform="log_return",
            period=5,
            read=_stocks,
        ),
    )
}

"""Data sets: embedded, downloaded with a checksum, or the user's own file."""

from coppice.data.catalogue import SETS, Data, DataSet, load, status
from coppice.data.series import Series, from_frame
from coppice.data.series_preparation import Preparation
from coppice.data.series_sets import SERIES
from coppice.data.splits import Split, Splits

__all__ = [
    "SERIES",
    "SETS",
    "Data",
    "DataSet",
    "Preparation",
    "Series",
    "Split",
    "Splits",
    "from_frame",
    "load",
    "status",
]

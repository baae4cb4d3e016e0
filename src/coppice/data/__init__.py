"""Data sets: embedded, downloaded with a checksum, or the user's own file."""

from coppice.data.catalogue import SETS, Data, DataSet, load, status
from coppice.data.splits import Split, Splits

__all__ = ["SETS", "Data", "DataSet", "Split", "Splits", "load", "status"]

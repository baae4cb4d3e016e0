"""Comparisons of several trainings; a recipe names one in its table [study]."""

from coppice.experiments.studies.alternatives import Alternatives
from coppice.experiments.studies.needed_width import NeededWidth
from coppice.experiments.studies.transfer import Transfer

Study = Alternatives | NeededWidth | Transfer
STUDIES: dict[str, type[Alternatives] | type[NeededWidth] | type[Transfer]] = {
    "alternatives": Alternatives,
    "needed_width": NeededWidth,
    "transfer": Transfer,
}

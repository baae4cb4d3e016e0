"""One paper, one file, or files that share its name. The catalogue names them for recipes and the command line."""

from collections.abc import Mapping
from typing import Any

from coppice.methods import bdnn_sp, synaptic_pruning
from coppice.methods.bdnn_sp import BDNNSP
from coppice.methods.dense import Dense
from coppice.methods.synaptic_pruning import SynapticPruning
from coppice.methods.td_mcl_options import TDMCL

CATALOGUE: dict[str, type[BDNNSP] | type[Dense] | type[SynapticPruning]] = {
    "bdnn-sp": BDNNSP,
    "dense": Dense,
    "synaptic-pruning": SynapticPruning,
}
STREAMED: dict[str, type[TDMCL]] = {"td-mcl": TDMCL}  # learn one task after another
PRESETS: dict[str, Mapping[str, Any]] = {
    "bdnn-sp": bdnn_sp.PRESETS,
    "synaptic-pruning": synaptic_pruning.PRESETS,
    # what is known of the paper: its equations of the links' evolution, and that its modules start afresh; own worth as simple
    # as it can be, and nothing made up for
    "td-mcl": {
        "paper": TDMCL(evolution="paper", inherit=False, own="at once", protect="own task", homeostasis=False)
    },
}

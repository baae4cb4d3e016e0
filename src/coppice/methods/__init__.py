"""One paper, one file. The catalogue names them for recipes and the command line."""

from coppice.methods.bdnn_sp import BDNNSP
from coppice.methods.dense import Dense

CATALOGUE: dict[str, type[BDNNSP] | type[Dense]] = {"bdnn-sp": BDNNSP, "dense": Dense}

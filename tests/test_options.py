"""Options by keyword: changed, or refused with the nearest there is."""

import pytest
import torch
from torch import nn

from coppice import find_size, prune_synapses
from coppice.methods import BDNNSP, SynapticPruning
from coppice.parts.options import changed


def test_fields_change_and_the_others_stay() -> None:
    assert changed(SynapticPruning(every=7), {"start": 0.2}) == SynapticPruning(every=7, start=0.2)
    assert changed(BDNNSP(), {}) == BDNNSP()


def test_values_are_checked_by_the_dataclass_itself() -> None:
    with pytest.raises(ValueError, match="final_sparsity is 9"):
        changed(SynapticPruning(), {"final_sparsity": 9})


@pytest.mark.parametrize(
    ("settings", "typed", "meant"),
    [
        (BDNNSP(), "pretrain_epoch", "pretrain_epochs"),
        (BDNNSP(), "width", "min_width"),
        (SynapticPruning(), "sparsity", "final_sparsity"),
        (SynapticPruning(), "shedule", "schedule"),
    ],
)
def test_a_wrong_one_names_the_nearest(settings: BDNNSP | SynapticPruning, typed: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"no option '{typed}', did you mean '{meant}'"):
        changed(settings, {typed: 1})


def test_one_like_no_other_is_told_which_there_are() -> None:
    with pytest.raises(TypeError, match=r"no option 'qqq'\. The options are importance, share"):
        changed(BDNNSP(), {"qqq": 1})


def test_the_front_doors_use_it() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(TypeError, match="final_sparsity"):
        prune_synapses(model, optimizer, 100, sparsity=0.9)
    with pytest.raises(TypeError, match="retrain_epochs"):
        find_size(model, lambda *_: None, lambda _: 0.5, optimizer, retrain_epoch=1)

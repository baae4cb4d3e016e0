"""How strong are the synapses, and which of them just died? Counts of |w|; pure."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BINS = 30  # of equal width, from 0 to a tensor's greatest |w|


def histogram(
    before: Mapping[str, tuple[Tensor, Tensor]], after: Mapping[str, Tensor], threshold: bool
) -> dict[str, Any]:
    """Counts of |w| at an event in which synapses died, tensor by tensor, as JSON values.

    before: |w| and mask of each tensor as the event began; after: its mask as it ended.
    threshold: whether they were ranked by |w|, so that the greatest |w| that died is where the living begin.
    Returns `threshold` (None where nothing died, or by another rank) and `tensors`: by name the greatest |w| (`edge`),
    and in BINS bins how many live on (`alive`) and how many died now (`died`).
    """
    tensors, greatest = {}, None
    for name, (strength, living) in before.items():
        edge = float(strength[living].max()) if living.any() else 0.0
        kept, died = strength[living & after[name]], strength[living & ~after[name]]
        if len(died) and threshold:
            greatest = max(float(died.max()), greatest or 0.0)
        counts = [torch.histc(part.float(), BINS, 0, edge or 1.0) for part in (kept, died)]
        alive_counts, died_counts = ([int(count) for count in each] for each in counts)
        tensors[name] = {"edge": edge, "alive": alive_counts, "died": died_counts}
    return {"threshold": greatest, "tensors": tensors}

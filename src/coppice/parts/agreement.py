"""Several processes that train one network decide as one."""

import torch
import torch.distributed as dist
from torch import Tensor


def _several() -> bool:
    """Whether this process is one of several; torch may come without torch.distributed."""
    return dist.is_available() and dist.is_initialized()


def is_first() -> bool:
    """Whether this process is the first of several, or the only one."""
    return not _several() or dist.get_rank() == 0


def agreed(choice: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the first process chose, in all of them."""
    if _several():
        for mask in choice.values():
            shared = mask.to(torch.uint8)
            dist.broadcast(shared, src=0)
            mask.copy_(shared.bool())
    return choice

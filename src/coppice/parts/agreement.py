"""Several processes that train one network decide as one."""

import torch
import torch.distributed as dist
from torch import Tensor


def agreed(choice: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the first process chose, in all of them."""
    if dist.is_available() and dist.is_initialized():
        for mask in choice.values():
            shared = mask.to(torch.uint8)
            dist.broadcast(shared, src=0)
            mask.copy_(shared.bool())
    return choice

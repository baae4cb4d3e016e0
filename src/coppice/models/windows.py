"""What every forecaster asks of its input and of its numbers."""

from collections.abc import Sequence


def window_of(shape: Sequence[int], name: str) -> tuple[int, int]:
    """(length, channels) of one window; ValueError where the samples are no windows."""
    if len(shape) != 2:
        raise ValueError(
            f"model '{name}' reads windows [length, channel], but each sample has shape {list(shape)}: choose a "
            'series as data, such as data.name = "co2", or a model such as "mlp".'
        )
    return shape[0], shape[1]


def check_sizes(**sizes: int | None) -> None:
    """ValueError for a size below 1; None stands for a default."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} is {size}, but must be at least 1.")


def check_dropout(share: float) -> None:
    """ValueError for a share that is none."""
    if not 0 <= share < 1:
        raise ValueError(f"dropout is {share}, but must be a share in [0, 1); 0.3 means 30 %.")

"""Standardise features and targets with constants taken from training rows only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaling:
    """Maps v to (v - mean) / std along axis 1 (feature, channel or output); one constant may serve all.

    `mean`, `std`: tuples as long as axis 1, or of length one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Scaled float32 copy of `values` [n, k, ...]."""
        # bytes are exact in float32; everything else keeps its digits until after the subtraction
        wide: NDArray[np.floating[Any]] = values.astype(
            np.float32 if values.dtype == np.uint8 else np.float64
        )
        shape = (1, -1) + (1,) * (values.ndim - 2)
        wide -= np.asarray(self.mean, dtype=wide.dtype).reshape(shape)
        wide /= np.asarray(self.std, dtype=wide.dtype).reshape(shape)
        return wide.astype(np.float32, copy=False)

    def record(self) -> dict[str, list[float]]:
        """The constants, ready for JSON."""
        return {"mean": list(self.mean), "std": list(self.std)}


def fit(values: NDArray[Any]) -> Scaling:
    """Constants that standardise `values`, the training rows.

    Columns [n, k]: each to mean 0 and standard deviation 1; a constant column becomes 0. Images
    [n, channel, height, width]: each channel to mean 0, then all by one standard deviation, since pixels
    share a unit and edge pixels hardly vary.
    """
    if values.ndim == 2:
        mean = values.mean(axis=0, dtype=np.float64)
        # not std == 0: equal decimals such as 0.1 leave a rounding residue that would be blown up to noise
        constant = values.min(axis=0) == values.max(axis=0)
        std = np.where(constant, 1.0, values.std(axis=0, dtype=np.float64))
    else:
        mean = values.mean(axis=(0, 2, 3), dtype=np.float64)
        variance = values.var(axis=(0, 2, 3), dtype=np.float64).mean()
        std = np.array([1.0 if values.min() == values.max() else np.sqrt(variance)])
    return Scaling(tuple(mean.tolist()), tuple(std.tolist()))

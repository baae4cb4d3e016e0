"""No feature from the future: a covariate that is the target, or the target some rows later, gives the answer away."""

import numpy as np
from numpy.typing import NDArray

from coppice.data.series_frame import Run

SAME = (
    1 - 1e-6
)  # correlation of two columns' steps from which they are the same column but for unit and rounding
LEAST = 8  # steps; fewer may agree by chance


def assert_no_future(run: Run, names: tuple[str, ...], rows: int, reach: int, what: str) -> None:
    """ValueError when a covariate is the target of the same row or of one of the `reach` rows after it.

    Compares the steps from row to row in the first `rows` rows, where both were observed, so that another unit,
    another origin or filled gaps hide nothing. The released code of Vos et al. 2025 feeds the target of 1, 3, 7, 14
    and 30 rows later to the model; this is what refuses such columns.
    """
    steps = np.diff(run.y[:rows])
    for name, column in zip(names, np.diff(run.covariates[:rows], axis=0).T, strict=True):
        for lead in range(min(reach, len(steps) - LEAST) + 1):
            if _same(column[: len(steps) - lead], steps[lead:]):
                if lead == 0:
                    raise ValueError(
                        f"{what}: the covariate '{name}' of '{run.name}' is the target itself, but for its unit: "
                        "the target's own history is channel 0 already; drop the column or leave it out of "
                        "covariates."
                    )
                ahead = "1 row" if lead == 1 else f"{lead} rows"
                raise ValueError(
                    f"{what}: the covariate '{name}' of '{run.name}' is the target {ahead} later, so it gives the "
                    f"answer away (checked up to {reach} rows): drop the column or leave it out of covariates."
                )


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    seen = ~(np.isnan(one) | np.isnan(other))
    if seen.sum() < LEAST:
        return False
    a, b = one[seen] - one[seen].mean(), other[seen] - other[seen].mean()
    scale = np.sqrt((a @ a) * (b @ b))
    # steps that are all the same, of a straight line, say nothing
    if scale <= 1e-12 * np.sqrt((one[seen] @ one[seen]) * (other[seen] @ other[seen])) or scale == 0:
        return False
    return bool(abs(a @ b) >= SAME * scale)

"""The 8x8 digits that come with scikit-learn: small, real, and on every machine."""

import hashlib

import numpy as np

from coppice.data.extras import need
from coppice.data.scaling import Scaling
from coppice.data.splits import TEST_SEED, Source, hold_out

TEST_SHARE = 0.25
WHITE = 16.0  # the brightest pixel


def read() -> Source:
    """1797 images [n, 1, 8, 8] of 10 digits, pixels to be divided by 16.

    449 of them, stratified and the same for every seed, are the test. Source: Alpaydin & Kaynak 1998, UCI
    "Optical Recognition of Handwritten Digits" (its test part), as embedded in scikit-learn.
    """
    version = need("sklearn").__version__
    pixels, labels = need("sklearn.datasets").load_digits(return_X_y=True)
    x, y = pixels.astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.int64)
    test, pool = hold_out(y, TEST_SHARE)
    content = hashlib.sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    return Source(
        x=x[pool],
        y=y[pool],
        x_test=x[test],
        y_test=y[test],
        task="classification",
        classes=tuple("0123456789"),
        scaling=Scaling((0.0,), (WHITE,)),
        provenance={
            "source": f"embedded in scikit-learn {version}",
            "read_from": "embedded",
            "sha256": {"pixels, then labels, one byte each": content},
            "test": {"share": TEST_SHARE, "seed": TEST_SEED},
        },
    )

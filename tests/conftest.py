"""One thread, since the networks here are tiny and threads that wait for each other make them slow; and patience:
a busy machine is no failure, so hypothesis sets no time limits.
"""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

from coppice.experiments import live
from coppice.parts import cost

torch.set_num_threads(1)
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="module")
def no_stopwatch() -> Iterator[None]:
    """Latencies cost a second a run; for tests that look at none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "latency", lambda model, example: 1e-5)
        yield


@pytest.fixture
def every_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is watched leaves its record so far after each unit, however young the last one is."""
    monkeypatch.setattr(live, "PAUSE", 0.0)
    monkeypatch.setattr(live, "SHARE", 0.0)

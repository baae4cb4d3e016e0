"""How much should be gone by now? Pure functions of progress along the ramp: [0, 1] -> share of the way, [0, 1]."""

from collections.abc import Callable

Schedule = Callable[[float], float]


def cubic(progress: float) -> float:
    """1 - (1 - p)^3: prunes early, while the network can still recover.   Zhu & Gupta 2017, Eq. 1."""
    return 1 - (1 - progress) ** 3


def rising_cubic(progress: float) -> float:
    """p^3: prunes late, faster and faster.   Vos et al. 2025."""
    return progress**3


def linear(progress: float) -> float:
    """p: as many at every event."""
    return progress


def one_shot(progress: float) -> float:
    """Nothing until the ramp ends, then everything at once: the control for gradualness."""
    return float(progress >= 1)


SCHEDULES: dict[str, Schedule] = {
    "cubic": cubic,
    "rising_cubic": rising_cubic,
    "linear": linear,
    "one_shot": one_shot,
}

"""Train and change nothing: the baseline that every other method is held against."""

from dataclasses import dataclass

from coppice.contract import Method


@dataclass(frozen=True)
class Dense(Method):
    """A network of fixed size and full connection."""

"""A person's own samples: how their classes are numbered, and what is refused."""

from typing import Any

import numpy as np
import pytest

from coppice.data.samples import Samples, task_of

X = np.arange(60.0).reshape(30, 2)
WORDS = np.array(["low", "mid", "high"] * 10)


def numbered(samples: Samples) -> dict[int, set[str]]:
    """By number: the words of its samples, read off their x."""
    task, _ = task_of("t", samples, scale=False, seed=0)
    found: dict[int, set[str]] = {}
    for part in (task.train, task.validation):
        for x, y in zip(part.x, part.y, strict=True):
            found.setdefault(int(y), set()).add(WORDS[int(x[0]) // 2])
    assert [{task.classes[number]} for number in found] == list(found.values())
    return found


def test_text_is_numbered_by_the_classes_or_else_by_the_alphabet() -> None:
    assert numbered(Samples(X, WORDS)) == {0: {"high"}, 1: {"low"}, 2: {"mid"}}
    assert numbered(Samples(X, WORDS, ("low", "mid", "high"))) == {0: {"low"}, 1: {"mid"}, 2: {"high"}}
    assert numbered(Samples(X, WORDS[:, None], ["mid", "high", "low"]))[0] == {"mid"}


@pytest.mark.parametrize(
    ("y", "classes", "says"),
    [
        ([0.0, 1.0, np.inf], None, "y of task 't' holds inf, but classes are whole numbers or text"),
        ([0.0, np.nan, 1.0], None, "y of task 't' holds nan"),
        ([0.0, 0.5, 1.0], None, "y of task 't' holds 0.5"),
        ([0, {}, 1], None, "y of task 't' holds objects"),
        (["a", "b", "a"], ["a", "c"], "names the classes a, b, but classes are a, c: leave classes out"),
        (["a", "b", "a"], ["a", "a"], "give each a name of its own"),
    ],
)
def test_answers_that_are_no_classes_are_refused(y: Any, classes: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        task_of("t", Samples(np.zeros((3, 2)), y, classes), scale=False, seed=0)

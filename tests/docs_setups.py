"""What readers of README and docs have already when they come to a block of code, and which commands are only checked."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).parent.parent
Namespace = dict[str, Any]


def own_model(names: Namespace) -> None:
    """A model, a loop, a score and an optimizer of the reader's, and a loader for loops that write themselves out."""
    torch.manual_seed(0)
    x = torch.randn(400, 8)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 2))

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
        model.train()
        for _ in range(epochs):
            for batch in torch.randperm(300).split(20):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()

    @torch.no_grad()
    def right(model: nn.Module, rows: slice) -> Tensor:
        return (model.eval()(x[rows]).argmax(1) == y[rows]).float()

    names |= {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.1),
        "train": train,
        "score": lambda model: torch.cat(
            [right(model, slice(300, 400))] * 3
        ),  # 300, so that nobody is warned of few
        "epochs": 10,
        "loader": [(x[i : i + 20], y[i : i + 20]) for i in range(0, 300, 20)],
        "example": x[:1],
    }


def samples_of_two_tasks(names: Namespace) -> None:
    """Pictures and short sequences with labels, as arrays."""
    random = np.random.default_rng(0)

    def made(shape: tuple[int, ...]) -> tuple[Any, Any]:
        y = np.arange(36) % 3
        return (random.normal(size=(36, *shape)) + y.reshape(-1, *[1] * len(shape))).astype(np.float32), y

    (x, y), (more_x, more_y) = made((1, 4, 4)), made((5, 2))
    names |= {"x": x, "y": y, "more_x": more_x, "more_y": more_y}


def files_of_two_tasks(names: Namespace) -> None:
    """The same in files, a table of flowers, and new samples; and a learner that is quick, by its own options."""
    samples_of_two_tasks(names)
    np.savez("shapes.npz", x=names["x"], y=names["y"])
    np.savez("gestures.npz", x=names["more_x"], y=names["more_y"])
    np.savez("new.npz", x=names["x"][:5])
    flowers_table(names)


def flowers_table(names: Namespace) -> None:
    """flowers.csv and mine.csv: two measures of three species."""
    random = np.random.default_rng(1)
    lines = ["length,width,species"]
    for k in range(90):
        length, width = random.normal(size=2) + 2 * (k % 3)
        lines.append(f"{length:.3f},{width:.3f},{['setosa', 'virginica', 'versicolor'][k % 3]}")
    for file in ("flowers.csv", "mine.csv"):
        Path(file).write_text("\n".join(lines) + "\n")


def files_of_readme(names: Namespace) -> None:
    """What its command lines speak of."""
    files_of_two_tasks(names)
    sales(names)
    Path("shapes.npz").rename("digits.npz")


def sales(names: Namespace) -> None:
    """sales.csv: two series of 200 days."""
    random = np.random.default_rng(0)
    days = [str(np.datetime64("2024-01-01") + day) for day in range(200)]
    lines = ["unique_id,ds,y"]
    for name, level in (("north", 100), ("south", 60)):
        wave = level + 20 * np.sin(2 * np.pi * np.arange(200) / 7) + random.normal(0, 3, 200)
        lines += [f"{name},{day},{y:.1f}" for day, y in zip(days, wave, strict=True)]
    Path("sales.csv").write_text("\n".join(lines) + "\n")


def folder_of_pictures(names: Namespace) -> None:
    """pictures/bright/0.png ...: grey pictures of two kinds."""
    from PIL import Image

    random = np.random.default_rng(0)
    for kind, level in (("bright", 160), ("dark", 80)):
        folder = Path("pictures", kind)
        folder.mkdir(parents=True)
        for number in range(150):
            Image.fromarray(random.normal(level, 60, (16, 16)).clip(0, 255).astype(np.uint8)).save(
                folder / f"{number}.png"
            )


SETUPS: dict[str, Callable[[Namespace], None]] = {
    each.__name__: each
    for each in (
        own_model,
        samples_of_two_tasks,
        files_of_two_tasks,
        flowers_table,
        files_of_readme,
        sales,
        folder_of_pictures,
    )
}

# Commands, by how they begin, that are only checked: the command line must take them, and recipe and options be valid.
CHECKED_ONLY = {
    "coppice demo": "takes two minutes; tests/test_cli.py runs it",
    "coppice run bdnn-mnist": "downloads MNIST",
    "coppice run bdnn-digits --out runs/watched --watch": "serves a page; tests/test_live.py asks for it",
    "coppice run bdnn-digits --seeds 0-3 --jobs 2 --watch": "the same, in several processes",
    "coppice run forecast --seeds 0-4 --track": "takes a minute; tests/test_trackers.py reads back what is told",
    "coppice run td-mcl-": "takes minutes, or downloads CIFAR-100; tests/test_curriculum.py runs such streams",
    "coppice run continual-pmi-mini": "takes an hour; tests/test_continual_study.py runs it shortened",
    "coppice run alternatives-digits": "takes minutes; tests/test_studies.py runs it shortened",
    "coppice run forecasting": "needs files that are to be had by hand",
    "coppice report runs/continual-pmi-mini": "of the run above",
    "coppice report runs/bdnn-mnist": "of the run above",
    "coppice report runs/pictures --open": "opens a browser; tests/test_page_cli.py",
    "coppice report runs/bdnn-digits --html": "of a run that the page does not make; tests/test_page_cli.py",
    "coppice compact runs/bdnn-mnist/0": "of the run above",
    "coppice data mnist": "downloads",
}
SHORT_SEARCH = [
    "--set=method.pretrain_epochs=2",
    "--set=method.plateau=0",
    "--set=method.tune_epochs=1",
    "--set=method.retrain_epochs=1",
    "--set=method.retrain_steps=0",
    "--set=method.share=0.4",
    "--set=method.min_width=4",
]
# Commands, by how they begin, that run with fewer epochs or seeds.
SHORTER = {
    "coppice run bdnn-digits": SHORT_SEARCH,
    "coppice run forecast ": ["--set=training.epochs=1", "--seeds=0"],
    "coppice run recipe.toml --seeds 0-4 --jobs 2": ["--seeds=0", "--jobs=1", "--set=training.epochs=1"],
    "coppice run recipe.toml --set": ["--set=training.epochs=1"],
    "coppice run recipe.toml --seeds 0-4 --out": ["--seeds=0", *SHORT_SEARCH],
    "coppice learn": ["--epochs=2"],
}


def _extras_exist(words: list[str]) -> None:
    """Of pip install "coppice[a,b]": the extras are those of pyproject.toml."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for asked in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(asked.split(",")) <= set(known), f"pyproject.toml has not all extras of {asked}"


def _script_exists(words: list[str]) -> None:
    assert (ROOT / words[1]).is_file(), f"there is no {words[1]}"


def _environment(words: list[str]) -> None:
    name, _, value = words[1].partition("=")
    assert name in ("COPPICE_DATA", "COPPICE_CACHE")
    assert value


# What is not a command of coppice: by how it begins, how it is checked.
NOT_COPPICE: dict[str, Callable[[list[str]], None]] = {
    "python3 -m venv": _extras_exist,  # .ci/run runs the line of the tests as it stands
    "pip install": _extras_exist,
    "export": _environment,
}

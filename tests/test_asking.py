"""coppice predict with a run on samples: what it answers is what its model says of inputs scaled as in training."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from coppice.cli import main
from coppice.experiments import record
from coppice.parts.blueprint import load_model

QUICK = ["method.name=dense", "training.epochs=6", "training.batch=8", "model.hidden=[12]", "data.name=file"]


@pytest.fixture(autouse=True)
def _in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(file: str, *options: str) -> Path:
    chosen = [*QUICK, f"data.path={file}", *options]
    sets = [word for each in chosen for word in ("--set", each)]
    assert main(["run", "bdnn-digits", *sets, "--out", "runs"]) == 0
    return Path("runs/0")


def answers(*words: str) -> list[dict[str, str]]:
    assert main(["predict", *words, "--out", "answers.csv", "--force"]) == 0
    with Path("answers.csv").open() as text:
        return list(csv.DictReader(text))


def pictures() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    kinds = np.arange(90) % 2
    x = random.normal(80 + 90 * kinds[:, None, None, None], 30, (90, 1, 4, 4)).clip(0, 255).astype(np.uint8)
    return x, np.array(["dark", "bright"])[kinds]


def test_the_classes_of_pictures_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = pictures()
    np.savez("mine.npz", x=x, y=y)
    run = trained("mine.npz")
    np.savez("new.npz", x=x[:30])
    found = answers(str(run), "--data", "new.npz")
    assert [line["sample"] for line in found] == [str(k) for k in range(30)]
    assert sum(line["class"] == kind for line, kind in zip(found, y, strict=False)) > 24
    constants = record.read(run / "record.json")["data"]["scaling"]["features"]
    by_hand = (x[:30].astype(np.float64) - constants["mean"][0]) / constants["std"][0]
    with torch.no_grad():
        sure = load_model(run / "model.safetensors").eval()(torch.tensor(by_hand).float()).softmax(1)
    np.testing.assert_allclose([float(line["probability"]) for line in found], sure.max(1).values, atol=1e-4)
    printed = capsys.readouterr().out
    assert "and 10 more" in printed
    assert "written: answers.csv" in printed


def test_the_values_of_a_table_in_their_unit() -> None:
    random = np.random.default_rng(1)
    areas = random.uniform(50, 200, 120)
    lines = [f"{area:.1f},{1000 + 3 * area:.1f}" for area in areas]
    Path("houses.csv").write_text("\n".join(["area,price", *lines]))
    run = trained("houses.csv", "data.target=price", "training.epochs=40", "training.learning_rate=0.01")
    Path("new.csv").write_text("colour,area\nred,100\nblue,150\n")  # other columns are passed over
    found = [float(line["price"]) for line in answers(str(run), "--data", "new.csv")]
    np.testing.assert_allclose(found, [1300, 1450], atol=40)


def test_what_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = pictures()
    np.savez("mine.npz", x=x, y=y)
    run = str(trained("mine.npz", "training.epochs=1"))
    np.savez("flat.npz", x=x[:, 0])
    Path("rows.csv").write_text("a,b\n1,2\n")
    for words, complaint in (
        ([], "takes new samples by --data FILE"),
        (["--csv", "rows.csv"], "takes new samples by --data FILE"),
        (["--data", "flat.npz"], "a sample has shape [4, 4], but runs/0 was trained on [1, 4, 4]"),
        (["--data", "rows.csv"], "learned from arrays"),
        (["--data", "mine.npz", "--task", "digits"], "--task is for a learner"),
    ):
        assert main(["predict", run, *words]) == 2
        assert complaint in capsys.readouterr().err

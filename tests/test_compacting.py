"""`coppice compact`: what zeros are worth, in bytes and microseconds; and what is cut out."""

import gzip
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from coppice.cli import main, timing, worth
from coppice.experiments.folder import Folder
from coppice.experiments.saved import rebuilt
from coppice.models import MODELS
from coppice.parts import cost, storage
from coppice.parts.blueprint import load_model, save_model
from coppice.parts.masks import Masks
from coppice.parts.packing import load_weights
from coppice.parts.selection import weakest
from coppice.parts.units import units

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "latency", lambda model, example, seconds=0.3: 1e-6 * model(example).numel())


class Own(nn.Module):
    """Of a class that the command does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(3, 20, batch_first=True)
        self.head = nn.Linear(20, 1)


def masked(model: nn.Module, sparsity: float) -> nn.Module:
    """Dead at random: a threshold would take all of the wider layer first."""
    masks = Masks.attach(model)
    scores = {name: torch.rand(mask.shape) for name, mask in masks.items()}
    masks.prune(weakest(scores, masks, sparsity))
    return model


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 50), nn.ReLU(), nn.Linear(50, 4))


def forecaster() -> tuple[nn.Module, dict[str, object]]:
    """An LSTM of a run, with what a run notes of it."""
    torch.manual_seed(0)
    table = {"name": "lstm", "hidden": 12}
    notes = {"network": table, "input": [14, 2], "outputs": 3, "task": "forecast"}
    return MODELS["lstm"](**table).build([14, 2], 3), notes  # type: ignore[arg-type]


def rows(shown: str) -> dict[str, list[str]]:
    """Cells of the printed tables by the name in the first."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in shown.splitlines() if line.strip()]
    return {line[0]: line[1:] for line in lines}


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def test_bytes_are_those_of_the_files(tmp_path: Path, capsys: Captured) -> None:
    model, file = masked(plain(), 0.9), tmp_path / "net.safetensors"
    save_model(model, file)
    assert main(["compact", str(file)]) == 0
    shown = rows(capsys.readouterr().out)
    parameters, alive, dense, zipped, packed, *times = shown["before"]
    assert number(parameters) == 30 * 50 + 50 + 50 * 4 + 4
    assert number(alive) == round(0.1 * 1700) + 54
    assert number(packed) == file.stat().st_size
    plan = storage.read(file)["plan"]
    storage.write(tmp_path / "dense", {"plan": plan, "weights": load_weights(file), "notes": {}})
    written = (tmp_path / "dense").read_bytes()
    assert abs(number(dense) - len(written)) <= 24  # an empty table more
    assert abs(number(zipped) - len(gzip.compress(written))) <= 24
    assert number(packed) < 0.4 * number(dense)
    assert [number(time) for time in times] == [4, 64 * 4]


def test_dead_units_of_a_forecaster_are_cut_out(tmp_path: Path, capsys: Captured) -> None:
    model, notes = forecaster()
    (population,) = units(model)
    Masks.attach(model).prune(population.synapses(model, torch.arange(12) < 5))
    save_model(model, tmp_path / "model.safetensors", **notes)
    assert main(["compact", str(tmp_path / "model.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "dead neurons removed: 5 of recurrent.l0" in out
    shown = rows(out)
    assert number(shown["after removal"][0]) < number(shown["before"][0])
    assert number(shown["after removal"][2]) < number(shown["before"][2])
    assert shown["recurrent.weight_hh_l0"][:2] == ["48 x 12", f"{1 - 7 * 7 / 144:.1%}"]
    # dense 48, CSR 48, removed 28 outputs; the same for 64
    assert [float(c.replace(",", "")) for c in shown["recurrent.weight_hh_l0"][2:]] == [
        48, 48, 28, 48 * 64, 48 * 64, 28 * 64
    ]  # fmt: skip
    small, _ = rebuilt(tmp_path / "model.compact.safetensors")
    x = torch.randn(5, 14, 2)
    torch.testing.assert_close(small.eval()(x), model.eval()(x), atol=1e-6, rtol=1e-5)
    Masks(small).check()


def test_it_says_where_each_pays_and_how_csr_was_timed(tmp_path: Path, capsys: Captured) -> None:
    save_model(masked(plain(), 0.1), tmp_path / "m.safetensors")
    assert main(["compact", str(tmp_path / "m.safetensors")]) == 0
    out = capsys.readouterr().out
    assert worth.WHERE_IT_PAYS in out
    assert worth.HOW_CSR_IS_TIMED in out
    assert "removed, 1" not in out  # no neuron died
    save_model(plain(), tmp_path / "dense.safetensors")
    assert main(["compact", str(tmp_path / "dense.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "no matrix has zeros" in out
    assert "no masks" in out
    assert "CSR, 1" not in out


def test_only_the_largest_matrices_are_timed(tmp_path: Path, capsys: Captured) -> None:
    model = nn.Sequential(*(nn.Linear(n, n + 1) for n in range(3, 14)))
    save_model(masked(model, 0.5), tmp_path / "m.safetensors")
    assert main(["compact", str(tmp_path / "m.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "and 3 smaller matrices" in out
    assert {"3.weight", "10.weight"} <= rows(out).keys()
    assert "2.weight" not in rows(out)


def test_a_model_of_the_users_own_class_is_weighed_but_not_cut(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "own.safetensors"
    save_model(masked(Own(), 0.9), file, by="hand")
    assert main(["compact", str(file)]) == 0
    out = capsys.readouterr().out
    dense, zipped, packed = map(number, rows(out)["bytes"])
    assert max(packed, zipped) < dense
    assert rows(out)["recurrent.weight_hh_l0"][0] == "80 x 20"
    assert "nothing removed, nothing written" in out
    assert "load_model(path, into=model)" in out
    assert list(tmp_path.iterdir()) == [file]
    assert main(["compact", str(file), "--out", str(tmp_path / "small.safetensors")]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert "does not say how to build its model" in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == [file]


def test_the_notes_travel_and_do_not_weigh(tmp_path: Path, capsys: Captured) -> None:
    seen = []
    for name, notes in (("a", {}), ("b", {"text": "words " * 1000})):
        file = tmp_path / f"{name}.safetensors"
        save_model(masked(plain(), 0.5), file, **notes)
        assert main(["compact", str(file)]) == 0
        seen.append(rows(capsys.readouterr().out)["before"])
        assert storage.read(tmp_path / f"{name}.compact.safetensors")["notes"] == notes
    assert seen[0] == seen[1]


def test_bad_files_and_folders_are_refused_in_one_line(tmp_path: Path, capsys: Captured) -> None:
    def refused(path: Path) -> str:
        assert main(["compact", str(path), "--out", str(tmp_path / "out.safetensors")]) == 2
        assert not (tmp_path / "out.safetensors").exists()
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        return shown.err

    file = tmp_path / "m.safetensors"
    save_model(masked(plain(), 0.9), file)
    whole = file.read_bytes()
    for place in (len(whole) - 1, len(whole) // 2, 200):
        (tmp_path / "bent").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert "damaged" in refused(tmp_path / "bent")
    (tmp_path / "cut").write_bytes(whole[:-5])
    assert "damaged" in refused(tmp_path / "cut")
    assert "there is no file" in refused(tmp_path / "absent")
    storage.write(tmp_path / "tree", [1, 2])
    assert "holds no model" in refused(tmp_path / "tree")
    assert "holds no run" in refused(tmp_path)
    study = Folder(tmp_path / "study")
    study.path.mkdir()
    study.record.write_text("{}")
    assert "left no model: a study leaves numbers only" in refused(tmp_path / "study")


# --- timing ---------------------------------------------------------------------------------------------------


def test_latencies_give_each_model_its_own_example_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, float]] = []

    def latency(model: str, example: torch.Tensor, seconds: float) -> float:
        seen.append((model, example.numel(), seconds))
        return float(len(seen))

    monkeypatch.setattr(cost, "latency", latency)
    models: list[nn.Module] = ["a", "b"]  # type: ignore[list-item]
    assert timing.latencies(models, [torch.ones(2), torch.ones(3)], 0.5) == [1, 2]
    assert seen == [("a", 2, 0.5), ("b", 3, 0.5)] * timing.ROUNDS
    seen.clear()
    timing.latencies(models, torch.ones(4))
    assert {(name, size) for name, size, _ in seen} == {("a", 4), ("b", 4)}


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (40, 70)])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_a_sparse_product_is_the_dense_one(shape: tuple[int, int], share: float) -> None:
    weight = torch.randn(shape) * (torch.rand(shape) < share)
    product, x = cost.SparseProduct(weight), torch.randn(shape[1], 5)
    torch.testing.assert_close(product(x), weight @ x)
    torch.testing.assert_close(product(x[:, 0]), weight @ x[:, 0])
    assert product.rows.values().numel() == weight.count_nonzero()
    assert product.rows.col_indices().dtype == torch.int32


def test_a_sparse_product_of_bfloat16_is_taken_in_float32() -> None:
    weight = torch.randn(4, 3).bfloat16()
    torch.testing.assert_close(cost.SparseProduct(weight)(torch.eye(3)), weight.float())


def test_what_was_compacted_loads_without_the_command(tmp_path: Path) -> None:
    model = masked(plain(), 0.9)
    save_model(model, tmp_path / "m.safetensors")
    assert main(["compact", str(tmp_path / "m.safetensors"), "--out", str(tmp_path / "s.safetensors")]) == 0
    small, x = load_model(tmp_path / "s.safetensors"), torch.randn(3, 30)
    torch.testing.assert_close(small(x), model(x))
    assert Masks(small).alive <= Masks(model).alive

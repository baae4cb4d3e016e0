"""A training that is killed goes on to the same bits; a state that is not the model's is refused.

The file is its own worker: the test starts it, lets it go step by step, and kills it at chosen moments.
"""

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from coppice import prune_synapses

STEPS = 20
CASES = {
    "magnitude": {},
    "taylor": {"score": "taylor", "schedule": "rising_cubic", "end": 1.0},
    "activity": {"score": "activity", "preset": "vos2025"},
    "regrowth": {"regrow": 0.3, "newborn": 0.2, "every": 2},
    "neurons": {"unit": "neuron"},
}


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.dropout, self.head = (
            nn.LSTM(3, 8, batch_first=True),
            nn.Dropout(0.2),
            nn.Linear(8, 2),
        )

    def forward(self, x):
        return self.head(self.dropout(self.cells(x)[0][:, -1]))


def begin(case, seed):
    torch.manual_seed(seed)
    model = Forecaster()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    options = {"final_sparsity": 0.5, "every": 1, "quiet": True, **CASES[case]}
    return model, optimizer, prune_synapses(model, optimizer, steps=STEPS, **options)


def train(case, path, pause=lambda moment: None):
    """A user's loop with a checkpoint after every step: written beside, then moved, so it is whole or not there."""
    model, optimizer, pruning = begin(case, seed=1 if path.exists() else 0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.5)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "pruning": pruning}
    if path.exists():
        stored = torch.load(path)
        for name, part in parts.items():
            part.load_state_dict(stored[name])
        torch.set_rng_state(stored["random"])
    for step in range(pruning.step, STEPS):
        x = torch.randn(8, 5, 3)
        for half in x.split(4):  # accumulated
            nn.functional.mse_loss(model(half), half[:, 0, :2]).backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        pause(f"{case} {step + 1} done")
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "random": torch.get_rng_state()}, beside := path.with_suffix(".part"))
        pause(f"{case} {step + 1} written")
        os.replace(beside, path)
    return torch.load(path)


def run_until(folder, moment):
    """Let the worker go on and kill it at this moment; to its end where there is none."""
    worker = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    moments = []
    try:
        for line in worker.stdout:
            moments.append(line.strip())
            if moments[-1] == moment:
                break
            worker.stdin.write("on\n")
            worker.stdin.flush()
    finally:
        if moment is not None:
            worker.send_signal(signal.SIGKILL)
        worker.stdin.close()
        worker.stdout.close()
        code = worker.wait()
    assert code == (0 if moment is None else -signal.SIGKILL)
    return moments


def differences(one, two, where=""):
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, two) else [where]
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        return [found for key in one for found in differences(one[key], two[key], f"{where}/{key}")]
    return [] if one == two else [where]


@pytest.mark.slow  # five processes that each import torch
def test_killed_again_and_again_it_ends_at_the_same_bits(tmp_path):
    first = run_until(tmp_path, "magnitude 1 written")  # before anything was ever stored
    assert first == ["magnitude 1 done", "magnitude 1 written"]
    second = run_until(tmp_path, "taylor 9 done")  # on the ramp, a step that is lost
    assert second[0] == "magnitude 1 done"
    third = run_until(tmp_path, "regrowth 8 written")  # at an event, the checkpoint half there
    assert third[0] == "taylor 9 done"
    fourth = run_until(tmp_path, "neurons 12 done")
    assert fourth[0] == "regrowth 8 done"
    fifth = run_until(tmp_path, None)
    assert fifth[0] == "neurons 12 done"
    assert fifth[-1] == f"neurons {STEPS} written"
    (tmp_path / "whole").mkdir()
    for case in CASES:
        whole = train(case, tmp_path / "whole" / f"{case}.pt")
        assert differences(whole, torch.load(tmp_path / f"{case}.pt")) == []
        dead = sum(int((~value).sum()) for key, value in whole["model"].items() if key.endswith("_alive"))
        assert dead > 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [1, 6, 15, 19])
def test_stored_at_any_moment_it_goes_on_to_the_same_bits(step, case, tmp_path):
    class Killed(Exception):
        pass

    def pause(moment):
        if moment == f"{case} {step + 1} done":
            raise Killed

    whole = train(case, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train(case, tmp_path / "killed.pt", pause)
    assert torch.load(tmp_path / "killed.pt")["pruning"]["step"] == step
    assert differences(whole, train(case, tmp_path / "killed.pt")) == []


@pytest.fixture
def stored(tmp_path):
    return train("regrowth", tmp_path / "stored.pt")


def test_a_checkpoint_without_masks_is_refused(stored):
    model, _, pruning = begin("regrowth", seed=1)
    bare = {key: value for key, value in stored["model"].items() if not key.endswith("_alive")}
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(bare)
    model.load_state_dict(bare, strict=False)
    with pytest.raises(ValueError, match=r"masks are not those of the stored state.*_alive entries"):
        pruning.load_state_dict(stored["pruning"])


def test_one_flipped_synapse_is_refused(stored):
    model, _, pruning = begin("regrowth", seed=1)
    stored["model"]["head.weight_alive"][0, 0] ^= True
    model.load_state_dict(stored["model"])
    with pytest.raises(ValueError, match="masks are not those of the stored state"):
        pruning.load_state_dict(stored["pruning"])


def test_the_state_of_another_case_is_refused(stored):
    _, _, pruning = begin("taylor", seed=1)
    with pytest.raises(ValueError, match=r"was stored with end = 0\.75, but this pruning has 1\.0"):
        pruning.load_state_dict(stored["pruning"])


def broken(state):
    """What damage, and the state that has it."""
    for path in [(key,) for key in state] + [("body", key) for key in state["body"]]:
        damaged = copy.deepcopy(state)
        inner = damaged
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        yield f"without {'/'.join(path)}", damaged
    for value in (-1, float(STEPS), "seven", None, 3.5):
        yield f"step {value}", {**state, "step": value}
    for key in ("settings", "events", "body"):
        yield f"{key} None", {**state, key: None}
    short = copy.deepcopy(state)
    short["body"]["died"]["head.weight"] = short["body"]["died"]["head.weight"][:1]
    yield "died of another shape", short
    foreign = copy.deepcopy(state)
    foreign["body"]["died"]["tail.weight"] = foreign["body"]["died"]["head.weight"]
    yield "died of another model", foreign


def test_damaged_states_are_refused_and_change_nothing(stored):
    model, _, pruning = begin("regrowth", seed=1)
    model.load_state_dict(stored["model"])
    untouched = copy.deepcopy(pruning.state_dict())
    taken = []
    for damage, state in broken(stored["pruning"]):
        try:
            pruning.load_state_dict(state)
        except ValueError:
            assert differences(untouched, pruning.state_dict()) == [], damage
        except Exception as error:
            taken.append(f"{damage}: {type(error).__name__}")
        else:
            taken.append(damage)
            pruning.load_state_dict(untouched)
    assert taken == []
    pruning.load_state_dict(stored["pruning"])
    assert pruning.step == STEPS


if __name__ == "__main__":

    def wait(moment: str) -> None:
        print(moment, flush=True)
        sys.stdin.readline()

    torch.set_num_threads(1)
    for name in CASES:
        train(name, Path(sys.argv[1]) / f"{name}.pt", wait)

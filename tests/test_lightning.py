"""The Lightning callback in real Trainers, of both names that Lightning goes by."""

import math
import warnings
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from coppice.parts.masks import Masks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Lightning's own imports
    pl = pytest.importorskip("lightning.pytorch")
    from coppice.integrations.lightning import SynapticPruningCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
    pytest.mark.filterwarnings("ignore:You defined a .validation_step. but have no"),
    pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path.*ModelCheckpoint"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
]

X = torch.randn(48, 5, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum((1, 2))[:, None].tanh()


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def library(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(request.param)


def module(base=None, seed=0, optimizers=1):
    class Forecaster((base or pl).LightningModule):
        def __init__(self):
            super().__init__()
            self.cells, self.head = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 1)
            self.automatic_optimization = optimizers == 1

        def forward(self, x):
            return self.head(self.cells(x)[0][:, -1])

        def training_step(self, batch, _):
            loss = nn.functional.mse_loss(self(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch, _):
            self.log("val_loss", nn.functional.mse_loss(self(batch[0]), batch[1]))

        predict_step = test_step = validation_step

        def configure_optimizers(self):
            made = [
                torch.optim.AdamW(part.parameters(), lr=0.01)
                for part in ([self], [self.cells, self.head])[optimizers - 1]
            ]
            if optimizers == 1:
                return made, [torch.optim.lr_scheduler.StepLR(made[0], 2, 0.5)]
            return made

    torch.manual_seed(seed)
    return Forecaster()


def trainer(folder, *callbacks, base=None, **options):
    """Eight epochs of six batches, as quiet as can be."""
    return (base or pl).Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 8,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": any(hasattr(each, "monitor") for each in callbacks),
            "default_root_dir": folder,
            **options,
        },
        callbacks=list(callbacks),
    )


def pruner(**options):
    return SynapticPruningCallback(**{"final_sparsity": 0.8, "every": 1, "quiet": True, **options})


def loader(size=8):
    return DataLoader(TensorDataset(X, Y), batch_size=size)


def same(one, two):
    one, two = one.state_dict(), two.state_dict()
    assert one.keys() == two.keys()
    return all(torch.equal(one[key], two[key]) for key in one)


def test_one_line_prunes_to_the_target(library, tmp_path, capfd):
    callback = SynapticPruningCallback(final_sparsity=0.9, every=1)
    fitted = trainer(tmp_path, callback, base=library)
    fitted.fit(model := module(library), loader())
    size = 8 * 4 * (3 + 8) + 8
    assert Masks(model).size == size
    assert size - Masks(model).alive == round(0.9 * size)
    Masks(model).check()
    assert callback.pruning.done
    assert (callback.pruning.step, callback.pruning.steps) == (48, 48)
    assert float(fitted.callback_metrics["sparsity"]) == pytest.approx(0.9, abs=1 / size)
    assert capfd.readouterr().err.count("synaptic pruning: 360 of") == 1


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"accumulate_grad_batches": 4}, 16),  # six batches: one step of four, one of two
        ({"max_steps": 13}, 13),
        ({"max_epochs": -1, "max_steps": 7}, 7),
        ({"limit_train_batches": 2, "max_epochs": 3}, 6),
        ({"accumulate_grad_batches": 3, "max_steps": 5}, 5),
    ],
)
def test_the_trainer_says_how_many_steps_there_will_be(options, steps, tmp_path):
    callback = pruner()
    fitted = trainer(tmp_path, callback, **options)
    fitted.fit(module(), loader())
    assert (callback.pruning.steps, callback.pruning.step, fitted.global_step) == (steps, steps, steps)
    assert callback.pruning.done


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield X[0], Y[0]


def test_steps_that_nobody_knows_are_refused(tmp_path):
    endless = DataLoader(Endless(), batch_size=4)
    with pytest.raises(ValueError, match=r"plans inf optimizer steps, with max_epochs=-1.*max_steps="):
        trainer(tmp_path, pruner(), max_epochs=-1).fit(module(), loader())
    with pytest.raises(ValueError, match=r"plans -1 optimizer steps.*SynapticPruningCallback\(steps="):
        trainer(tmp_path, pruner()).fit(module(), endless)
    callback = pruner(steps=9)
    trainer(tmp_path, callback, max_epochs=1, limit_train_batches=9).fit(module(), endless)
    assert callback.pruning.done


def test_several_optimizers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"2 optimizers.*prune_synapses\(part"):
        trainer(tmp_path, pruner()).fit(module(optimizers=2), loader())


def test_sharded_strategies_are_refused(tmp_path, monkeypatch):
    strategy = pl.strategies.SingleDeviceStrategy
    monkeypatch.setattr(strategy, "restore_checkpoint_after_setup", True)  # as FSDP and DeepSpeed have it
    with pytest.raises(ValueError, match="SingleDeviceStrategy shards the parameters"):
        trainer(tmp_path, pruner()).fit(module(), loader())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"final_sparsity": 1.0}, "final_sparsity is 1.0"),
        ({"preset": "best"}, "no preset 'best'.*vos2025"),
        ({"start": 0.9, "end": 0.5}, "start = 0.9 to end = 0.5"),
    ],
)
def test_bad_values_are_refused_at_once(options, words):
    with pytest.raises(ValueError, match=words):
        pruner(**options)


@pytest.mark.parametrize("score", ["magnitude", "activity", "taylor"])
@pytest.mark.parametrize("epoch", [0, 3, 7])
def test_a_resumed_fit_ends_at_the_same_bits(epoch, score, tmp_path):
    every = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole = pruner(score=score)
    trainer(tmp_path, whole, every).fit(model := module(), loader())

    again, fresh = pruner(score=score), module(seed=1)
    path = tmp_path / f"epoch={epoch}.ckpt"
    then = torch.load(path)["state_dict"]
    zeros = int((~then["cells.weight_hh_l0_alive"]).sum())
    assert zeros or epoch == 0
    seen = []

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            seen.append(all(torch.equal(value, then[key]) for key, value in pl_module.state_dict().items()))

    trainer(tmp_path, again, Look()).fit(fresh, loader(), ckpt_path=path)
    assert seen[:1] == [True] * (epoch < 7)  # it began with exactly the stored weights and zeros
    assert same(model, fresh)
    assert again.pruning.events == whole.pruning.events
    assert (again.pruning.step, again.pruning.done) == (48, True)


def test_the_resumed_fit_would_differ_without_the_callback(tmp_path):
    # The fault itself: were the masks not brought back, the twin above could not end at the same bits.
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer(tmp_path, pruner(), keep).fit(module(), loader())
    fresh = module()
    stored = torch.load(tmp_path / "epoch=7.ckpt")["state_dict"]
    fresh.load_state_dict(stored, strict=False)
    trainer(tmp_path).fit(fresh, loader())
    assert (fresh.cells.weight_hh_l0[~stored["cells.weight_hh_l0_alive"]] != 0).all()


def test_interrupted_training_leaves_the_optimizer_free_and_resumes(tmp_path):
    class Trip(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 5 and batch_idx == 3:
                raise RuntimeError("tripped")

    last = pl.callbacks.ModelCheckpoint(tmp_path, "last", save_top_k=1)
    trainer(tmp_path, pruner()).fit(whole := module(), loader())
    callback = pruner()
    broken = trainer(tmp_path, callback, Trip(), last)
    with pytest.raises(RuntimeError, match="tripped"):
        broken.fit(module(), loader())
    callback.settings.attach(
        callback.pruning.model, callback.pruning.optimizer, 10
    ).remove()  # nothing guards it
    trainer(tmp_path, callback).fit(
        fresh := module(), loader(), ckpt_path=tmp_path / "last.ckpt"
    )  # the same callback
    assert same(whole, fresh)


def test_a_checkpoint_without_masks_is_refused(tmp_path):
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "dense", save_top_k=1)
    trainer(tmp_path, keep, max_epochs=1).fit(module(), loader())
    with pytest.raises(ValueError, match=r"dense\.ckpt was written without SynapticPruningCallback"):
        trainer(tmp_path, pruner()).fit(module(), loader(), ckpt_path=tmp_path / "dense.ckpt")


def test_a_checkpoint_that_lost_its_masks_is_refused(tmp_path):
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer(tmp_path, pruner(), keep).fit(module(), loader())
    stored = torch.load(tmp_path / "epoch=5.ckpt")
    stored["state_dict"] = {k: v for k, v in stored["state_dict"].items() if not k.endswith("_alive")}
    torch.save(stored, path := tmp_path / "lost.ckpt")
    with pytest.raises(ValueError, match="masks are not those of the stored state"):
        trainer(tmp_path, pruner()).fit(module(), loader(), ckpt_path=path)


def test_other_settings_and_other_lengths_are_refused(tmp_path):
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer(tmp_path, pruner(), keep).fit(module(), loader())
    path = tmp_path / "epoch=3.ckpt"
    with pytest.raises(ValueError, match=r"final_sparsity = 0\.8, but this pruning has 0\.5"):
        trainer(tmp_path, pruner(final_sparsity=0.5)).fit(module(), loader(), ckpt_path=path)
    with pytest.raises(ValueError, match="steps = 48, but this pruning has 60"):
        trainer(tmp_path, pruner(), max_epochs=10).fit(module(), loader(), ckpt_path=path)


def test_the_best_checkpoint_is_a_fully_pruned_one(tmp_path):
    plain = pl.callbacks.ModelCheckpoint(tmp_path, "plain", monitor="val_loss")
    aware = pl.callbacks.ModelCheckpoint(tmp_path, "aware", monitor="val_loss_pruned")
    by_training = pl.callbacks.ModelCheckpoint(tmp_path, "training", monitor="train_loss_pruned", mode="max")
    callback = pruner(
        final_sparsity=0.97, score="random", end=0.8
    )  # so hard that the best epoch is an early one
    trainer(tmp_path, callback, plain, aware, by_training).fit(model := module(), loader(), loader(48))

    def dead(path: Path) -> float:
        return Masks(loaded(module(), path)).sparsity

    full = round(0.97 * Masks(model).size) / Masks(model).size
    assert dead(tmp_path / "plain.ckpt") < 0.9
    assert dead(tmp_path / "aware.ckpt") == pytest.approx(full)
    assert dead(tmp_path / "training.ckpt") == pytest.approx(full)
    assert math.isfinite(aware.best_model_score)
    assert aware.best_model_score > plain.best_model_score


def loaded(model, path):
    stored = torch.load(path)["state_dict"]
    Masks.attach(model, where=lambda name, _: f"{name}_alive" in stored)
    model.load_state_dict(stored)
    return model


def test_a_pruned_checkpoint_is_tested_and_loaded(tmp_path):
    keep = pl.callbacks.ModelCheckpoint(tmp_path, "pruned")
    trainer(tmp_path, pruner(), keep).fit(model := module(), loader())
    tester = trainer(tmp_path, pruner())
    tester.test(fresh := module(seed=1), loader(), ckpt_path=tmp_path / "pruned.ckpt", verbose=False)
    assert same(model, fresh)
    with pytest.warns(UserWarning, match="Found keys that are not in the model"):
        plain = type(model).load_from_checkpoint(tmp_path / "pruned.ckpt", strict=False)
    assert torch.equal(plain(X), model(X))
    tester.test(dense := module(), loader(), verbose=False)  # nothing to bring back, nothing attached
    assert not Masks(dense)


def test_an_early_end_is_said(tmp_path):
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 2

    with pytest.warns(
        UserWarning, match=r"ended at optimizer step 18, but the ramp goes to step 36: .* not 80\.0%"
    ):
        trainer(tmp_path, pruner(), Stop()).fit(module(), loader())


def test_a_second_fit_keeps_the_zeros(tmp_path):
    trainer(tmp_path, callback := pruner()).fit(model := module(), loader())
    alive = Masks(model).alive
    trainer(tmp_path, callback).fit(model, loader())
    assert Masks(model).alive == alive
    Masks(model).check()


def test_layers_that_setup_builds_are_found_on_resume(tmp_path):
    class Late(type(module())):
        def setup(self, stage):
            self.head = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))

    def late(seed):
        torch.manual_seed(seed)
        return Late()

    keep = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer(tmp_path, pruner(), keep).fit(model := late(0), loader())
    trainer(tmp_path, pruner()).fit(fresh := late(1), loader(), ckpt_path=tmp_path / "epoch=4.ckpt")
    assert "head.2.weight_alive" in fresh.state_dict()
    assert same(model, fresh)


def test_the_dead_are_muted_before_lightning_clips(tmp_path):
    class Watch(pl.Callback):
        calls = 0

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # gradients whole, not yet clipped
            for name, alive in Masks(pl_module).items():
                assert not pl_module.get_parameter(name).grad[~alive].any()
                self.calls += bool((~alive).any())

    watch = Watch()
    trainer(tmp_path, pruner(), watch, gradient_clip_val=0.01).fit(module(), loader())
    assert watch.calls > 50

"""Synaptic pruning in Lightning: one line, and the checkpoint that is kept is a fully pruned one.

python examples/lightning_callback.py
"""

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from coppice.integrations.lightning import SynapticPruningCallback


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return nn.functional.mse_loss(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.layers(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main() -> None:
    pl.seed_everything(0)
    x, y = (torch.tensor(each, dtype=torch.float32) for each in load_diabetes(return_X_y=True))
    train, valid = random_split(TensorDataset(x * 20, (y[:, None] - 150) / 80), [0.8, 0.2])

    pruner = SynapticPruningCallback(final_sparsity=0.9)
    best = ModelCheckpoint(monitor="val_loss_pruned")  # val_loss, once all that is to die is dead
    trainer = pl.Trainer(
        max_epochs=40,
        callbacks=[pruner, best],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        log_every_n_steps=5,
    )
    trainer.fit(Net(), DataLoader(train, 32, shuffle=True), DataLoader(valid, 128))
    print(f"{pruner.pruning.masks}; best pruned validation loss {best.best_model_score:.3f}")


if __name__ == "__main__":
    main()

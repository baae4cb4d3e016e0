"""Small problems for a search: data, and how a user would learn them."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from coppice.methods.bdnn_sp import Search, configured

QUICK = {"pretrain_epochs": 2, "plateau": 0, "retrain_epochs": 1, "retrain_steps": 0, "tune_epochs": 2}


class Problem(NamedTuple):
    """Data and how to learn it: what a user brings."""

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor

    def train(self, model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
        model.train()
        for _ in range(epochs):
            for part in torch.randperm(len(self.y)).split(32):
                optimizer.zero_grad()
                F.cross_entropy(model(self.x[part]), self.y[part]).backward()
                optimizer.step()

    @torch.no_grad()
    def score(self, model: nn.Module) -> Tensor:
        model.eval()
        return (model(self.x_val).argmax(1) == self.y_val).float()

    @torch.no_grad()
    def test(self, model: nn.Module) -> float:
        model.eval()
        return (model(self.x_test).argmax(1) == self.y_test).float().mean().item()

    def batches(self, epoch: int) -> list[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.y), generator=torch.Generator().manual_seed(epoch))
        return [(self.x[part], self.y[part]) for part in order.split(32)]

    def search(self, model: nn.Module, **options) -> Search:
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        return configured(None, QUICK | options).start(model, self.train, self.score, optimizer)


def digits(train: int, validation: int = 300, images: bool = False) -> Problem:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = torch.tensor(x[order] / 16, dtype=torch.float32), torch.tensor(y[order])
    x = x.reshape(-1, 1, 8, 8) if images else x
    end = train + validation
    return Problem(x[:train], y[:train], x[train:end], y[train:end], x[end:], y[end:])

"""Synaptic pruning in a plain training loop: two lines, and nothing else changes.

python examples/own_loop.py
"""

import torch
from torch import Tensor, nn

from coppice import prune_synapses  # line 1

STEPS = 400


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


def windows(series: Tensor) -> tuple[Tensor, Tensor]:
    """Twenty values in, the next one out."""
    cut = series.unfold(0, 21, 1)
    return cut[:, :20, None], cut[:, 20:]


def main() -> None:
    torch.set_num_threads(1)  # networks this small only wait for each other on several
    torch.manual_seed(0)
    time = torch.arange(900.0)
    series = (time / 9).sin() + 0.5 * (time / 23).cos() + 0.1 * torch.randn(900)
    (x, y), (test_x, test_y) = windows(series[:700]), windows(series[700:])

    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    pruning = prune_synapses(model, optimizer, steps=STEPS, final_sparsity=0.9)  # line 2
    for _ in range(STEPS):
        batch = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[batch]), y[batch]).backward()
        optimizer.step()

    with torch.no_grad():
        error = (model(test_x) - test_y).abs().mean()
        naive = (test_x[:, -1] - test_y).abs().mean()
    print(pruning.masks)
    print(f"error {error:.3f}; of repeating the last value {naive:.3f}")
    torch.save(  # all that is needed to go on, to the same bits
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "pruning": pruning.state_dict()},
        "pruned.pt",
    )


if __name__ == "__main__":
    main()

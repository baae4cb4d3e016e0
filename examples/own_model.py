"""Your own model, your own loop, your own score: the smallest network that is as good.

python examples/own_model.py
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from coppice import find_size, save_model


class Net(nn.Module):
    """Anything torch.fx can trace will do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 64, 3, padding=1)
        self.norm = nn.BatchNorm2d(64)
        self.hidden = nn.Linear(64 * 4 * 4, 128)
        self.out = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.out(F.relu(self.hidden(x.flatten(1))))


def main() -> None:
    torch.set_num_threads(1)  # networks this small only wait for each other on several
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels)
    rest, test = train_test_split(range(len(y)), test_size=0.25, random_state=0, stratify=y)
    train, valid = train_test_split(rest, test_size=0.25, random_state=0, stratify=y[rest])

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)

    def train_more(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
        model.train()
        for _ in range(epochs):
            for batch in torch.tensor(train)[torch.randperm(len(train))].split(32):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()

    def right(model: nn.Module, rows: list[int]) -> Tensor:
        """1 for each right answer, 0 for each wrong one: coppice takes the mean and its standard error from it."""
        model.eval()
        with torch.no_grad():
            return (model(x[rows]).argmax(1) == y[rows]).float()

    found = find_size(
        model,
        train_more,
        score=lambda model: right(model, valid),
        test=lambda model: right(model, test),
        optimizer=optimizer,
        example=x[:1],
        on_unit=lambda search: print(search.progress()),
    )

    first = found.path[0]
    print(
        f"{first.widths} neurons, {first.parameters} parameters -> {found.chosen.widths}, {found.chosen.parameters}"
    )
    print(f"chosen: {found.reason}")
    print(f"validation {found.score:.3f}, test {found.test:.3f}, {found.cost['seconds']:.1f} s in all")
    save_model(found.model, "digits.safetensors", note="found by coppice")
    smaller = found.at(parameters=2000)  # another size from the same path, by budget
    print(f"within 2,000 parameters: {sum(p.numel() for p in smaller.parameters())}")


if __name__ == "__main__":
    main()

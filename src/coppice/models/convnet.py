"""A plain convolutional chain: convolution, norm, activation, pooling; then dense layers."""

from collections.abc import Sequence

from torch import nn

from coppice.models.mlp import ACTIVATIONS, dense_layers


def convnet(
    shape: Sequence[int],
    channels: Sequence[int],
    hidden: Sequence[int],
    outputs: int,
    activation: str = "relu",
    norm: str = "none",
    output: str = "linear",
) -> nn.Sequential:
    """Images [batch, channel, height, width] -> [batch, outputs]; each stage halves height and width.

    Raises ValueError when the image is too small for so many stages.
    """
    if len(shape) != 3:
        raise ValueError(
            f"a convnet needs images [channel, height, width], but each sample has shape {list(shape)}."
        )
    planes, height, width = shape
    if min(height, width) < 2 ** len(channels):
        raise ValueError(
            f"an image of {height} x {width} can be halved only {min(height, width).bit_length() - 1} times, "
            f"but channels lists {len(channels)} stages."
        )
    layers: list[nn.Module] = []
    for count in channels:
        layers.append(nn.Conv2d(planes, count, 3, padding=1))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(count))
        layers += [ACTIVATIONS[activation](), nn.MaxPool2d(2)]
        planes, height, width = count, height // 2, width // 2
    layers.append(nn.Flatten())
    layers += dense_layers(planes * height * width, hidden, outputs, activation, norm, output)
    return nn.Sequential(*layers)

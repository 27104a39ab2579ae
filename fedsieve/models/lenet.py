"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998)."""

import torch
from torch import Tensor, nn

from fedsieve.models.layered import Layered

UNPADDED_FROM = 32
"""Sides from this on go through the first convolution without padding, as in the paper; smaller ones get 2 pixels."""
LEAST_SIDE = 12
"""The smallest padded side of which the layers leave a pixel: ((12 / 2) - 4) / 2 = 1."""


class Pool(nn.MaxPool2d):
    """Max pooling of 2 x 2 pixels with the channels laid out last and back: the same bits, sooner on a CPU."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the maxima, N x C x H/2 x W/2."""
        pooled: Tensor = super().forward(images.contiguous(memory_format=torch.channels_last))
        return pooled.contiguous()


class LeNet(Layered):
    """Two 5 x 5 convolutions (6 and 16 channels), each max-pooled, and linear layers of 120, 84 and C units.

    As usual today each map of the second convolution reads all six of the first, pooling takes maxima and the last
    layer is linear. Activations are ELU (Clevert et al., ICLR 2016) instead of the paper's tanh: sign masks trained
    best with it. As ELU is monotone it commutes with taking maxima, and after them has a quarter to do.

    Args:
        input_shape: (channels, height, width); 3 x 32 x 32 with 10 classes gives 61,770 weights and 236 biases.
        num_classes: C.

    Raises:
        ValueError: for images with a side below `LEAST_SIDE`.
    """

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        if min(height, width) < LEAST_SIDE:
            raise ValueError(f"its images need sides of {LEAST_SIDE} pixels or more, got {height} x {width}")
        padding = [0 if side >= UNPADDED_FROM else 2 for side in (height, width)]
        pooled = [((side + 2 * pad - 4) // 2 - 4) // 2 for side, pad in zip((height, width), padding, strict=True)]
        self.hidden = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=(padding[0], padding[1])), Pool(), nn.ELU(),
            nn.Conv2d(6, 16, 5), Pool(), nn.ELU(),
            nn.Flatten(),
            nn.Linear(16 * pooled[0] * pooled[1], 120), nn.ELU(),
            nn.Linear(120, 84),
        )  # fmt: skip
        self.classifier = nn.Linear(84, num_classes)

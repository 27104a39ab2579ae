"""Conv-2 and Conv-4 (Frankle and Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, figure 2)."""

from itertools import pairwise

from torch import nn

from fedsieve.models.layered import Layered


class Conv(Layered):
    """Pairs of 3 x 3 convolutions, each pair max-pooled, and linear layers of 256, 256 and C units.

    A scaled-down VGG, with ELU (Clevert et al., ICLR 2016) where the paper has ReLU: sign masks trained best with it.

    Args:
        widths: the channels of each pair; (64,) is Conv-2 and (64, 128) Conv-4.
        input_shape: (channels, height, width).
        num_classes: C.

    Raises:
        ValueError: for images with a side below 2 to the number of pairs.
    """

    def __init__(self, widths: tuple[int, ...], input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        shrink = 2 ** len(widths)
        if min(height, width) < shrink:
            raise ValueError(f"its images need sides of {shrink} pixels or more, got {height} x {width}")
        layers: list[nn.Module] = []
        for incoming, outgoing in pairwise((channels, *widths)):
            layers += [nn.Conv2d(incoming, outgoing, 3, padding=1), nn.ELU()]
            layers += [nn.Conv2d(outgoing, outgoing, 3, padding=1), nn.ELU(), nn.MaxPool2d(2)]
        features = widths[-1] * (height // shrink) * (width // shrink)
        layers += [nn.Flatten(), nn.Linear(features, 256), nn.ELU(), nn.Linear(256, 256)]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(256, num_classes)


def conv2(input_shape: tuple[int, int, int], num_classes: int) -> Conv:
    """Return Conv-2: one pair, of 64 channels."""
    return Conv((64,), input_shape, num_classes)


def conv4(input_shape: tuple[int, int, int], num_classes: int) -> Conv:
    """Return Conv-4: a pair of 64 channels and one of 128."""
    return Conv((64, 128), input_shape, num_classes)

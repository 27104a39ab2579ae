"""ResNet-18 for small images (He, Zhang, Ren and Sun, "Deep Residual Learning", CVPR 2016), with group norm."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

GROUPS = 32
"""The default of Wu and He ("Group Normalization", ECCV 2018); it divides every width of the network."""
WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """A residual block (He et al. 2016, eq. 1 and 2): relu(x) is its input, the sum before its own ReLU its output.

    Where the width changes, the shortcut is a 1 x 1 convolution with the block's stride (option B of section 4.1).
    """

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(incoming, outgoing, 3, stride, padding=1, bias=False), nn.GroupNorm(GROUPS, outgoing), nn.ReLU(),
            nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, outgoing),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if incoming != outgoing:
            self.shortcut = nn.Sequential(
                nn.Conv2d(incoming, outgoing, 1, stride, bias=False), nn.GroupNorm(GROUPS, outgoing)
            )

    def forward(self, before: Tensor) -> Tensor:
        """Return shortcut(relu(x)) + residual(relu(x)), N x C' x H' x W'."""
        x = relu(before)
        out: Tensor = self.shortcut(x) + self.residual(x)
        return out


class ResNet18(nn.Module):
    """A 3 x 3 stem without max pooling, as in the paper's networks for CIFAR-10, and four stages of two blocks.

    Group norm stands for the paper's batch norm: batch statistics fail on clients whose labels differ (Hsieh et al.,
    "The Non-IID Data Quagmire of Decentralized Machine Learning", ICML 2020, section 5) and tell of a client's data.

    Args:
        input_shape: (channels, height, width), of any size.
        num_classes: C.
    """

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(input_shape[0], WIDTHS[0], 3, padding=1, bias=False), nn.GroupNorm(GROUPS, WIDTHS[0])]
        for incoming, outgoing in pairwise((WIDTHS[0], *WIDTHS)):
            stride = 1 if incoming == outgoing else 2
            layers += [Block(incoming, outgoing, stride), Block(outgoing, outgoing, 1)]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, N x C."""
        logits: Tensor = self.classifier(relu(self.hidden(images)).mean((2, 3)))
        return logits

    def embed(self, images: Tensor) -> Tensor:
        """Return the mean over images and pixels of the last block's sum before its ReLU, 512: FED-PUB's embedding."""
        hidden: Tensor = self.hidden(images)
        return hidden.mean((0, 2, 3))

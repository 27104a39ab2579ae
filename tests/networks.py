"""Networks as users write them, with buffers that training changes."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class BasicBlock(nn.Module):
    """torchvision's, with batch norm."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outgoing)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or incoming != outgoing:
            shortcut = nn.Conv2d(incoming, outgoing, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outgoing))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    """torchvision's, with fewer channels."""

    def __init__(self, channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages, incoming = [], width
        for stage in range(4):
            outgoing = width * 2**stage
            first = BasicBlock(incoming, outgoing, 1 if stage == 0 else 2)
            stages.append(nn.Sequential(first, BasicBlock(outgoing, outgoing, 1)))
            incoming = outgoing
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(incoming, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return ResNet18(shape[0], num_classes, width=2)


def batch_norm(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, num_classes))


class Counting(nn.Module):
    """Counts its calls, those of evaluation too, in a buffer that no file of torch's would hold."""

    calls: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_classes)
        self.register_buffer("calls", torch.tensor(0), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(images.flatten(1))


def counting(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return Counting(shape[0] * shape[1] * shape[2], num_classes)


def normalised(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    last = spectral_norm(nn.Linear(6, num_classes))
    return nn.Sequential(nn.Flatten(), spectral_norm(nn.Linear(64, 6)), nn.ReLU(), last)

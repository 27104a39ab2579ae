"""The network, the data and the training loop: plain PyTorch."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

INPUT_SHAPE = (1, 8, 8)


class Net(nn.Module):
    """Two convolutions and two linear layers, with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
        )  # fmt: skip
        self.hidden = nn.Linear(32 * 2 * 2, 64)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, N x 10."""
        return self.classifier(torch.relu(self.hidden(self.features(x))))


def load_data(partition_id: int, num_partitions: int, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Return a node's training and test data: each node's share holds more of some classes than of others."""
    digits = load_digits()
    order = np.argsort(digits.target * 7 % 10, kind="stable")
    shares = np.array_split(order, 2 * num_partitions)
    mine = np.concatenate([shares[partition_id], shares[-1 - partition_id]])
    images = torch.tensor(digits.images[mine], dtype=torch.float32).unsqueeze(1) / 8 - 1
    data = TensorDataset(images, torch.tensor(digits.target[mine]))
    train, test = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(42))
    return DataLoader(train, batch_size=batch_size, shuffle=True, drop_last=True), DataLoader(test, batch_size=64)


def train(net: nn.Module, loader: DataLoader, epochs: int, lr: float, device: torch.device) -> float:
    """Train the network in place and return the mean loss."""
    net.to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def test(net: nn.Module, loader: DataLoader, device: torch.device) -> tuple[float, float]:
    """Return the mean loss and the accuracy."""
    net.to(device).eval()
    loss, hits, count = 0.0, 0, 0
    for images, labels in loader:
        logits = net(images.to(device))
        loss += nn.functional.cross_entropy(logits, labels.to(device), reduction="sum").item()
        hits += int((logits.argmax(1) == labels.to(device)).sum())
        count += len(labels)
    return loss / count, hits / count

"""The network of the benchmarks' references, on PyG's own layers."""

import torch
from torch import nn
from torch.nn.functional import dropout, relu
from torch_geometric.nn import GCNConv


class PlainNet(nn.Module):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = GCNConv(features, 128), GCNConv(128, 128)
        self.classifier = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        return self.classifier(dropout(relu(self.embed(x, edges)), training=self.training))

    def embed(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Return the second convolution's output, before its ReLU."""
        return self.conv2(dropout(relu(self.conv1(x, edges)), training=self.training), edges)

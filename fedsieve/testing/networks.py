"""A graph network as users write theirs, for tests: nothing in it is like `gcn`."""

import torch
from torch import Tensor, nn
from torch_geometric.nn import ARMAConv, GATv2Conv


class Gated(nn.Module):
    """Attention, a norm, weights that no layer holds, and a last layer that is not linear."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(2, hidden_channels))
        self.attention = GATv2Conv(in_channels, hidden_channels, heads=2)
        self.norm, self.slope = nn.LayerNorm(hidden_channels), nn.PReLU()
        self.last = ARMAConv(hidden_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Return the logits, N x out_channels."""
        heads = self.attention(x, edge_index).view(len(x), *self.gate.shape)
        hidden = self.slope(self.norm((heads * self.gate).sum(1)))
        logits: Tensor = self.last(hidden, edge_index, edge_weight)
        return logits

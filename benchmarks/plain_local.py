"""Local-only training with PyG's own layers over many splits: `python benchmarks/plain_local.py`.

Nothing of this package but the loading of the graph: how far a local-only figure moves with the split alone.
"""

import copy
from statistics import fmean, stdev

import pymetis
import torch
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data
from torch_geometric.utils import subgraph

from fedsieve.data.graphs import load_graph
from plain_net import PlainNet
from runs import heading, row

CLIENTS, ROUNDS, SPLITS = 10, 100, 12


def test_accuracy(data: Data, seed: int) -> float:
    """Return the mean test accuracy at the round with the best mean validation accuracy."""
    torch.manual_seed(seed)
    n = data.num_nodes
    order, train, test = torch.randperm(n), round(0.2 * n), round(0.4 * n)
    masks = [torch.zeros(n, dtype=torch.bool) for _ in range(3)]
    for mask, nodes in zip(masks, order.split([train, test, n - train - test]), strict=True):
        mask[nodes] = True
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for source, target in data.edge_index.t().tolist():
        neighbours[source].append(target)
    part = torch.tensor(pymetis.part_graph(CLIENTS, adjacency=neighbours)[1])
    initial = PlainNet(data.num_features, int(data.y.max()) + 1)
    found = torch.zeros(2, ROUNDS, CLIENTS)
    for client in range(CLIENTS):
        nodes = (part == client).nonzero().flatten()
        edges = subgraph(nodes, data.edge_index, relabel_nodes=True, num_nodes=n)[0]
        x, y = data.x[nodes], data.y[nodes]
        training, testing, validation = (mask[nodes] for mask in masks)
        net = copy.deepcopy(initial)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=1e-6)
        for round_ in range(ROUNDS):
            net.train()
            optimizer.zero_grad()
            cross_entropy(net(x, edges)[training], y[training]).backward()
            optimizer.step()
            net.eval()
            with torch.no_grad():
                right = (net(x, edges).argmax(1) == y).float()
            found[0, round_, client], found[1, round_, client] = right[validation].mean(), right[testing].mean()
    validation_means, test_means = found.mean(2)
    return 100 * float(test_means[validation_means.argmax()])


def main() -> None:
    heading("python benchmarks/plain_local.py")
    row("data", "clients", "splits", "test, %: mean ± deviation", "lowest", "highest")
    row(*["---"] * 6)
    torch.set_num_threads(1)
    for dataset in ("cora", "citeseer"):
        data = load_graph(dataset, seed=0)
        found = [test_accuracy(data, seed) for seed in range(SPLITS)]
        mean = f"{fmean(found):.1f} ± {stdev(found):.1f}"
        row(dataset, CLIENTS, SPLITS, mean, f"{min(found):.1f}", f"{max(found):.1f}")


if __name__ == "__main__":
    main()

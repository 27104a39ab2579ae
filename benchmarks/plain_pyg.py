"""FED-PUB as anybody would write it first with PyG's own layers: what the speed figures are compared with."""

import torch
from torch.nn.functional import cross_entropy

from fedsieve.client.app.holdings import deal_simulated
from fedsieve.config import parse
from fedsieve.data.proxy import random_proxy_graph
from fedsieve.masks.attach import attach_masks, weights
from fedsieve.masks.personal import PersonalMask
from plain_net import PlainNet


class PlainFedPub:
    """All clients one after the other; every client has a network and an optimiser of its own."""

    def __init__(self, dataset: str, partition: str, clients: int) -> None:
        run = parse({"dataset": dataset, "partition": partition, "num-clients": clients})
        self.graphs = [held.graph for held in deal_simulated(run)]
        classes = max(int(graph.y.max()) for graph in self.graphs) + 1
        self.proxy = random_proxy_graph(self.graphs[0].num_features, run.seed)
        self.nets = [PlainNet(self.graphs[0].num_features, classes) for _ in self.graphs]
        for net in self.nets:
            attach_masks(net, lambda weight: PersonalMask(weight, 1e-3))
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=1e-6) for net in self.nets]

    def round(self) -> None:
        embeddings = []
        for net, optimizer, graph in zip(self.nets, self.optimizers, self.graphs, strict=True):
            self._evaluate(net, graph)
            net.train()
            optimizer.zero_grad()
            cross_entropy(net(graph.x, graph.edge_index)[graph.train_mask], graph.y[graph.train_mask]).backward()
            optimizer.step()
            self._evaluate(net, graph)
            with torch.no_grad():
                embeddings.append(net.embed(self.proxy.x, self.proxy.edge_index).mean(0))
        with torch.no_grad():
            h = torch.nn.functional.normalize(torch.stack(embeddings))
            alpha = torch.softmax(3 * h @ h.T, dim=1)
            for name in weights(self.nets[0]):
                stacked = torch.stack([weights(net)[name].flatten() for net in self.nets])
                for net, mixed in zip(self.nets, alpha @ stacked, strict=True):
                    weights(net)[name].copy_(mixed.view_as(weights(net)[name]))

    @torch.no_grad()
    def _evaluate(self, net: PlainNet, graph) -> None:  # type: ignore[no-untyped-def]
        net.eval()
        predicted = net(graph.x, graph.edge_index).argmax(1)
        for mask in (graph.val_mask, graph.test_mask):
            float((predicted[mask] == graph.y[mask]).float().mean())

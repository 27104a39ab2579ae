"""A client that holds a subgraph: node classification, full batch."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data

from fedsieve.client.app.evaluation import ensure_eval, evaluation
from fedsieve.contract import Evaluation
from fedsieve.inputs import Graph, run_network
from fedsieve.models import graph_of
from fedsieve.models.embedding import embed
from fedsieve.models.trial import ONE, Smallest


class GraphTask:
    """Implements `fedsieve.contract.Task` for one subgraph.

    Args:
        graph: x N x F float32, edge_index 2 x E, y N, and boolean train_mask, val_mask and test_mask; edge_weight E and
            edge_attr E x D where it has them.
        proxy: the random graph on which functional embeddings are taken, the same for all clients.
        device: where the model is.
        smallest: the fewest nodes that the network takes; a client with less does not train.
    """

    def __init__(self, graph: Data, proxy: Graph, device: torch.device, smallest: Smallest = ONE) -> None:
        self.too_few = int(graph.train_mask.sum()) > 0 and int(graph.x.shape[0]) < smallest.training
        self.graph = graph_of(graph).to(device)
        self.proxy = proxy
        self.nodes = {part: graph[f"{part}_mask"].nonzero().flatten().to(device) for part in ("train", "val", "test")}
        self.labels = {part: graph.y.to(device)[nodes] for part, nodes in self.nodes.items()}

    @property
    def num_examples(self) -> int:
        """Number of training nodes."""
        return 0 if self.too_few else int(self.nodes["train"].numel())

    @property
    def num_batches(self) -> int:
        """One: a subgraph is trained on whole."""
        return 1

    def batches(self) -> Iterator[Tensor]:
        """Yield the training nodes, all at once."""
        yield self.nodes["train"]

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Return the mean cross-entropy over the nodes `batch`."""
        return cross_entropy(run_network(model, self.graph)[batch], self.labels["train"])

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Evaluation:
        """Return accuracies and the macro F1 over the subgraph's validation and test nodes."""
        ensure_eval(model)
        logits = run_network(model, self.graph)
        predicted = logits.argmax(1)
        val, test = predicted[self.nodes["val"]], predicted[self.nodes["test"]]
        return evaluation(val, self.labels["val"], test, self.labels["test"], logits.shape[1])

    @torch.no_grad()
    def functional_embedding(self, model: nn.Module) -> Tensor:
        """Return the mean last hidden output on the random graph (FED-PUB, eq. 3), of shape hidden_dim."""
        ensure_eval(model)
        return embed(model, self.proxy)

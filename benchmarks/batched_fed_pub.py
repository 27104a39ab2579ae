"""FED-PUB's client step for several clients in one tensor program: what benchmarks/batched.py measures on graphs.

Weights and masks are stacked, K x F x H, and node counts padded to the largest client's, N. Products with weights are
batched; the clients' sparse constants are one block-diagonal matrix.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from fedsieve import seeds
from fedsieve.client.app.graph_task import GraphTask
from fedsieve.client.app.holdings import deal_simulated
from fedsieve.client.fed_pub import FedPubTrainer
from fedsieve.client.training import add_prefix, make_optimizer, optimizer_state, squared_distance, take_prefix
from fedsieve.config import RunConfig
from fedsieve.contract import Tensors
from fedsieve.data.proxy import random_proxy_graph
from fedsieve.inputs import Graph
from fedsieve.masks.personal import apply_threshold, shrink_
from fedsieve.models import build
from fedsieve.models.gcn import find_products
from fedsieve.models.sparse import FixedMatrix
from fedsieve.protocols.fed_pub import EMBEDDING

CPU = torch.device("cpu")
LAYERS = ("conv1", "conv2", "classifier")
Product = Callable[[Tensor], Tensor]


class BatchedFedPub:
    """`FedPubTrainer` for the clients `tasks` at once; `clients` are their numbers."""

    def __init__(self, trainer: FedPubTrainer, tasks: Sequence[GraphTask], clients: Sequence[int]) -> None:
        self.run, self.config, self.clients = trainer.run, trainer.config, clients
        products = [find_products(task.graph.x, task.graph.edge_index) for task in tasks]
        self.sizes = [each.a_hat.shape[0] for each in products]
        k, n = len(tasks), max(self.sizes)
        shapes = {name: (k, *parameter.shape) for name, parameter in trainer.trained.items()}
        dtype = trainer.weights["conv1.weight"].dtype
        self.trained = {name: nn.Parameter(torch.empty(shape, dtype=dtype)) for name, shape in shapes.items()}
        self.masks, self.weights = (
            take_prefix("mask", self.trained),
            {name: self.trained[name] for name in trainer.weights},
        )
        self.a_hat = product([each.a_hat for each in products], n, n)
        self.a_hat_x = product([each.a_hat_x for each in products], n, shapes["conv1.weight"][1])
        self.proxy = find_products(tasks[0].proxy.x, tasks[0].proxy.edge_index)
        self.nodes, self.labels, self.owners, self.counts = {}, {}, {}, {}
        for part in ("train", "val", "test"):
            self.nodes[part] = torch.cat([task.nodes[part] + i * n for i, task in enumerate(tasks)])
            self.labels[part] = torch.cat([task.labels[part] for task in tasks])
            self.owners[part] = torch.cat([torch.full_like(task.nodes[part], i) for i, task in enumerate(tasks)])
            self.counts[part] = torch.bincount(self.owners[part], minlength=k).clamp_(min=1)
        self.kept = torch.zeros(2, k, n, self.run.hidden_dim, dtype=dtype)

    def train(
        self, received: Sequence[Tensors], states: Sequence[Tensors], round_: int
    ) -> list[tuple[Tensors, dict[str, float], Tensors]]:
        """Return each client's arrays, metrics and state, as its trainer does."""
        states_ = [state or self._first_state() for state in states]
        for name, weight in self.weights.items():
            torch.stack([sent[name] for sent in received], out=weight.data)
        for name, mask in self.masks.items():
            torch.stack([state[f"mask/{name}"] for state in states_], out=mask.data)
        moments = {name for name in states_[0] if name.startswith("optimizer/")}
        stacked = {name: torch.stack([state[name] for state in states_]) for name in moments if "/step/" not in name}
        # Clients that have trained equally often have one count of Adam's steps; others could not be batched so.
        steps = {name: states_[0][name] for name in moments if "/step/" in name}
        optimizer = make_optimizer(self.run, self.trained, stacked | steps)
        as_received = self._evaluate(self._folded())
        losses = self._fit(optimizer, round_)
        folded = self._folded()
        local, embeddings = self._evaluate(folded), self._embed(folded)
        sparsity = self._sparsity()
        kept = add_prefix("weights", self.weights) | add_prefix("mask", self.masks)
        kept |= optimizer_state(optimizer, self.trained)
        return [
            (
                {name: weight.data[i] for name, weight in self.weights.items()} | {EMBEDDING: embeddings[i]},
                {"train-loss": losses[i], "mask-sparsity": sparsity[i]}
                | local[i]
                | {f"received-{name}": as_received[i][name] for name in ("val-accuracy", "test-accuracy")},
                {name: tensor.data[i] if tensor.dim() else tensor for name, tensor in kept.items()},
            )
            for i in range(len(self.clients))
        ]

    def _first_state(self) -> Tensors:
        return {f"mask/{name}": torch.ones_like(mask[0]) for name, mask in self.masks.items()}

    def _fit(self, optimizer: torch.optim.Optimizer, round_: int) -> list[float]:
        for i, (client, size) in enumerate(zip(self.clients, self.sizes, strict=True)):
            with seeds.torch_stream(self.run.seed, "training", client, round_):
                for layer in range(2):
                    drawn = torch.rand(size, self.run.hidden_dim, dtype=self.kept.dtype)
                    self.kept[layer, i, :size] = (drawn >= self.run.dropout) / (1 - self.run.dropout)
        received = {name: weight.detach().clone() for name, weight in self.weights.items()}
        masked = {name: self.weights[name] * mask for name, mask in self.masks.items()}
        optimizer.zero_grad()
        logits = self._logits(self.weights | masked, self.kept)[self.nodes["train"]]
        owners = self.owners["train"]
        each = cross_entropy(logits, self.labels["train"], reduction="none") / self.counts["train"][owners]
        loss = each.sum()
        if self.config.sparsity != "none":
            loss = loss + self.config.lambda2 * squared_distance(self.weights, received)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if self.config.sparsity == "proximal":
            self._shrink()
        return torch.zeros(len(self.clients), dtype=each.dtype).index_add_(0, owners, each.detach()).tolist()

    def _logits(self, used: Tensors, kept: Tensor | None = None) -> Tensor:
        biases = {layer: used[f"{layer}.bias"].unsqueeze(1) for layer in LAYERS}
        hidden = relu(self.a_hat_x(used["conv1.weight"]) + biases["conv1"])
        hidden = hidden if kept is None else hidden * kept[0]
        hidden = relu(self.a_hat(torch.bmm(hidden, used["conv2.weight"])) + biases["conv2"])
        hidden = hidden if kept is None else hidden * kept[1]
        return torch.baddbmm(biases["classifier"], hidden, used["classifier.weight"].transpose(1, 2)).flatten(0, 1)

    @torch.no_grad()
    def _folded(self) -> Tensors:
        return self.weights | {
            name: self.weights[name] * apply_threshold(mask, self.config.threshold) for name, mask in self.masks.items()
        }

    @torch.no_grad()
    def _embed(self, folded: Tensors) -> Tensor:
        hidden = relu(self.proxy.a_hat_x @ folded["conv1.weight"] + folded["conv1.bias"].unsqueeze(1))
        mean = (self.proxy.mean_row @ hidden).unsqueeze(1)
        return torch.baddbmm(folded["conv2.bias"].unsqueeze(1), mean, folded["conv2.weight"]).squeeze(1)

    @torch.no_grad()
    def _evaluate(self, folded: Tensors) -> list[dict[str, float]]:
        logits = self._logits(folded)
        k, classes = len(self.clients), logits.shape[1]
        predicted = logits.argmax(1)
        found: Tensors = {}
        for part in ("val", "test"):
            hit = predicted[self.nodes[part]] == self.labels[part]
            found[f"{part}-accuracy"] = torch.bincount(self.owners[part][hit], minlength=k) / self.counts[part]
        of, labels = self.owners["test"] * classes, self.labels["test"]
        hits, labelled, guessed = (
            torch.bincount(cases, minlength=k * classes).view(k, classes)
            for cases in ((of + labels)[hit], of + labels, of + predicted[self.nodes["test"]])
        )
        cases = labelled + guessed
        found["test-macro-f1"] = (2 * hits / cases.clamp(min=1)).sum(1) / (cases > 0).sum(1).clamp_(min=1)
        return [dict(zip(found, row, strict=True)) for row in torch.stack(list(found.values()), 1).tolist()]

    @torch.no_grad()
    def _shrink(self) -> None:
        step, power = self.run.lr * self.config.prox, self.config.prox_power
        for name, mask in self.masks.items():
            size = self.weights[name].abs()
            ratio = size.mean((1, 2), keepdim=True) / size.clamp_(min=torch.finfo(size.dtype).tiny)
            shrink_(mask, ratio.pow_(power).mul_(step))

    @torch.no_grad()
    def _sparsity(self) -> list[float]:
        masks = [apply_threshold(mask, self.config.threshold).flatten(1) for mask in self.masks.values()]
        kept = torch.stack([torch.count_nonzero(mask, dim=1) for mask in masks]).sum(0)
        return (1 - kept / sum(mask.shape[1] for mask in masks)).tolist()


class Trial:
    """FED-PUB's clients of one run in groups of k, or with k = 0 one after the other, round after round."""

    def __init__(self, run: RunConfig, k: int, dtype: torch.dtype) -> None:
        held: list[Any] = deal_simulated(run)
        random = random_proxy_graph(held[0].graph.num_features, run.seed)
        proxy = Graph(random.x.to(dtype), random.edge_index)
        graphs = [copy.copy(each.graph) for each in held]
        for graph in graphs:
            graph.x = graph.x.to(dtype)
        self.tasks = [GraphTask(graph, proxy, CPU) for graph in graphs]
        self.trainer = FedPubTrainer(run, run.settings, build(run, held[0].shape).to(dtype))  # type: ignore[arg-type]
        self.seed, self.round, self.k = run.seed, 0, k
        self.weights = [{n: p.detach().clone() for n, p in self.trainer.weights.items()} for _ in self.tasks]
        self.states: list[Tensors] = [{} for _ in self.tasks]
        numbers = range(len(self.tasks))
        cuts = [slice(first, first + k) for first in range(0, len(numbers), k)] if k else []
        self.groups = [(cut, BatchedFedPub(self.trainer, self.tasks[cut], numbers[cut])) for cut in cuts]

    def play(self) -> list[Tensors]:
        """Train each client once from its own last weights and return all that it keeps or sends."""
        self.round += 1
        if self.k:
            answers = [answer for cut, group in self.groups
                       for answer in group.train(self.weights[cut], self.states[cut], self.round)]  # fmt: skip
        else:
            answers = [self._alone(client) for client in range(len(self.tasks))]
        self.weights = [{name: sent[name] for name in self.trainer.weights} for sent, _, _ in answers]
        self.states = [state for _, _, state in answers]
        return [
            sent | state | {name: torch.tensor(value) for name, value in metrics.items()}
            for sent, metrics, state in answers
        ]

    def _alone(self, client: int) -> tuple[Tensors, dict[str, float], Tensors]:
        with seeds.torch_stream(self.seed, "training", client, self.round):
            result = self.trainer.train(self.tasks[client], self.weights[client], self.states[client])
        return result.arrays, result.metrics, result.state

    def settle(self) -> None:
        """Give every tensor a memory of its own, as a client's message and state have it."""
        self.weights = [{name: value.clone() for name, value in each.items()} for each in self.weights]
        self.states = [{name: value.clone() for name, value in each.items()} for each in self.states]


def product(matrices: Sequence[FixedMatrix], n: int, m: int) -> Product:
    """Return the product of constants, each padded to n x m, with K x m x H: dense where most of them are."""
    padded = [sp.coo_array(_csr(matrix)) for matrix in matrices]
    padded = [sp.coo_array((block.data, (block.row, block.col)), shape=(n, m)) for block in padded]
    if sum(matrix._dense is not None for matrix in matrices) > len(matrices) / 2:
        dense = torch.stack([torch.as_tensor(block.toarray()) for block in padded])
        return lambda other: torch.bmm(dense, other)
    sparse = FixedMatrix(sp.csr_array(sp.block_diag(padded, format="csr")), CPU)
    return lambda other: (sparse @ other.flatten(0, 1)).unflatten(0, (len(matrices), n))


def _csr(matrix: FixedMatrix) -> sp.csr_array:
    if matrix._dense is not None:
        return sp.csr_array(matrix._dense.numpy())
    rows = matrix._rows
    return sp.csr_array((rows.values.numpy(), rows.indices.numpy(), rows.indptr.numpy()), shape=matrix.shape)

"""What one process keeps of a run between messages: the networks, the trainer and each client's task."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from fedsieve.client.app.carrying import CarryingTrainer
from fedsieve.client.app.holdings import Holding, deal_simulated, load_own
from fedsieve.config import RunConfig
from fedsieve.contract import Shape, Task
from fedsieve.errors import UserError
from fedsieve.inputs import find_asked
from fedsieve.models import build
from fedsieve.models.buffers import Buffers
from fedsieve.models.trial import ONE, smallest_batch

_log = logging.getLogger("fedsieve")


class Resident:
    """One run's clients in this process; everything is made when first asked for, and then kept."""

    def __init__(self, run: RunConfig) -> None:
        self.run = run
        self.device = choose_device(run.device)
        self._holdings: dict[int, Holding] = {}
        self._tasks: dict[int, Task] = {}
        self._trainer: CarryingTrainer | None = None
        self._plain: tuple[nn.Module, Buffers] | None = None
        self._proxy: Any = None
        self._smallest = ONE
        self._asked: Collection[str] = ()

    def holding(self, client: int, node_config: Mapping[str, Any]) -> Holding:
        """Return the client's data: the node's own where its config names some, else its part of the data set.

        They are read once, and let go when the task is made of them.
        """
        if client not in self._holdings:
            path = node_config.get("data")
            self._holdings[client] = deal_simulated(self.run)[client] if path is None else load_own(str(path), self.run)
        return self._holdings[client]

    def trainer(self, shape: Shape) -> CarryingTrainer:
        """Return the process's trainer, its network built for `shape`."""
        if self._trainer is None:
            torch.set_num_threads(1)
            self._trainer = CarryingTrainer(self.run, self._build(shape))
        return self._trainer

    def plain_model(self, shape: Shape) -> tuple[nn.Module, Buffers]:
        """Return a network without masks, for folded weights, and its buffers."""
        if self._plain is None:
            model = self._build(shape)
            self._plain = model, Buffers(model)
        return self._plain

    def task(self, client: int, node_config: Mapping[str, Any]) -> Task:
        """Return the client's task, for the network that was asked for before."""
        if client not in self._tasks:
            holding = self.holding(client, node_config)
            if self._proxy is None:
                self._warn_of_ignored(holding)
                self._proxy = holding.proxy(self.run.seed, self.device)
            self._tasks[client] = task = holding.task(self.run, self._proxy, self.device, self._smallest)
            if task.too_few:
                fault = "does not train: it has one example, and the network fails for less than"
                _log.warning("client %d %s %d in training", client, fault, self._smallest.training)
            del self._holdings[client]
        return self._tasks[client]

    def _warn_of_ignored(self, holding: Holding) -> None:
        for name in holding.of_edges:
            if name not in self._asked:
                _log.warning("model = %r takes no %s, which the data have", self.run.model, name)

    def _build(self, shape: Shape) -> nn.Module:
        model = build(self.run, shape).to(self.device)
        self._smallest, self._asked = smallest_batch(model), find_asked(model, model.forward)
        return model


def choose_device(name: str) -> torch.device:
    """Return the torch device for `auto`, `cpu` or `cuda`."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: got 'cuda', but torch finds no CUDA device here; allowed: auto or cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")

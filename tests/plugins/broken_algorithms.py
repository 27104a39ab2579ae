"""Algorithms that break one promise each; `tests/test_conformance.py` installs them."""

import os
from dataclasses import replace

import numpy as np
import torch
from pydantic import ConfigDict

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.client.fed_avg import FedAvgTrainer
from fedsieve.contract import Expected, Replies
from fedsieve.protocols.fed_avg import ALGORITHM
from fedsieve.strategies.fed_avg import FedAvg


class NoConfig(AlgorithmConfig):
    """Has no keys."""


class ThawedConfig(AlgorithmConfig):
    """Can be changed after it was validated."""

    model_config = ConfigDict(frozen=False)


class Renaming(FedAvgTrainer):
    """Returns a model by other names than the network's."""

    def personal_model(self, state):
        return {f"model.{name}": tensor for name, tensor in super().personal_model(state).items()}


class GraphsOnly(FedAvgTrainer):
    """Takes a batch for the indices of nodes."""

    def train(self, task, received, state):
        for batch in task.batches():
            assert batch.dtype == torch.int64
        return super().train(task, received, state)


class Unseeded(FedAvgTrainer):
    """Draws from a generator that nobody has seeded."""

    def train(self, task, received, state):
        noisy = {name: tensor + 0.01 * np.random.rand() for name, tensor in received.items()}
        return super().train(task, noisy, state)


class Remembering(FedAvgTrainer):
    """Counts in the trainer, which lasts as long as the process does, and not in the state."""

    calls = 0

    def train(self, task, received, state):
        self.calls += 1
        return super().train(task, {name: tensor * 0.99**self.calls for name, tensor in received.items()}, state)


class Located(FedAvgTrainer):
    """Tells the process that it is in."""

    def train(self, task, received, state):
        result = super().train(task, received, state)
        return replace(result, metrics=result.metrics | {"train-loss": float(os.getpid())})


class Halved(FedAvgTrainer):
    """Sends floats of 16 bits as bytes."""

    def train(self, task, received, state):
        result = super().train(task, received, state)
        return replace(result, arrays={name: tensor.half().view(torch.uint8) for name, tensor in result.arrays.items()})


class Trusting(FedAvg):
    """Takes any bytes for floats, so that it averages NaN."""

    def expected(self):
        return {
            name: Expected((*array.shape[:-1], 2 * array.shape[-1]), np.dtype(np.uint8))
            for name, array in self.weights.items()
        }

    def unpack(self, client, arrays):
        return {name: array.view(np.float16).astype(np.float32) for name, array in arrays.items()}


class Counting(Trusting):
    """Refuses bytes that are no floats, but has counted them by then."""

    def begin(self, initial):
        super().begin(initial)
        self.count = 0

    def unpack(self, client, arrays):
        self.count += 1
        arrays = super().unpack(client, arrays)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("that is no number")
        return arrays

    def state(self):
        return super().state() | {"count": np.array([self.count])}

    def load_state(self, arrays):
        self.count = int(arrays["count"][0])
        super().load_state({name: array for name, array in arrays.items() if name != "count"})


class Adding(FedAvg):
    """Adds replies up as they come."""

    total = None

    def unpack(self, client, arrays):
        before = self.total or {name: np.zeros_like(array) for name, array in arrays.items()}
        self.total = {name: before[name] + array for name, array in arrays.items()}
        return arrays

    def combine(self, replies):
        self.weights = {name: array / np.float32(len(replies)) for name, array in self.total.items()}
        self.total = None


class Expecting(FedAvg):
    """Expects a reply of each client that was asked."""

    def begin(self, initial):
        super().begin(initial)
        self.asked = []

    def broadcast(self, client, acknowledged):
        self.asked.append(client)
        return super().broadcast(client, acknowledged)

    def combine(self, replies):
        there = {reply.client: reply for reply in replies}
        asked, self.asked = self.asked, []
        super().combine(Replies([there[client] for client in asked]))


class Drifting(FedAvg):
    """Has a momentum that is in no checkpoint."""

    moved = None

    def combine(self, replies):
        old = self.weights
        super().combine(replies)
        step = {name: self.weights[name] - array for name, array in old.items()}
        self.moved = {name: array + 0.5 * self.moved[name] if self.moved else array for name, array in step.items()}
        self.weights = {name: old[name] + array for name, array in self.moved.items()}


class Curtailed(FedAvg):
    """Has a global model without the last layer."""

    def global_model(self):
        return dict(list(super().global_model().items())[:-1])


class Widened(FedAvg):
    """Has a global model in double precision."""

    def global_model(self):
        return {name: array.astype(np.float64) for name, array in super().global_model().items()}


def _with(strategy=FedAvg, trainer=FedAvgTrainer, config=NoConfig) -> Algorithm:
    return replace(ALGORITHM, config=config, strategy=strategy, trainer=trainer)


THAWED = _with(config=ThawedConfig)
RENAMING = _with(trainer=Renaming)
GRAPHS_ONLY = _with(trainer=GraphsOnly)
UNSEEDED = _with(trainer=Unseeded)
REMEMBERING = _with(trainer=Remembering)
LOCATED = _with(trainer=Located)
TRUSTING = _with(Trusting, Halved)
COUNTING = _with(Counting, Halved)
ADDING = _with(Adding)
EXPECTING = _with(Expecting)
DRIFTING = _with(Drifting)
CURTAILED = _with(Curtailed)
WIDENED = _with(Widened)

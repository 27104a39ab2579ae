"""An algorithm that computes next to nothing, for benchmarks/engines.py: what a round costs is what moves messages.

200,000 floats go each way a client, and 800,000 are what it remembers.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.contract import Arrays, Expected, Replies, Task, Tensors, Training, TrainResult
from fedsieve.strategy import FederatedStrategy

SENT, KEPT = 200_000, 800_000


class Trivial(FederatedStrategy):
    """Send one array, take the first reply for the next."""

    def begin(self, initial: Arrays) -> None:
        self.array: Arrays = {"x": np.zeros(SENT, np.float32)}

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        return self.array

    def expected(self) -> Mapping[str, Expected]:
        return {"x": Expected.like(self.array["x"])}

    def combine(self, replies: Replies) -> None:
        self.array = dict(replies[0].arrays)


class TrivialTrainer:
    """Add 1 to what was sent and to what is remembered."""

    def __init__(self, run: Training, config: AlgorithmConfig, model: nn.Module) -> None:
        pass

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        names = ("train-loss", "received-val-accuracy", "received-test-accuracy", "val-accuracy", "test-accuracy",
                 "test-macro-f1")  # fmt: skip
        return TrainResult(
            arrays={"x": received["x"].add_(1)},
            metrics=dict.fromkeys(names, 0.0) | {"num-examples": task.num_examples, "val-count": 1, "test-count": 1},
            state={"s": (state["s"] if state else torch.zeros(KEPT)).add_(1)},
        )

    def personal_model(self, state: Tensors) -> Tensors:
        return {"s": state["s"][:1].clone()}


ALGORITHM = Algorithm("next to nothing", AlgorithmConfig, Trivial, TrivialTrainer)

"""The algorithm of trivial.py, which also tells when things happen; for benchmarks/deployment.py, on one clock."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.contract import Arrays, Reply, Task, Tensors, TrainResult
from trivial import Trivial, TrivialTrainer


class Timed(Trivial):
    """Write a line a round: when each client was sent its message, what it tells, and when all had answered."""

    def initialise(self, initial: Arrays) -> None:
        super().initialise(initial)
        self.sent: dict[int, float] = {}

    def arrays_for(self, client: int) -> Arrays:
        self.sent[client] = time.time()
        return super().arrays_for(client)

    def combine(self, replies: Sequence[Reply]) -> None:
        super().combine(replies)
        told = {reply.client: {key: reply.metrics[key] for key in ("started", "began", "ended")} for reply in replies}
        line = {"sent": self.sent, "clients": told, "answered": time.time()}
        with Path(os.environ["FEDSIEVE_TIMES"]).open("a") as file:
            file.write(json.dumps(line) + "\n")


class TimedTrainer(TrivialTrainer):
    """Tell when the process was started, and when training began and ended."""

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        began = time.time()
        result = super().train(task, received, state)
        times = {"started": psutil.Process().create_time(), "began": began, "ended": time.time()}
        return replace(result, metrics=result.metrics | times)


ALGORITHM = Algorithm("next to nothing, timed", AlgorithmConfig, Timed, TimedTrainer)

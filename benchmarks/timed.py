"""The algorithm of trivial.py, which also tells when things happen; for benchmarks/deployment.py, on one clock."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import psutil

from fedsieve.algorithms import Algorithm, AlgorithmConfig
from fedsieve.contract import Arrays, Replies, Task, Tensors, TrainResult
from trivial import Trivial, TrivialTrainer


class Timed(Trivial):
    """Write a line a round: when each client was sent its message, what it tells, and when all had answered."""

    def begin(self, initial: Arrays) -> None:
        super().begin(initial)
        self.sent: dict[int, float] = {}

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        self.sent[client] = time.time()
        return super().broadcast(client, acknowledged)

    def combine(self, replies: Replies) -> None:
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

"""Ray workers that fail, for tests; sent to Ray by value, because it does not know this package."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ray.cloudpickle

from fedsieve.simulations.parcels import Question
from fedsieve.simulations.ray_worker import Worker

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Doomed(Worker):
    """Kills its own process each time that `dies` says so, after the client has trained and before it has answered.

    The file `<out>.deaths` beside the run's folder has a line for each.
    """

    client, times = 2, 1

    def _answer(self, question: Question, records: Any) -> Any:
        made = super()._answer(question, records)
        deaths = Path(str(self._run_config["out"])).with_suffix(".deaths")
        before = deaths.read_text().splitlines() if deaths.exists() else []
        due = question.kind == "train" and question.group_id == "2" and question.client == self.client
        if due and len(before) < self.times:
            deaths.write_text("\n".join([*before, str(os.getpid())]))
            os.kill(os.getpid(), signal.SIGKILL)
        return made


class DoomedTwice(Doomed):
    """Does it twice."""

    times = 2


class Raising(Worker):
    """Client 1 raises from round 2 on."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        app = self._app

        def call(message: Any, context: Any) -> Any:
            training = message.metadata.message_type == "train" and message.content["config"]["round"] >= 2
            if training and context.node_config["partition-id"] == 1:
                raise ArithmeticError("boom\nboom")
            return app(message, context)

        self._app = call  # type: ignore[assignment]


class Echoing(Worker):
    """Answers what it was sent, counted in the Context and in the state; client 3 never answers the word "hang"."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)

        def call(message: Any, context: Any) -> Any:
            import torch
            from flwr.app import ConfigRecord, Message, RecordDict

            if message.content["config"]["word"] == "hang" and context.node_config["partition-id"] == 3:
                time.sleep(3600)
            count = context.state.setdefault("count", ConfigRecord({"calls": 0}))
            count["calls"] += 1
            client = context.node_config["partition-id"]
            continues = message.content["config"]["continues"]
            seen = int(self._store.load(client, continues).get("seen", torch.zeros(())))
            self._store.save(client, continues + 1, {"seen": torch.tensor(seen + 1)}, continues)
            facts = {"client": client, "calls": count["calls"], "seen": seen, "pid": os.getpid()}
            content = RecordDict({"facts": ConfigRecord(facts), "arrays": message.content["arrays"]})
            return Message(content, reply_to=message)

        self._app = call  # type: ignore[assignment]

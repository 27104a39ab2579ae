"""ClientApps that fail, for runs on a real deployment: they wrap the one ClientApp."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from fedsieve.client.app.client_app import app, partition_id

Bend = Callable[[Message, ArrayRecord], None]


def _first(arrays: ArrayRecord) -> str:
    return min(arrays)


def _nan(reply: Message, arrays: ArrayRecord) -> None:
    values = arrays[_first(arrays)].numpy().copy()
    values.flat[0] = np.nan
    arrays[_first(arrays)] = Array(values)


def _transposed(reply: Message, arrays: ArrayRecord) -> None:
    name = next(name for name in sorted(arrays) if len(set(arrays[name].shape)) > 1)
    arrays[name] = Array(np.ascontiguousarray(arrays[name].numpy().T))


def _unknown(reply: Message, arrays: ArrayRecord) -> None:
    arrays["surprise"] = Array(np.zeros(3, np.float32))


def _hundredfold(reply: Message, arrays: ArrayRecord) -> None:
    arrays[_first(arrays)] = Array(np.concatenate([arrays[_first(arrays)].numpy()] * 100))


def _too_large(reply: Message, arrays: ArrayRecord) -> None:
    for name in arrays:
        arrays[name] = Array(100 * arrays[name].numpy())


def _half_signs(reply: Message, arrays: ArrayRecord) -> None:
    arrays[_first(arrays)] = Array(np.full(9, 0.5, np.float32))


def _altered(reply: Message, arrays: ArrayRecord) -> None:
    code = arrays[_first(arrays)].numpy().copy()
    code[len(code) // 2] ^= 1
    arrays[_first(arrays)] = Array(code)


def _negative(reply: Message, arrays: ArrayRecord) -> None:
    reply.content.metric_records["metrics"]["num-examples"] = -1000


def _raising(reply: Message, arrays: ArrayRecord) -> None:
    raise RuntimeError("no data today")


BEND: dict[str, dict[tuple[int, int], Bend]] = {
    "fed-avg": {
        (1, 1): _nan,
        (1, 2): _unknown,
        (2, 1): _transposed,
        (2, 2): _raising,
        (1, 3): _too_large,
        (2, 3): _raising,
    },
    "hide-n-seek": {(1, 1): _half_signs, (1, 2): _altered, (2, 1): _hundredfold, (2, 2): _negative},
}
"""What becomes of a client's reply, by (client, round)."""


class Hostile(ClientApp):
    """Answers as the one ClientApp does, and then spoils what clients 1 and 2 say."""

    def __call__(self, message: Message, context: Context) -> Message:
        reply = app(message, context)
        if message.metadata.message_type == "train":
            when = partition_id(context), int(message.content["config"]["round"])
            if bend := BEND[str(context.run_config["algorithm"])].get(when):
                bend(reply, reply.content.array_records["arrays"])
        return reply


class Forging(ClientApp):
    """Lets client 2 say that it is client 0."""

    def __call__(self, message: Message, context: Context) -> Message:
        reply = app(message, context)
        if message.metadata.message_type == "query" and partition_id(context) == 2:
            facts = reply.content.config_records["client"]
            reply.content["client"] = ConfigRecord(dict(facts) | {"partition-id": 0})
        return reply


class Held(ClientApp):
    """Clients 1 and 2 do not come to an end in round 2, nor does client 0 in round 3 before all are back."""

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type == "train":
            client, round_ = partition_id(context), int(message.content["config"]["round"])
            folder = Path(os.environ["FEDSIEVE_TEST"])
            if (client, round_) in {(1, 2), (2, 2), (0, 3)}:
                (folder / f"held-{client}").touch()
                while not (folder / "go").exists():
                    time.sleep(0.1)
                if client:
                    raise RuntimeError("too late")
        return app(message, context)


class Late(ClientApp):
    """Client 2 answers in round 1 only when client 0 is in round 2."""

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type == "train":
            now = partition_id(context), int(message.content["config"]["round"])
            next_round = Path(os.environ["FEDSIEVE_TEST"]) / "next-round"
            if now == (0, 2):
                next_round.touch()
            while now == (2, 1) and not next_round.exists():
                time.sleep(0.1)
        return app(message, context)


hostile = Hostile()
forging = Forging()
held = Held()
late = Late()

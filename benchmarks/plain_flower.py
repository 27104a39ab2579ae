"""Flower alone, with trivial compute, for benchmarks/engines.py: `python benchmarks/plain_flower.py --clients 10`.

Nothing of FedSieve moves a message here: Flower's `run_simulation`, its Grid, and a ClientApp that keeps its state
where Flower's documentation says, in `context.state`. What is sent, kept and computed is that of benchmarks/trivial.py:
200,000 floats each way a client, 800,000 of state, all clients in every round. A round is a train message and, as with
Flower's own strategies, an evaluate message after it. Prints a JSON object: seconds of each round and of its training
alone, CPU seconds of all processes, and the peak of their memory.
"""

import argparse
import json
import logging
import os
import time
from collections.abc import Iterator

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from fedsieve.runs.usage import Usage

SENT, KEPT = 200_000, 800_000

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Add 1 to what was sent and to what is remembered."""
    received = message.content.array_records["arrays"]["x"].numpy()
    state = context.state.array_records.get("state")
    kept = np.zeros(KEPT, np.float32) if state is None else state["s"].numpy()
    context.state["state"] = ArrayRecord({"s": Array(kept + 1)})
    answer = {"arrays": ArrayRecord({"x": Array(received + 1)}), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(answer), reply_to=message)


@client_app.evaluate()
def evaluate(message: Message, _: Context) -> Message:
    """Look at what was sent."""
    received = message.content.array_records["arrays"]["x"].numpy()
    return Message(RecordDict({"metrics": MetricRecord({"accuracy": float(received[0])})}), reply_to=message)


def server(clients: int, rounds: int, seconds: list[float], training: list[float]) -> ServerApp:
    """Return a ServerApp that takes the first reply for the next round, and notes each round's seconds."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _: Context) -> None:
        def exchange(kind: str, number: int, arrays: ArrayRecord) -> list[Message]:
            content = RecordDict({"arrays": arrays, "config": ConfigRecord({"round": number})})
            replies = list(grid.send_and_receive(Message(content, node, kind, group_id=str(number)) for node in nodes))
            if len(replies) != clients or any(reply.has_error() for reply in replies):
                raise SystemExit(f"round {number}: {len(replies)} replies of {clients} clients")
            return replies

        while len(nodes := list(grid.get_node_ids())) < clients:
            time.sleep(0.1)
        arrays = ArrayRecord({"x": Array(np.zeros(SENT, np.float32))})
        for number in range(1, rounds + 1):
            began = time.perf_counter()
            replies = exchange(MessageType.TRAIN, number, arrays)
            arrays = replies[0].content.array_records["arrays"]
            training.append(time.perf_counter() - began)
            exchange(MessageType.EVALUATE, number, arrays)
            seconds.append(time.perf_counter() - began)

    return app


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--clients", type=int, required=True)
    arguments.add_argument("--rounds", type=int, default=6)
    chosen = arguments.parse_args()
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RAY_worker_niceness="0")
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    usage, seconds, training = Usage(), list[float](), list[float]()
    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}}
    app = server(chosen.clients, chosen.rounds, seconds, training)

    @app.lifespan()
    def measured(_: Context) -> Iterator[None]:
        yield
        usage.sample(now=True)
        print(json.dumps({"seconds": seconds, "training": training} | usage.totals()))

    run_simulation(app, client_app, chosen.clients, backend_config=resources)


if __name__ == "__main__":
    main()

"""The one ClientApp: the Flower shell around every algorithm's trainer."""

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from platformdirs import user_state_path

from fedsieve import seeds
from fedsieve.client.app.holdings import Holding
from fedsieve.client.app.privacy import Draw, make_bounded_mod, make_secret_generator, make_seeded_generator
from fedsieve.client.app.resident import Resident
from fedsieve.client.app.state import DiskStore, StateStore
from fedsieve.client.training import load
from fedsieve.config import RunConfig, parse_flower
from fedsieve.contract import STATE_LOST, Shape, Tensors, TrainResult
from fedsieve.masks.attach import weights
from fedsieve.paths import folder_named_by
from fedsieve.wire import BUFFERS, MAX_NAME, read_shape, shape_record, to_record, to_tensors

Describe = Callable[[str, int, RunConfig, Shape, Callable[[], Holding]], None]
"""Notes beside a client's states, given the run's token, what it takes to use them: see `describe_on_disk`."""


def make_client_app(
    open_store: Callable[[str], StateStore],
    noise: Draw = make_seeded_generator,
    *,
    describe: Describe | None = None,
    exports: bool = True,
) -> ClientApp:
    """Return a ClientApp that keeps clients' states in the store that `open_store` returns for a run's token.

    The noise of `dp-noise` comes from the generators that `noise` returns.

    A message that concerns a client's state names the run, by its token, which stays the same when the run is resumed,
    and the round that it `continues`: the state is that after this round. A client that does not have it starts from
    nothing and says so, by the metric `state-lost`. It answers four kinds of message:

    - `query`: who the node is (partition-id), whether its data are its own, and what they look like: counts, and the
      classes' names if they have any; of data that the run deals also what they are called and how many examples of
      each class there are.
    - `train`: one round of the algorithm, evaluation before and after included. Buffers that are averaged come and go
      in a record of their own.
    - `evaluate`: how a model, sent with its masks folded in, does on the client's data.
    - `query.export`: the personal model, with its buffers, and its classes' names, if `exports`: a device's stay where
      they are.
    """
    app = ClientApp(mods=[make_bounded_mod(noise)])
    residents: dict[int, Resident] = {}

    def resident_of(context: Context) -> Resident:
        if context.run_id not in residents:
            residents.clear()
            residents[context.run_id] = Resident(parse_flower(context.run_config))
        return residents[context.run_id]

    @app.query()
    def hello(message: Message, context: Context) -> Message:
        client = partition_id(context)
        holding = resident_of(context).holding(client, context.node_config)
        facts = introduce(client, holding, is_own="data" in context.node_config)
        return Message(RecordDict({"client": facts}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        config = message.content.config_records["config"]
        round_, client = int(config["round"]), partition_id(context)  # type: ignore[arg-type]
        continued, store = int(config["continues"]), open_store(str(config["run"]))  # type: ignore[arg-type]
        resident, shape = resident_of(context), read_shape(config)
        if describe is not None:
            held = partial(resident.holding, client, context.node_config)
            describe(str(config["run"]), client, resident.run, shape, held)
        trainer = resident.trainer(shape)
        task = resident.task(client, context.node_config)
        state = store.load(client, continued)
        received, averaged = read_arrays(message.content, resident.device)
        with seeds.torch_stream(resident.run.seed, "training", client, round_):
            result, buffers = trainer.train(task, received, {} if state is None else state, averaged)
        check_finite(result)
        store.save(client, round_, result.state, continued)
        metrics: dict[str, Any] = dict(result.metrics) | ({} if state is not None else {STATE_LOST: 1.0})
        return Message(make_content(result.arrays, buffers, metrics=MetricRecord(metrics)), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        shape = read_shape(message.content.config_records["config"])
        resident = resident_of(context)
        model, buffers = resident.plain_model(shape)
        received, averaged = read_arrays(message.content, resident.device)
        load(weights(model), received)
        buffers.load(averaged)
        task = resident.task(partition_id(context), context.node_config)
        metrics = MetricRecord(asdict(task.evaluate(model)))
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def export(message: Message, context: Context) -> Message:
        config = message.content.config_records["config"]
        store = open_store(str(config["run"]))
        resident, client = resident_of(context), partition_id(context)
        trainer = resident.trainer(read_shape(config))
        state = store.load(client, int(config["continues"]))  # type: ignore[arg-type]
        if state is None:
            raise LookupError("this node has lost its state")
        names = ConfigRecord({"names": list(resident.holding(client, context.node_config).names)})
        return Message(make_content(*trainer.personal_model(state), classes=names), reply_to=message)

    if exports:
        app.query("export")(export)
    return app


def introduce(client: int, holding: Holding, *, is_own: bool) -> ConfigRecord:
    """Return what a client says of itself before the first round; not where its data are, nor how many if its own."""
    facts = shape_record(holding.shape)
    facts["partition-id"], facts["own-data"] = client, is_own
    facts["class-names"] = [name[:MAX_NAME] for name in holding.names]
    if not is_own:
        facts["client-name"], facts["label-counts"] = holding.client[:MAX_NAME], holding.count_labels()
    return facts


def read_arrays(content: RecordDict, device: torch.device) -> tuple[Tensors, Tensors]:
    """Return the arrays that the server has sent, and the buffers."""
    records = content.array_records
    return to_tensors(records["arrays"], device), to_tensors(records[BUFFERS], device) if BUFFERS in records else {}


def make_content(arrays: Tensors, buffers: Tensors, **others: MetricRecord | ConfigRecord) -> RecordDict:
    """Return a reply's content; buffers are in it where there are any."""
    content = RecordDict({"arrays": to_record(arrays), **others})
    if buffers:
        content[BUFFERS] = to_record(buffers)
    return content


def check_finite(result: TrainResult) -> None:
    """Raise an ArithmeticError if training has diverged."""
    sums = {name: float(tensor.sum()) for name, tensor in result.arrays.items()} | dict(result.metrics)
    if diverged := [name for name, value in sums.items() if not math.isfinite(value)]:
        raise ArithmeticError(f"training diverged: {diverged[0]} is not finite; a smaller lr may help")


def partition_id(context: Context) -> int:
    """Return the client's stable id."""
    return int(context.node_config["partition-id"])


def store_on_disk(token: str) -> DiskStore:
    """Return the store of a device: a folder of this run's under FEDSIEVE_STATE, or the user's state folder.

    Raises:
        ValueError: the server's token is none, but a path, say.
    """
    folder = folder_named_by("FEDSIEVE_STATE", partial(user_state_path, "fedsieve"))
    return DiskStore(folder / f"run-{int(token, 16):016x}")


def describe_on_disk(token: str, client: int, run: RunConfig, shape: Shape, holding: Callable[[], Holding]) -> None:
    """Keep, once a run, what a device needs to use the client's models itself: see `fedsieve.load_model`."""
    store = store_on_disk(token)
    if store.about(client) is None:
        about = {"format": 1, "input": shape.input, "num_classes": shape.num_classes, "names": holding().names}
        about |= {"edge_dim": shape.edge_dim} if shape.edge_dim else {}
        store.describe(client, about | {"config": run.flat()})


app = make_client_app(store_on_disk, make_secret_generator, describe=describe_on_disk, exports=False)

"""What is left of a run's models when it ends: those of the clients, that of all, and how alike they were."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsieve.contract import Arrays, NDArray
from fedsieve.errors import make_printable
from fedsieve.failures import explain
from fedsieve.runs.folder import RunFolder
from fedsieve.runs.history import History
from fedsieve.runs.reading import read_buffers
from fedsieve.server.binding import Binding
from fedsieve.server.loop import RoundLoop
from fedsieve.wire import BUFFERS, to_arrays, to_record

_log = logging.getLogger("fedsieve")


def write_models(
    grid: Grid,
    binding: Binding,
    config: ConfigRecord,
    loop: RoundLoop,
    folder: RunFolder,
    number: int,
) -> float | None:
    """Write the models after round `number` to `model/`, and return the accuracy of the one that all share, if any."""
    timeout, shape = loop.run.round_timeout, binding.shape
    stage = {"format": 1, "round": number, "input": list(shape.input), "num_classes": shape.num_classes}
    stage |= {"edge_dim": shape.edge_dim} if shape.edge_dim else {}
    names = _export(grid, binding, config, loop.continues, folder, stage, timeout)
    shared = loop.strategy.global_model() if loop.begun else None
    if shared is None:
        return None
    buffers = average_buffers(folder.path, loop.latest_counts()) | loop.buffers.values
    folder.write_model(None, shared, stage | {"names": names}, buffers)
    return _measure_global_accuracy(grid, binding, config, shared, buffers, timeout)


def _export(
    grid: Grid,
    binding: Binding,
    config: ConfigRecord,
    continues: Mapping[int, int],
    folder: RunFolder,
    stage: Mapping[str, object],
    timeout: float,
) -> list[str]:
    """Write the folded model of each client that has trained to `model/`, and return the names of the classes."""
    names: list[str] = []
    clients = {node: client for client, node in binding.nodes.items()}
    asked = (
        Message(
            RecordDict({"config": ConfigRecord(dict(config) | {"continues": round_})}),
            binding.nodes[client],
            f"{MessageType.QUERY}.export",
        )
        for client, round_ in sorted(continues.items())
    )
    for reply in grid.send_and_receive(asked, timeout=timeout):
        client = clients[reply.metadata.src_node_id]
        if reply.has_error():
            _log.warning("client %d did not export its model: %s", client, make_printable(explain(reply.error)))
            continue
        records = reply.content.array_records
        model, buffers = to_arrays(records["arrays"]), to_arrays(records[BUFFERS]) if BUFFERS in records else {}
        names = list(reply.content.config_records["classes"]["names"])  # type: ignore[arg-type]
        about = dict(stage) | {"names": names, "client": client}
        folder.write_model(client, model, about, buffers)
    return names


def average_buffers(folder: Path, num_examples: Mapping[int, int]) -> Arrays:
    """Return the mean of the buffers in the clients' models, for a model that all share: it has none of its own.

    Each is the mean, weighted by the number of training examples, over those clients whose training has changed it.
    """
    total: dict[str, NDArray] = {}
    weight: dict[str, int] = {}
    types: dict[str, np.dtype[Any]] = {}
    for client, count in sorted(num_examples.items()):
        for name, array in read_buffers(folder, client) if count > 0 else ():
            types[name] = array.dtype
            total[name] = total.get(name, 0.0) + count * array.astype(np.float64)
            weight[name] = weight.get(name, 0) + count
    means = {name: array / weight[name] for name, array in total.items()}
    return {name: (array if np.issubdtype(types[name], np.inexact) else np.rint(array)).astype(types[name])
            for name, array in means.items()}  # fmt: skip


def _measure_global_accuracy(
    grid: Grid, binding: Binding, shape: ConfigRecord, model: Arrays, buffers: Arrays, timeout: float
) -> float | None:
    """Return the accuracy of the one model on all clients' test data together, None where no client has any."""
    content = RecordDict({"arrays": to_record(model), BUFFERS: to_record(buffers), "config": shape})
    asked = (Message(content, node, MessageType.EVALUATE) for node in binding.nodes.values())
    hits, count = 0.0, 0
    for reply in grid.send_and_receive(asked, timeout=timeout):
        if reply.has_error():
            _log.warning(
                "node %d did not evaluate the global model: %s",
                reply.metadata.src_node_id,
                make_printable(explain(reply.error)),
            )
            continue
        metrics = reply.content.metric_records["metrics"]
        hits += float(metrics["test_accuracy"]) * int(metrics["test_count"])  # type: ignore[arg-type]
        count += int(metrics["test_count"])  # type: ignore[arg-type]
    return hits / count if count else None


def write_similarity(loop: RoundLoop, history: History, folder: RunFolder) -> None:
    """Write what the server has found of how alike its clients' models are to `similarity.safetensors`."""
    compared = loop.strategy.similarity_matrix() if loop.begun else None
    if compared is not None:
        clients, matrix = np.asarray(compared[0], np.int64), np.asarray(compared[1], np.float32)
        combined = [round_.number for round_ in history.rounds if round_.usable and not round_.for_metric_only]
        about = {"format": 1, "round": combined[-1]}
        folder.write_similarity({"clients": clients, "similarity": matrix}, about)

"""What a run would be on, before anything trains: its clients, the size of its model, what would be sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from flwr.app import RecordDict

from fedsieve.algorithms import load_algorithm
from fedsieve.client.app.holdings import Holding, Images, Subgraph, deal_simulated
from fedsieve.config import RunConfig
from fedsieve.contract import NDArray
from fedsieve.models import initial_weights, setting_of
from fedsieve.wire import serialized_bytes, to_record


@dataclass(frozen=True)
class Preview:
    """What is known of a run beforehand.

    Attributes:
        names: of the clients, their numbers where they have none.
        counts: examples for training, validation and testing of each.
        labels: examples of each class that each holds, clients x classes.
        classes: the classes' names, their numbers where they have none.
        parameters: of the network.
        downlink: bytes that a client is sent in the first round, serialised.
        uplink: bytes of its reply's arrays, at most.
        data_bytes: what the data take in memory.
        training_bytes: what a client's training takes besides: weights, gradients and the optimiser's state.
    """

    names: list[str]
    counts: list[tuple[int, int, int]]
    labels: list[list[int]]
    classes: list[str]
    parameters: int
    downlink: int
    uplink: int
    data_bytes: int
    training_bytes: int


def preview(run: RunConfig) -> Preview:
    """Return what a run would be on; its data are loaded and dealt, and its strategy begun.

    Raises `UserError` as the run itself would before its first round.
    """
    torch.set_num_threads(1)
    held = deal_simulated(run)
    shape = held[0].shape
    initial = {name: tensor.numpy() for name, tensor in initial_weights(run, shape).items()}
    strategy = load_algorithm(run.algorithm).load_strategy().for_run(setting_of(run, shape), run.settings)
    strategy.begin(initial)
    names, classes = held[0].names, range(len(held[0].names), shape.num_classes)
    size = sum(array.nbytes for array in initial.values())
    copies = 4 if run.optimizer == "adam" else 2 + (run.momentum > 0)
    return Preview(
        names=[one.client or str(client) for client, one in enumerate(held)],
        counts=[one.counts for one in held],
        labels=[one.count_labels() for one in held],
        classes=[*names, *map(str, classes)],
        parameters=sum(array.size for array in initial.values()),
        downlink=_measure(strategy.broadcast(0, False)),
        uplink=sum(expected.nbytes for expected in strategy.expected().values()),
        data_bytes=_measure_data(held),
        training_bytes=copies * size,
    )


def _measure(arrays: Mapping[str, NDArray]) -> int:
    return serialized_bytes(RecordDict({"arrays": to_record(arrays)}))


def _measure_data(held: list[Holding]) -> int:
    """Return the bytes of all tensors that the clients' data are, shared ones once."""
    tensors: dict[int, Any] = {}
    for one in held:
        if isinstance(one, Subgraph):
            given = [value for value in one.graph.to_dict().values() if isinstance(value, torch.Tensor)]
        else:
            assert isinstance(one, Images)
            given = [one.data.images, one.data.labels]
        for tensor in given:
            parts = [tensor.indices(), tensor.values()] if tensor.is_sparse else [tensor]
            tensors |= {part.data_ptr(): part for part in parts}
    return sum(int(tensor.nbytes) for tensor in tensors.values())

"""Who is who: a query before the first round binds each node to a client's stable id."""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsieve.contract import Shape
from fedsieve.data.checks import MAX_CLASSES, MAX_LENGTH
from fedsieve.errors import RunFailedError, printable

_log = logging.getLogger("fedsieve")


@dataclass(frozen=True)
class Binding:
    """The run's clients: Flower's node id of each, by partition-id, and the shape of a network for all of them."""

    nodes: dict[int, int]
    shape: Shape


def bind(grid: Grid, num_clients: int, timeout: float, min_clients: int = 1) -> Binding:
    """Ask every node who it is, and fix the answers for the run.

    Args:
        grid: has the nodes.
        num_clients: ids from 0 to below this are expected.
        timeout: seconds to wait for the answers.
        min_clients: that have to answer.

    Raises:
        RunFailedError: there are fewer nodes than clients, too few that say properly who they are and that nobody else
            claims to be them, or most clients' data do not have the same features.
    """
    asked = sorted(grid.get_node_ids())
    if len(asked) < num_clients:
        raise RunFailedError(
            f"num-clients: got {num_clients}, allowed: at most the number of nodes, {len(asked)} "
            f"(flwr run: --federation-config 'num-supernodes={num_clients}')."
        )
    shapes: dict[int, Shape] = {}
    nodes: dict[int, int] = {}
    for client, claims in sorted(_claims(grid, asked, timeout).items()):
        if not 0 <= client < num_clients:
            _log.warning("nodes %s are left out: they claim partition-id %d, allowed: 0 to %d", sorted(claims), client,
                         num_clients - 1)  # fmt: skip
        elif len(claims) > 1:
            _log.warning("nodes %s are left out: all claim partition-id %d", sorted(claims), client)
        else:
            ((nodes[client], shapes[client]),) = claims.items()
    for client in _odd(shapes):
        _log.warning("client %d is left out: its data have features of shape %s", client, _told(shapes[client].input))
        del nodes[client], shapes[client]
    if len(nodes) < min_clients:
        found = len(nodes) or "none"
        raise RunFailedError(f"{found} of {len(asked)} nodes answered who they are, min-clients: {min_clients}.")
    if missing := sorted(set(range(num_clients)) - set(nodes)):
        _log.warning("%d of %d clients are not there: %s", len(missing), num_clients, missing[:20])
    return Binding(nodes, _common(shapes))


def _claims(grid: Grid, asked: Collection[int], timeout: float) -> dict[int, dict[int, Shape]]:
    """Ask the nodes, and return for each partition-id which nodes claim it, and the shape of their data."""
    queries = {node: Message(RecordDict({"config": ConfigRecord()}), node, MessageType.QUERY) for node in asked}
    claims: dict[int, dict[int, Shape]] = defaultdict(dict)
    for reply in grid.send_and_receive(queries.values(), timeout=timeout):
        node = reply.metadata.src_node_id
        if reply.has_error():
            _log.warning("node %d did not say who it is: %s", node, printable(reply.error.reason or ""))
        elif node not in queries or reply.metadata.reply_to_message_id != queries[node].metadata.message_id:
            _log.warning("an answer in the name of node %d, which it has not given, is ignored", node)
        elif isinstance(answer := _facts(reply), str):
            _log.warning("node %d is left out: %s", node, answer)
        else:
            client, shape = answer
            claims[client][node] = shape
    return claims


def _odd(shapes: Mapping[int, Shape]) -> list[int]:
    """Return the clients whose data have other features than those of more than half of all."""
    inputs = Counter(shape.input for shape in shapes.values())
    return [client for client, shape in shapes.items() if max(inputs.values()) > len(shapes) / 2 >= inputs[shape.input]]


def _common(shapes: Mapping[int, Shape]) -> Shape:
    """Return the shape of a network for all clients."""
    first = {shape.input: client for client, shape in sorted(shapes.items(), reverse=True)}
    if len(first) > 1:
        told = ", ".join(f"{_told(input_)} (client {client})" for input_, client in sorted(first.items()))
        raise RunFailedError(f"clients' data differ in their features: {told}.")
    num_classes = max(shape.num_classes for shape in shapes.values())
    if num_classes == 0:
        raise RunFailedError("no client has an example with a label.")
    return Shape(next(iter(first)), num_classes)


def _told(input_: tuple[int, ...]) -> str:
    return " x ".join(map(str, input_))


def _facts(reply: Message) -> tuple[int, Shape] | str:
    record = reply.content.config_records.get("client", ConfigRecord())
    values = [record.get(key) for key in ("partition-id", "input-shape", "num-classes")]
    client, input_, num_classes = values
    if not (type(client) is int and isinstance(input_, list) and type(num_classes) is int) or any(
        type(length) is not int for length in input_
    ):
        return printable(f"it answers {values} where whole numbers are expected")
    lengths = tuple(int(length) for length in input_)
    if len(lengths) not in {1, 3} or min(lengths) < 1:
        return printable(f"its data has examples of shape {_told(lengths)}")
    if math.prod(lengths) > MAX_LENGTH or not 0 <= num_classes <= MAX_CLASSES:
        return printable(f"its data has {math.prod(lengths)} features and {num_classes} classes")
    return client, Shape(lengths, num_classes)

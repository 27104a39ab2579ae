"""Who is who: a query before the first round binds each node to a client's stable id."""

import logging
import math
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsieve.data.checks import MAX_CLASSES, MAX_LENGTH
from fedsieve.errors import RunFailedError
from fedsieve.models import Shape
from fedsieve.strategies.screening import printable

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
        RunFailedError: there are fewer nodes than clients, two nodes claim one id, a claimed id is out of range, the
            data do not fit together, or too few nodes answer; which node and why.
    """
    asked = sorted(grid.get_node_ids())
    if len(asked) < num_clients:
        raise RunFailedError(
            f"num-clients: got {num_clients}, allowed: at most the number of nodes, {len(asked)} "
            f"(flwr run: --federation-config 'num-supernodes={num_clients}')."
        )
    facts: dict[int, tuple[int, Shape]] = {}
    messages = (Message(RecordDict({"config": ConfigRecord()}), node, MessageType.QUERY) for node in asked)
    for reply in grid.send_and_receive(messages, timeout=timeout):
        node = reply.metadata.src_node_id
        if reply.has_error():
            _log.warning("node %d did not say who it is: %s", node, printable(reply.error.reason or ""))
        elif isinstance(answer := _facts(reply), str):
            _log.warning("node %d is left out: %s", node, answer)
        else:
            facts[node] = answer
    nodes: dict[int, int] = {}
    for node, (client, _) in sorted(facts.items(), key=lambda item: item[0]):
        if client in nodes:
            raise RunFailedError(f"nodes {nodes[client]} and {node} both claim partition-id {client}.")
        if not 0 <= client < num_clients:
            raise RunFailedError(f"node {node} claims partition-id {client}, allowed: 0 to {num_clients - 1}.")
        nodes[client] = node
    if len(nodes) < min_clients:
        found = len(nodes) or "none"
        raise RunFailedError(f"{found} of {len(asked)} nodes answered who they are, min-clients: {min_clients}.")
    if missing := sorted(set(range(num_clients)) - set(nodes)):
        _log.warning("%d of %d clients are not there: %s", len(missing), num_clients, missing[:20])
    inputs = {shape.input: client for client, shape in sorted(facts.values(), key=lambda fact: fact[0], reverse=True)}
    if len(inputs) > 1:
        told = ", ".join(f"{_told(input_)} (client {client})" for input_, client in sorted(inputs.items()))
        raise RunFailedError(f"clients' data differ in their features: {told}.")
    num_classes = max(shape.num_classes for _, shape in facts.values())
    if num_classes == 0:
        raise RunFailedError("no client has an example with a label.")
    return Binding(nodes, Shape(next(iter(inputs)), num_classes))


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

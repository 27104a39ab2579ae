"""Who is who: a query before the first round binds each node to a client's stable id."""

import logging
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsieve.data.checks import MAX_CLASSES
from fedsieve.errors import RunFailedError
from fedsieve.models import Shape
from fedsieve.strategies.screening import printable

_log = logging.getLogger("fedsieve")

MAX_FEATURES = 1_000_000


@dataclass(frozen=True)
class Binding:
    """The run's clients: Flower's node id of each, by partition-id, and the shape of a network for all of them."""

    nodes: dict[int, int]
    shape: Shape


def bind(grid: Grid, num_clients: int, timeout: float) -> Binding:
    """Ask every node who it is, and fix the answers for the run.

    Args:
        grid: has the nodes.
        num_clients: ids from 0 to below this are expected.
        timeout: seconds to wait for the answers.

    Raises:
        RunFailedError: there are fewer nodes than clients, two nodes claim one id, a claimed id is out of range, the
            data do not fit together, or no node answers; which node and why.
    """
    asked = {
        node: Message(RecordDict({"config": ConfigRecord()}), node, MessageType.QUERY)
        for node in sorted(grid.get_node_ids())
    }
    if len(asked) < num_clients:
        raise RunFailedError(
            f"num-clients: got {num_clients}, allowed: at most the number of nodes, {len(asked)} "
            f"(flwr run: --federation-config 'num-supernodes={num_clients}')."
        )
    facts: dict[int, tuple[int, int, int]] = {}
    for reply in grid.send_and_receive(list(asked.values()), timeout=timeout):
        node = reply.metadata.src_node_id
        if reply.has_error():
            _log.warning("node %d did not say who it is: %s", node, printable(reply.error.reason or ""))
        elif isinstance(answer := _facts(reply), str):
            _log.warning("node %d is left out: %s", node, answer)
        else:
            facts[node] = answer
    nodes: dict[int, int] = {}
    for node, (client, _, _) in sorted(facts.items()):
        if client in nodes:
            raise RunFailedError(f"nodes {nodes[client]} and {node} both claim partition-id {client}.")
        if not 0 <= client < num_clients:
            raise RunFailedError(f"node {node} claims partition-id {client}, allowed: 0 to {num_clients - 1}.")
        nodes[client] = node
    if not nodes:
        raise RunFailedError(f"none of {len(asked)} nodes answered who it is.")
    if missing := sorted(set(range(num_clients)) - set(nodes)):
        _log.warning("%d of %d clients are not there: %s", len(missing), num_clients, missing[:20])
    widths = {num_features: client for client, num_features, _ in sorted(facts.values(), reverse=True)}
    if len(widths) > 1:
        told = ", ".join(f"{width} (client {client})" for width, client in sorted(widths.items()))
        raise RunFailedError(f"clients' data differ in their number of features: {told}.")
    num_classes = max(classes for _, _, classes in facts.values())
    if num_classes == 0:
        raise RunFailedError("no client has a node with a label.")
    return Binding(nodes, Shape(next(iter(widths)), num_classes))


def _facts(reply: Message) -> tuple[int, int, int] | str:
    record = reply.content.config_records.get("client", ConfigRecord())
    values = [record.get(key) for key in ("partition-id", "num-features", "num-classes")]
    client, num_features, num_classes = values
    if not (type(client) is int and type(num_features) is int and type(num_classes) is int):
        return printable(f"it answers {values} where whole numbers are expected")
    if not (0 < num_features <= MAX_FEATURES and 0 <= num_classes <= MAX_CLASSES):
        return f"its data has {num_features} features and {num_classes} classes"
    return client, num_features, num_classes

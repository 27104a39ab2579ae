"""Who is who: a query before the first round binds each node to a client's stable id."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsieve.contract import Shape
from fedsieve.errors import RunFailedError, make_printable
from fedsieve.failures import explain
from fedsieve.server.class_names import find_other_classes
from fedsieve.server.introduction import Introduction, format_shape, read_introduction

_log = logging.getLogger("fedsieve")


@dataclass(frozen=True)
class Binding:
    """The run's clients: Flower's node id of each, by partition-id, and the shape of a network for all of them.

    Attributes:
        devices: clients whose data are their own, not dealt by the run, sorted.
        names: how messages name clients whose nodes, or data, have a name, by partition-id.
        called: what the data call the clients, of those that they do.
        label_counts: how many examples of each class there are, of each client whose data the run deals.
        class_names: of the first classes.
    """

    nodes: dict[int, int]
    shape: Shape
    devices: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    called: Mapping[int, str] = field(default_factory=dict)
    label_counts: Mapping[int, Sequence[int]] = field(default_factory=dict)
    class_names: Sequence[str] = ()


def bind(
    grid: Grid,
    num_clients: int,
    timeout: float,
    min_clients: int = 1,
    names: Mapping[int, str] | None = None,
    arrived: Callable[[int, int], None] = lambda _number, _of: None,
) -> Binding:
    """Ask every node who it is, and fix the answers for the run.

    Args:
        grid: has the nodes.
        num_clients: ids from 0 to below this are expected.
        timeout: seconds to wait for the answers.
        min_clients: that have to answer.
        names: of nodes, by Flower's node id.
        arrived: called with the number of answers so far, from 0 on, and how many are expected.

    Raises:
        RunFailedError: there are fewer nodes than clients, too few that say properly who they are and that nobody else
            claims to be them, or most clients' data do not have the same features and classes.
    """
    asked = sorted(grid.get_node_ids())
    if len(asked) < num_clients:
        raise RunFailedError(
            f"num-clients: got {num_clients}, allowed: at most the number of nodes, {len(asked)} "
            f"(flwr run: --federation-config 'num-supernodes={num_clients}')."
        )
    names = names or {}
    known: dict[int, Introduction] = {}
    nodes: dict[int, int] = {}
    for client, claims in sorted(_collect_claims(grid, asked, timeout, names, arrived).items()):
        if not 0 <= client < num_clients:
            _log.warning("nodes %s are rejected: they claim partition-id %d, allowed: 0 to %d",
                         _list_nodes(claims, names), client, num_clients - 1)  # fmt: skip
        elif len(claims) > 1:
            _log.warning("nodes %s are rejected: all claim partition-id %d", _list_nodes(claims, names), client)
        else:
            ((nodes[client], known[client]),) = claims.items()
    for client in _find_odd({client: one.shape for client, one in known.items()}):
        features = format_shape(known[client].shape.input, known[client].shape.edge_dim)
        _log.warning("client %d is rejected: its data have features of shape %s", client, features)
        del nodes[client], known[client]
    for client, fault in find_other_classes({client: one.classes for client, one in known.items()}).items():
        _log.warning("client %d is rejected: %s", client, fault)
        del nodes[client], known[client]
    if len(nodes) < min_clients:
        number = len(nodes) or "none"
        raise RunFailedError(f"{number} of {len(asked)} nodes answered who they are, min-clients: {min_clients}.")
    if missing := sorted(set(range(num_clients)) - set(nodes)):
        _log.warning("%d of %d clients are not there: %s", len(missing), num_clients, missing[:20])
    shape = _find_common_shape({client: one.shape for client, one in known.items()})
    devices = tuple(client for client in sorted(known) if known[client].is_own)
    called = {client: one.called for client, one in known.items() if one.called}
    return Binding(
        nodes,
        shape,
        devices,
        {client: f"client {name}" for client, name in called.items()}
        | {client: names[node] for client, node in nodes.items() if node in names},
        called,
        {client: one.label_counts for client, one in known.items() if one.label_counts},
        max((one.classes for one in known.values()), key=len),
    )


def _collect_claims(
    grid: Grid,
    asked: Collection[int],
    timeout: float,
    names: Mapping[int, str],
    arrived: Callable[[int, int], None],
) -> dict[int, dict[int, Introduction]]:
    """Ask the nodes, and return for each partition-id which nodes claim it, and what they say of their data."""
    queries = {node: Message(RecordDict({"config": ConfigRecord()}), node, MessageType.QUERY) for node in asked}
    claims: dict[int, dict[int, Introduction]] = defaultdict(dict)
    silent = set(asked)
    arrived(0, len(silent))
    for number, reply in enumerate(grid.send_and_receive(queries.values(), timeout=timeout), 1):
        arrived(number, len(queries))
        node = _find_asked(reply, queries) if reply.has_error() else reply.metadata.src_node_id
        silent.discard(node)
        if reply.has_error():
            _log.warning("%s: %s", _name_of(node, names), make_printable(explain(reply.error)))
        elif node not in queries or reply.metadata.reply_to_message_id != queries[node].metadata.message_id:
            _log.warning("an answer in the name of %s, which it has not given, is ignored", _name_of(node, names))
        elif isinstance(answer := read_introduction(reply), str):
            _log.warning("%s is rejected: %s", _name_of(node, names), answer)
        else:
            client, claims_to_be = answer
            claims[client][node] = claims_to_be
    if silent:
        _log.warning("nodes %s have not said in time who they are", _list_nodes(silent, names))
    return claims


def _find_asked(reply: Message, queries: Mapping[int, Message]) -> int:
    """Return the node whose reply is this error; the SuperLink itself answers for one that it has lost."""
    if (node := reply.metadata.src_node_id) in queries:
        return node
    about = reply.metadata.reply_to_message_id
    return next((node for node, query in queries.items() if query.metadata.message_id == about), node)


def _name_of(node: int, names: Mapping[int, str]) -> str:
    return names.get(node, f"node {node}")


def _list_nodes(nodes: Collection[int], names: Mapping[int, str]) -> str:
    return f"[{', '.join(names.get(node, str(node)) for node in sorted(nodes)[:20])}]"


def _find_odd(shapes: Mapping[int, Shape]) -> list[int]:
    """Return the clients whose data have other features than those of more than half of all."""
    features = {client: (shape.input, shape.edge_dim) for client, shape in shapes.items()}
    counts = Counter(features.values())
    return [client for client, given in features.items() if max(counts.values()) > len(shapes) / 2 >= counts[given]]


def _find_common_shape(shapes: Mapping[int, Shape]) -> Shape:
    """Return the shape of a network for all clients."""
    first = {(shape.input, shape.edge_dim): client for client, shape in sorted(shapes.items(), reverse=True)}
    if len(first) > 1:
        features = ", ".join(f"{format_shape(*given)} (client {client})" for given, client in sorted(first.items()))
        raise RunFailedError(f"clients' data differ in their features: {features}.")
    num_classes = max(shape.num_classes for shape in shapes.values())
    if num_classes == 0:
        raise RunFailedError("no client has an example with a label.")
    if num_classes == 1:
        raise RunFailedError("all clients' examples are of one class; classification needs at least 2.")
    input_, edge_dim = next(iter(first))
    return Shape(input_, num_classes, edge_dim)

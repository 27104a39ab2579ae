"""Who is who: a query before the first round binds each node to a client's stable id."""

import logging
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedsieve.data.checks import MAX_CLASSES, MAX_LENGTH
from fedsieve.errors import RunFailedError
from fedsieve.failures import explain
from fedsieve.models import Shape
from fedsieve.strategies.screening import printable

_log = logging.getLogger("fedsieve")


MAX_NAME = 255
"""Characters of a class's name, which a client cuts off and a server refuses."""


@dataclass(frozen=True)
class Binding:
    """The run's clients: Flower's node id of each, by partition-id, and the shape of a network for all of them.

    Attributes:
        devices: clients whose data are their own, not dealt by the run, sorted.
        names: what clients are called where a deployment has names for its nodes, by partition-id.
    """

    nodes: dict[int, int]
    shape: Shape
    devices: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Introduction:
    """What a client says of its data: their shape, whether they are its own, and its first classes' names if any."""

    shape: Shape
    is_own: bool = False
    classes: tuple[str, ...] = ()


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
    for client, claims in sorted(_claims(grid, asked, timeout, names, arrived).items()):
        if not 0 <= client < num_clients:
            _log.warning("nodes %s are left out: they claim partition-id %d, allowed: 0 to %d",
                         _listed(claims, names), client, num_clients - 1)  # fmt: skip
        elif len(claims) > 1:
            _log.warning("nodes %s are left out: all claim partition-id %d", _listed(claims, names), client)
        else:
            ((nodes[client], known[client]),) = claims.items()
    for client in _odd({client: one.shape for client, one in known.items()}):
        features = _told(known[client].shape.input)
        _log.warning("client %d is left out: its data have features of shape %s", client, features)
        del nodes[client], known[client]
    for client, fault in _other_classes({client: one.classes for client, one in known.items()}).items():
        _log.warning("client %d is left out: %s", client, fault)
        del nodes[client], known[client]
    if len(nodes) < min_clients:
        found = len(nodes) or "none"
        raise RunFailedError(f"{found} of {len(asked)} nodes answered who they are, min-clients: {min_clients}.")
    if missing := sorted(set(range(num_clients)) - set(nodes)):
        _log.warning("%d of %d clients are not there: %s", len(missing), num_clients, missing[:20])
    shape = _common({client: one.shape for client, one in known.items()})
    devices = tuple(client for client in sorted(known) if known[client].is_own)
    return Binding(nodes, shape, devices, {client: names[node] for client, node in nodes.items() if node in names})


def _claims(
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
        node = _asked(reply, queries) if reply.has_error() else reply.metadata.src_node_id
        silent.discard(node)
        if reply.has_error():
            _log.warning("%s: %s", _called(node, names), printable(explain(reply.error)))
        elif node not in queries or reply.metadata.reply_to_message_id != queries[node].metadata.message_id:
            _log.warning("an answer in the name of %s, which it has not given, is ignored", _called(node, names))
        elif isinstance(answer := _facts(reply), str):
            _log.warning("%s is left out: %s", _called(node, names), answer)
        else:
            client, claims_to_be = answer
            claims[client][node] = claims_to_be
    if silent:
        _log.warning("nodes %s have not said in time who they are", _listed(silent, names))
    return claims


def _asked(reply: Message, queries: Mapping[int, Message]) -> int:
    """Return the node whose reply is this error; the SuperLink itself answers for one that it has lost."""
    if (node := reply.metadata.src_node_id) in queries:
        return node
    about = reply.metadata.reply_to_message_id
    return next((node for node, query in queries.items() if query.metadata.message_id == about), node)


def _called(node: int, names: Mapping[int, str]) -> str:
    return names.get(node, f"node {node}")


def _listed(nodes: Collection[int], names: Mapping[int, str]) -> str:
    return f"[{', '.join(names.get(node, str(node)) for node in sorted(nodes)[:20])}]"


def _odd(shapes: Mapping[int, Shape]) -> list[int]:
    """Return the clients whose data have other features than those of more than half of all."""
    inputs = Counter(shape.input for shape in shapes.values())
    return [client for client, shape in shapes.items() if max(inputs.values()) > len(shapes) / 2 >= inputs[shape.input]]


def _other_classes(classes: Mapping[int, tuple[str, ...]]) -> dict[int, str]:
    """Return what is wrong with the clients whose classes have other names than those of more than half of all.

    Two agree if they name those alike that both have. Clients whose labels are only numbers agree with all.

    Raises:
        RunFailedError: no names are those of more than half.
    """
    named = {client: names for client, names in classes.items() if names}
    if not named:
        return {}
    kinds = Counter(named.values())

    def agreeing(names: tuple[str, ...]) -> int:
        return sum(count for other, count in kinds.items() if _differ(names, other) is None)

    usual = max(kinds, key=lambda names: (agreeing(names), len(names)))
    odd = {client: at for client, names in named.items() if (at := _differ(names, usual)) is not None}
    if odd and 2 * agreeing(usual) <= len(named):
        one, other = next(client for client in named if client not in odd), next(iter(odd))
        at = odd[other]
        raise RunFailedError(
            f"clients' classes differ: class {at} is {_quoted(usual[at])} of client {one} and "
            f"{_quoted(named[other][at])} of client {other}, allowed: the same classes everywhere, in the same order "
            "(of images in folders: a folder for each class, an empty one too)."
        )
    if len(named) < len(classes):
        unnamed = sorted(set(classes) - set(named))
        _log.warning("clients %s do not name their classes, which are taken to be numbered as the others'", unnamed[:20])
    return {
        client: f"its class {at} is {_quoted(named[client][at])}, that of most is {_quoted(usual[at])}"
        for client, at in odd.items()
    }


def _differ(one: tuple[str, ...], other: tuple[str, ...]) -> int | None:
    """Return the first class that both name, but not alike."""
    return next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), None)


def _quoted(name: str) -> str:
    short = printable(name)
    return f'"{short if len(short) <= 40 else short[:37] + "..."}"'


def _common(shapes: Mapping[int, Shape]) -> Shape:
    """Return the shape of a network for all clients."""
    first = {shape.input: client for client, shape in sorted(shapes.items(), reverse=True)}
    if len(first) > 1:
        told = ", ".join(f"{_told(input_)} (client {client})" for input_, client in sorted(first.items()))
        raise RunFailedError(f"clients' data differ in their features: {told}.")
    num_classes = max(shape.num_classes for shape in shapes.values())
    if num_classes == 0:
        raise RunFailedError("no client has an example with a label.")
    if num_classes == 1:
        raise RunFailedError("all clients' examples are of one class; classification needs at least 2.")
    return Shape(next(iter(first)), num_classes)


def _told(input_: tuple[int, ...]) -> str:
    return " x ".join(map(str, input_))


def _facts(reply: Message) -> tuple[int, Introduction] | str:
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
    is_own, names = record.get("own-data", False), record.get("class-names", [])
    if type(is_own) is not bool:
        return printable(f"it answers {is_own} where true or false is expected")
    if not isinstance(names, list) or len(names) > num_classes:
        return f"it does not name its {num_classes} classes properly"
    classes = tuple(unicodedata.normalize("NFC", name) for name in names if isinstance(name, str))
    if len(classes) < len(names) or any(len(name) > MAX_NAME for name in classes):
        return f"its classes' names are not words of at most {MAX_NAME} characters"
    return client, Introduction(Shape(lengths, num_classes), is_own, classes)

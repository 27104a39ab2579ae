from collections.abc import Callable, Iterable

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedsieve.contract import Shape
from fedsieve.data.checks import MAX_CLASSES, MAX_LENGTH
from fedsieve.errors import RunFailedError
from fedsieve.server.binding import Binding, bind
from tests.messages import FakeGrid, failure

Facts = dict[str, object] | None


class AskingGrid(FakeGrid):
    """Nodes 100, 99, 98, ... that answer who they are; None is an error, and a missing one gives no answer."""

    def __init__(self, *facts: Facts | str) -> None:
        super().__init__(len(facts), lambda *_: None)
        self._facts = dict(zip(self.nodes.values(), facts, strict=True))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return [reply for message in messages if (reply := self._reply(message)) is not None]

    def _reply(self, message: Message) -> Message | None:
        facts = self._facts[message.metadata.dst_node_id]
        if facts is None:
            return failure(message)
        if isinstance(facts, str):
            return None
        return Message(RecordDict({"client": ConfigRecord(facts)}), reply_to=message)  # type: ignore[arg-type]


def client(number: object, shape: object = (5,), classes: object = 3) -> dict[str, object]:
    return {
        "partition-id": number,
        "input-shape": list(shape) if isinstance(shape, tuple) else shape,
        "num-classes": classes,
    }


def naming(number: int, *names: str, classes: int = 3) -> dict[str, object]:
    return client(number, classes=classes) | {"own-data": True, "class-names": list(names)}


def bound(*facts: Facts | str, num_clients: int = 3) -> Binding:
    silent = [None] * (num_clients - len(facts))
    return bind(AskingGrid(*facts, *silent), num_clients, 1.0)


def test_nodes_are_bound_to_the_ids_they_claim_and_the_network_fits_all():
    found = bound(client(2, classes=2), client(0, classes=7), client(1, classes=3))
    assert found.nodes == {2: 100, 0: 99, 1: 98}
    assert found.shape == Shape((5,), 7)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ((client(0), client(0)), "none of 3 nodes answered"),
        ((client(3),), "none of 3 nodes answered"),
        ((client(-1),), "none of 3 nodes answered"),
        ((client(0, (5,)), client(1, (6,))), r"differ in their features: 5 \(client 0\), 6 \(client 1\)"),
        ((client(0, (1, 28, 28)), client(1, (784,))), r"features: 1 x 28 x 28 \(client 0\), 784 \(client 1\)"),
        ((None, None), "none of 3 nodes answered"),
        (("", "", ""), "none of 3 nodes answered"),
        ((client(0, classes=0),), "no client has an example with a label"),
        ((client(0, classes=1), client(1, classes=1)), "all clients' examples are of one class; .* needs at least 2"),
        (
            (naming(0, "cat", "dog"), naming(1, "dog", "cat")),
            r'^clients\' classes differ: class 0 is "cat" of client 0 and "dog" of client 1, allowed: the same classes',
        ),
        (
            (naming(0, "cat"), naming(1, "a\nb" * 80)),
            r'class 0 is "cat" of client 0 and "a ba ba b.*\.\.\." of client 1',
        ),
        ((naming(0, "cat"), naming(1, "dog"), naming(2, "eel")), "class 0 is .* of client 0 and .* of client 1"),
    ],
)
def test_answers_that_contradict_each_other_end_the_run(facts: tuple[Facts | str, ...], sentence: str):
    with pytest.raises(RunFailedError, match=sentence):
        bound(*facts)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "",
        {},
        client("one"),
        client(1.0),
        client(1, (0,)),
        client(1, (10**9,)),
        client(1, (3, 10**5, 10**5)),
        client(1, (3, 32)),
        client(1, ()),
        client(1, (5.0,)),
        client(1, 5),
        client(1, classes=-1),
        client(True),
        client(1, classes=MAX_CLASSES + 1),
        client(1, (MAX_LENGTH + 1,)),
        client(1) | {"own-data": 1},
        client(1) | {"class-names": "cat"},
        client(1) | {"class-names": [1, 2]},
        client(1) | {"class-names": ["a", "b", "c", "d"]},
        client(1) | {"class-names": ["a" * 256]},
    ],
)
def test_a_node_that_does_not_say_properly_who_it_is_is_left_out(odd: Facts | str):
    assert bound(client(0), odd, client(2)).nodes == {0: 100, 2: 98}


@pytest.mark.parametrize(
    ("odd", "nodes", "told"),
    [
        ((client(0), client(0)), {1: 98, 2: 97}, "nodes [99, 100] are rejected: all claim partition-id 0"),
        ((client(4), client(0)), {0: 99, 1: 98, 2: 97}, "nodes [100] are rejected: they claim partition-id 4"),
        ((client(0), client(-1)), {0: 100, 1: 98, 2: 97}, "nodes [99] are rejected: they claim partition-id -1"),
        ((client(0), client(3, (6,))), {0: 100, 1: 98, 2: 97}, "client 3 is rejected: its data have features"),
    ],
)
def test_who_contradicts_the_others_is_left_out_by_name(
    odd: tuple[Facts, ...], nodes: dict[int, int], told: str, caplog: pytest.LogCaptureFixture
):
    assert bound(*odd, client(1), client(2), num_clients=4).nodes == nodes
    assert told in caplog.text


def test_an_answer_in_anothers_name_is_ignored(caplog: pytest.LogCaptureFixture):
    class Posing(AskingGrid):
        def _reply(self, message: Message) -> Message | None:
            reply = super()._reply(message)
            message.metadata.__dict__["_message_id"] = f"to-{message.metadata.dst_node_id}"
            if reply is not None:
                reply.metadata.__dict__["_reply_to_message_id"] = message.metadata.message_id
                if message.metadata.dst_node_id == 99:
                    reply.metadata.__dict__["_src_node_id"] = 100
            return reply

    assert bind(Posing(client(1), client(0)), 2, 1.0).nodes == {1: 100}
    assert "in the name of node 100, which it has not given" in caplog.text


def test_a_node_at_the_bounds_takes_part():
    assert bound(client(0, (MAX_LENGTH,), MAX_CLASSES)).shape == Shape((MAX_LENGTH,), MAX_CLASSES)
    assert bound(client(0, (1, MAX_LENGTH // 4, 4))).shape.input == (1, MAX_LENGTH // 4, 4)


def test_fewer_nodes_than_clients_end_the_run_and_the_sentence_says_how_to_get_more():
    with pytest.raises(RunFailedError, match=r"num-clients: got 3, allowed: .* 2 \(flwr run: .*num-supernodes=3"):
        bind(AskingGrid(client(0), client(1)), 3, 1.0)


def test_as_many_as_min_clients_have_to_answer():
    grid = AskingGrid(client(0), client(1), None)
    assert set(bind(grid, 3, 1.0, min_clients=2).nodes) == {0, 1}
    with pytest.raises(RunFailedError, match=r"^2 of 3 nodes answered who they are, min-clients: 3\.$"):
        bind(grid, 3, 1.0, min_clients=3)


def test_a_client_without_labels_takes_part():
    assert bound(client(0), client(1, classes=0), client(2)).shape.num_classes == 3


def test_an_answer_without_the_record_is_left_out(monkeypatch: pytest.MonkeyPatch):
    grid = AskingGrid(client(0), client(1))
    usual: Callable[[Message], Message | None] = grid._reply
    empty = lambda message: Message(RecordDict(), reply_to=message)  # noqa: E731
    monkeypatch.setattr(grid, "_reply", lambda m: empty(m) if m.metadata.dst_node_id == 99 else usual(m))
    assert bind(grid, 2, 1.0).nodes == {0: 100}


def test_who_names_its_classes_otherwise_than_most_is_left_out(caplog: pytest.LogCaptureFixture):
    found = bound(naming(0, "cat", "dog"), naming(1, "dog"), naming(2, "cat", "dog", "eel"))
    assert set(found.nodes) == {0, 2}
    assert 'client 1 is rejected: its class 0 is "dog", that of most is "cat"' in caplog.text


def test_names_that_agree_as_far_as_they_go_are_no_reason(caplog: pytest.LogCaptureFixture):
    spelled = ("caf\u00e9", "cafe\u0301")
    found = bound(naming(0, spelled[0], "tea"), naming(1, spelled[1]), client(2, classes=2))
    assert set(found.nodes) == {0, 1, 2}
    assert "clients [2] do not name their classes" in caplog.text


def test_a_client_of_one_class_takes_part():
    assert bound(client(0, classes=2), client(1, classes=1), client(2, classes=0)).shape.num_classes == 2


def test_whose_data_are_their_own_is_known():
    assert bound(naming(2), client(0), naming(1)).devices == (1, 2)


def test_nodes_are_called_by_the_deployments_names(caplog: pytest.LogCaptureFixture):
    names = {100: "node-0 (client 0)", 99: "node-1 (client 1)", 98: "node-2 (client 2)"}
    arrived: list[tuple[int, int]] = []
    grid = AskingGrid(client(0), None, "")
    found = bind(grid, 3, 1.0, names=names, arrived=lambda *each: arrived.append(each))
    assert found.names == {0: "node-0 (client 0)"}
    assert arrived == [(0, 3), (1, 3), (2, 3)]
    assert "node-1 (client 1): failed: it broke" in caplog.text
    assert "nodes [node-2 (client 2)] have not said in time who they are" in caplog.text


def test_a_node_that_the_superlink_has_lost_is_named(caplog: pytest.LogCaptureFixture):
    class Losing(AskingGrid):
        def _reply(self, message: Message) -> Message | None:
            message.metadata.__dict__["_message_id"] = f"to-{message.metadata.dst_node_id}"
            reply = super()._reply(message)
            if reply is not None and reply.has_error():
                reply = failure(message, 5, "Error: Node Unavailable")
                reply.metadata.__dict__["_src_node_id"] = 1
            return reply

    assert bind(Losing(client(0), None), 2, 1.0, names={99: "node-1 (client 1)"}).nodes == {0: 100}
    assert "node-1 (client 1): killed or cut off" in caplog.text


def test_a_client_whose_edges_carry_other_numbers_is_rejected(caplog: pytest.LogCaptureFixture):
    with_attributes = [client(number) | {"edge-dim": 2} for number in range(2)]
    binding = bound(*with_attributes, client(2))
    assert binding.shape == Shape((5,), 3, 2)
    assert sorted(binding.nodes) == [0, 1]
    odd = bound(client(0), client(1), client(2) | {"edge-dim": 2})
    assert odd.shape == Shape((5,), 3)
    assert "client 2 is rejected: its data have features of shape 5 with edge_attr of 2" in caplog.text


def test_clients_whose_edges_all_carry_other_numbers_are_one_sentence():
    with pytest.raises(RunFailedError, match=r"differ in their features: 5 .client 0., 5 with edge_attr"):
        bound(client(0), client(1) | {"edge-dim": 2}, num_clients=2)


@pytest.mark.parametrize("edge_dim", [-1, True, "2", 2.0, MAX_LENGTH + 1])
def test_a_strange_number_of_attributes_is_rejected(edge_dim: object, caplog: pytest.LogCaptureFixture):
    bound(client(0), client(1), client(2) | {"edge-dim": edge_dim})
    assert f"is rejected: its edges carry {edge_dim!r} numbers" in caplog.text

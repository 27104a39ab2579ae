import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from flwr.app import Error, Message

from fedsieve.config import RunConfig
from fedsieve.errors import RunFailedError
from fedsieve.runs.history import History
from fedsieve.runs.rounds import Round
from fedsieve.server.loop import RoundLoop
from fedsieve.server.patience import Patience
from fedsieve.strategy import FederatedStrategy
from tests.helpers import config, simulated
from tests.messages import METRICS, Answer, FakeGrid, failure, reply, rounds_played, strategy_of

START = {"w": np.array([[1, 2]], dtype=np.float32), "b": np.array([-1], dtype=np.float32)}


def weights(*values: float) -> dict[str, np.ndarray]:
    w, v, b = values
    return {"w": np.array([[w, v]], dtype=np.float32), "b": np.array([b], dtype=np.float32)}


def play(
    answer: Answer, run: RunConfig, arrange: Callable[[Sequence[Message]], Any] = list
) -> tuple[FakeGrid, list[Round], FederatedStrategy]:
    """Play a run against answers made by hand."""
    grid, strategy = FakeGrid(run.num_clients, answer, arrange), strategy_of(run)
    return grid, rounds_played(run, strategy, grid, START), strategy


def fed_avg(**keys: Any) -> RunConfig:
    return config({"algorithm": "fed-avg", "num-clients": 4, "num-rounds": 1} | keys_of(keys))


def keys_of(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in keys.items()}


def honest(client: int, round_: int, message: Message) -> Message:
    """Every client answers with its own number everywhere; all hold as many examples."""
    return reply(message, weights(client, client, client))


def but(client: int, otherwise: Callable[[Message], Message | None]) -> Answer:
    """Answer honestly, except for one client in round 1."""
    return lambda k, round_, message: otherwise(message) if (k, round_) == (client, 1) else honest(k, round_, message)


def never(client: int) -> Answer:
    """Answer honestly, except for one client, which fails every time."""
    return lambda k, round_, message: failure(message) if k == client else honest(k, round_, message)


def test_a_sample_is_seeded_sorted_and_of_the_right_size():
    def samples(seed: int, fraction: float) -> list[list[int]]:
        run = fed_avg(num_clients=10, num_rounds=6, fraction_train=fraction, seed=seed)
        grid, _, _ = play(honest, run)
        return [grid.asked(number) for number in range(1, 7)]

    first = samples(1, 0.3)
    assert all(len(set(asked)) == 3 and asked == sorted(asked) for asked in first)
    assert len(set(map(tuple, first))) > 1
    assert samples(1, 0.3) == first
    assert samples(2, 0.3) != first
    assert samples(1, 0.01) != first
    assert all(len(asked) == 1 for asked in samples(1, 0.01))
    assert all(asked == list(range(10)) for asked in samples(1, 1.0))


def test_a_fraction_that_is_whole_is_not_rounded_down():
    # 0.29 · 100 is 28.999999999999996 in floating point
    run = fed_avg(num_clients=100, fraction_train=0.29)
    assert len(play(honest, run)[0].asked(1)) == 29


def test_fed_avg_sends_the_initial_weights_then_the_weighted_mean():
    def answer(client: int, _: int, message: Message) -> Message:
        return reply(message, weights(client, 2 * client, -client), METRICS | {"num-examples": [1, 3][client]})

    grid, _, _ = play(answer, fed_avg(num_clients=2, num_rounds=2))
    for client in (0, 1):
        first, second = grid.sent_to(client)
        assert {name: array.tolist() for name, array in first.items()} == {"w": [[1, 2]], "b": [-1]}
        assert {name: array.tolist() for name, array in second.items()} == {"w": [[0.75, 1.5]], "b": [-0.75]}


def test_a_bad_reply_is_named_and_left_out_and_the_round_goes_on(caplog: pytest.LogCaptureFixture):
    nan = but(2, lambda message: reply(message, weights(np.nan, 0, 0)))
    with caplog.at_level(logging.WARNING, "fedsieve"):
        _, rounds, strategy = play(nan, fed_avg())
    assert [r.client for r in rounds[0].replies] == [0, 1, 3]
    assert rounds[0].rejected == {2: "array w holds NaN or infinite values"}
    assert "client 2" in caplog.text
    mean = (0 + 1 + 3) / 3
    assert strategy.state()["w"] == pytest.approx(np.full((1, 2), mean))


def test_a_reply_that_does_not_come_is_told_as_such():
    _, rounds, _ = play(but(1, lambda _: None), fed_avg())
    assert rounds[0].rejected == {1: "no reply in time"}
    assert rounds[0].participants == (0, 1, 2, 3)


def test_a_client_that_always_fails_does_not_end_the_run():
    _, rounds, _ = play(never(1), fed_avg(num_rounds=3))
    trained = [round_ for round_ in rounds if not round_.for_metric_only]
    assert [round_.rejected for round_ in trained] == [{1: "failed: it broke"}] * 3


def test_a_client_never_sampled_that_then_fails_does_not_end_the_run():
    run = fed_avg(num_rounds=1, fraction_train=0.75)
    (left,) = set(range(4)) - set(play(honest, run)[0].asked(1))
    _, rounds, _ = play(never(left), run)
    assert rounds[0].rejected == {}
    assert rounds[-1].rejected == {left: "failed: it broke"}


def test_an_error_in_the_superlinks_name_is_attributed_by_the_message_it_answers():
    def lost(message: Message) -> Message:
        error = Message(Error(5, "the node is gone"), reply_to=message)
        error.metadata.__dict__["_src_node_id"] = 1
        return error

    _, rounds, _ = play(but(3, lost), fed_avg())
    assert rounds[0].rejected == {3: "killed or cut off"}


def test_a_reply_out_of_all_proportion_is_left_out_wherever_it_arrives():
    answer = but(2, lambda message: reply(message, weights(200, 200, 200)))
    for arrange in (list, lambda replies: list(replies)[::-1]):
        _, rounds, strategy = play(answer, fed_avg(), arrange)
        assert list(rounds[0].rejected) == [2]
        assert "norm of 346, more than 10 times what is usual, 2.45" in rounds[0].rejected[2]
        assert strategy.state()["w"].ravel().tolist() == pytest.approx([4 / 3, 4 / 3])
    _, rounds, _ = play(answer, fed_avg(norm_limit=0.0))
    assert rounds[0].rejected == {}


def test_a_second_reply_and_a_strangers_are_ignored():
    def stranger(message: Message) -> Message:
        other = reply(message, weights(1e6, 0, 0))
        other.metadata.__dict__["_src_node_id"] = 12345
        return other

    def arrange(replies: Sequence[Message]) -> list[Message]:
        to = Message(replies[0].content, 100, "train")
        return [stranger(to), *replies, reply(to, weights(1e6, 0, 0))]

    _, rounds, strategy = play(honest, fed_avg(), arrange)
    assert [r.client for r in rounds[0].replies] == [0, 1, 2, 3]
    assert strategy.state()["w"].tolist() == [[1.5, 1.5]]


def test_a_reply_in_anothers_name_is_ignored_and_his_own_taken():
    """A node can write any node's id into what it pushes, but it has not seen the id of the other's message."""

    def arrange(replies: Sequence[Message]) -> list[Message]:
        forged = reply(Message(replies[3].content, 97, "train"), weights(9, 9, 9))
        forged.metadata.__dict__["_reply_to_message_id"] = replies[3].metadata.reply_to_message_id
        forged.metadata.__dict__["_src_node_id"] = 99
        return [forged, *replies[:3]]

    _, rounds, strategy = play(honest, fed_avg(), arrange)
    assert rounds[0].rejected == {3: "no reply in time"}
    assert strategy.state()["w"].tolist() == [[1, 1]]


def test_a_client_not_sampled_cannot_put_a_reply_in():
    run = fed_avg(fraction_train=0.5)
    asked = play(honest, run)[0].asked(1)
    (outsider, _) = sorted(set(range(4)) - set(asked))

    def arrange(replies: Sequence[Message]) -> list[Message]:
        return [*replies, reply(Message(replies[0].content, 100 - outsider, "train"), weights(1e6, 0, 0))]

    _, rounds, strategy = play(honest, run, lambda r: arrange(r) if len(r) == 2 else r)
    assert [r.client for r in rounds[0].replies] == asked
    assert strategy.state()["w"].tolist() == [[sum(asked) / 2] * 2]


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-pub"])
def test_the_order_of_arrival_changes_no_bit(algorithm: str):
    drawn = np.random.RandomState(0)
    table = {(k, r): drawn.normal(size=7).astype(np.float32) for k in range(6) for r in range(1, 4)}

    def answer(client: int, round_: int, message: Message) -> Message:
        a = table[client, round_]
        arrays = weights(*a[:3]) | ({"functional-embedding": a[3:]} if algorithm == "fed-pub" else {})
        return reply(message, arrays, METRICS | {"num-examples": client + 1})

    def final(arrange: Callable[[Sequence[Message]], Any]) -> dict[str, bytes]:
        run = config({"algorithm": algorithm, "num-clients": 6, "num-rounds": 3, "hidden-dim": 4})
        _, _, strategy = play(answer, run, arrange)
        return {name: array.tobytes() for name, array in strategy.state().items()}

    shuffled = random.Random(0)
    in_order = final(list)
    assert final(lambda replies: list(replies)[::-1]) == in_order
    assert final(lambda replies: shuffled.sample(replies, len(replies))) == in_order


def test_clients_never_sampled_train_once_at_the_end_for_the_metric_only():
    run = fed_avg(num_clients=6, num_rounds=2, fraction_train=0.34)
    grid, rounds, strategy = play(honest, run)
    sampled = set(grid.asked(1)) | set(grid.asked(2))
    assert 0 < len(sampled) < 6
    assert grid.asked(3) == sorted(set(range(6)) - sampled)
    assert [round_.for_metric_only for round_ in rounds] == [False, False, True]
    mean = sum(grid.asked(2)) / 2
    assert strategy.state()["w"].tolist() == [[mean, mean]]
    last = {client: arrays for number, client, arrays in grid.sent if number == 3}
    assert all(arrays["w"].tolist() == [[mean, mean]] for arrays in last.values())


def test_every_round_is_watched_and_the_last_training_is_known_from_the_others():
    run = fed_avg(num_clients=6, num_rounds=2, fraction_train=0.34)
    grid, seen = FakeGrid(6, honest), list[tuple[int, bool]]()

    def watched(replies: Iterable[Message], expected: int, combine: bool) -> Iterator[Message]:
        seen.append((expected, combine))
        yield from replies

    RoundLoop(run, strategy_of(run), grid.nodes, watched=watched).play(grid, START)
    assert seen == [(2, True), (2, True), (len(grid.asked(3)), False)]


def test_a_rounds_means_are_over_each_clients_last_training():
    accuracy = {(0, 1): 0.5, (0, 2): 1.0, (1, 1): 0.25, (1, 2): 0.0}

    def answer(client: int, round_: int, message: Message) -> Message | None:
        if (client, round_) == (1, 2):
            return None
        return reply(message, weights(1, 1, 1), METRICS | {"val-accuracy": accuracy[client, round_]})

    _, rounds, _ = play(answer, fed_avg(num_clients=2, num_rounds=2))
    assert [round_.means["val-accuracy"] for round_ in rounds] == [0.375, 0.625]
    assert rounds[0].means["test-accuracy"] == METRICS["test-accuracy"]


@pytest.mark.parametrize("algorithm", ["fed-avg", "fed-pub", "hide-n-seek", "fed-mask", "fed-pm", "lottery-fl"])
def test_replies_for_the_metric_only_are_not_held(algorithm: str, graph_file: Path, tmp_path: Path):
    held: list[int] = []

    class Watch:
        def round_finished(self, round_: Round) -> None:
            if round_.for_metric_only:
                held.extend(len(reply.arrays) for reply in round_.replies)

    real = RoundLoop.__init__

    def watched(self: Any, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)
        self.observers = [*self.observers, Watch()]

    with patch.object(RoundLoop, "__init__", watched):
        keys = {"num-clients": 4, "num-rounds": 1, "fraction-train": 0.25, "local-epochs": 1, "hidden-dim": 4}
        simulated(tmp_path / "run", keys, dataset=str(graph_file), algorithm=algorithm)
    assert held == [0, 0, 0]


def test_no_round_asks_nobody():
    grid, rounds, _ = play(honest, fed_avg(num_rounds=0))
    assert grid.sent == []
    assert rounds == []


def test_a_client_without_examples_is_left_out_of_the_mean_but_not_of_the_history():
    def answer(client: int, _: int, message: Message) -> Message:
        return reply(message, weights(client, 0, 0), METRICS | {"num-examples": 0 if client == 3 else 5})

    _, rounds, strategy = play(answer, fed_avg())
    assert strategy.state()["w"].tolist() == [[1, 0]]
    assert [r.client for r in rounds[0].replies] == [0, 1, 2, 3]


def test_clients_that_all_lack_examples_leave_the_model_as_it_was():
    def answer(_: int, __: int, message: Message) -> Message:
        return reply(message, weights(9, 9, 9), METRICS | {"num-examples": 0})

    _, _, strategy = play(answer, fed_avg(num_rounds=2))
    assert strategy.state()["w"].tolist() == [[1, 2]]


def test_a_round_without_a_usable_reply_ends_the_run_after_the_observers_were_told():
    history = History()
    run = fed_avg(num_rounds=5)
    grid = FakeGrid(4, lambda _, round_, m: failure(m, 2, "boom") if round_ == 2 else honest(0, 0, m))
    strategy = strategy_of(run)
    loop = RoundLoop(run, strategy, grid.nodes, observers=[history])
    with pytest.raises(RunFailedError, match=r"round 2: none of 4 clients .* client 0: failed: boom"):
        loop.play(grid, START)
    assert [len(round_.replies) for round_ in history.rounds] == [4, 0]
    assert set(history.rounds[1].rejected) == {0, 1, 2, 3}


def test_with_fewer_usable_replies_than_min_clients_nothing_is_combined_and_the_run_ends():
    history = History()
    run = fed_avg(num_rounds=5, min_clients=3)
    broken = {1: {0}, 2: {1, 3}}
    grid = FakeGrid(4, lambda k, n, m: failure(m, 2, "boom") if k in broken[n] else honest(9 if n == 2 else k, n, m))
    strategy = strategy_of(run)
    loop = RoundLoop(run, strategy, grid.nodes, observers=[history])
    sentence = r"round 2: 2 of 4 clients gave a usable reply, min-clients: 3; client 1: failed: boom\.$"
    with pytest.raises(RunFailedError, match=sentence):
        loop.play(grid, START)
    assert [len(round_.replies) for round_ in history.rounds] == [3, 2]
    assert strategy.state()["w"].tolist() == [[2, 2]], "the mean of round 1: clients 1, 2 and 3"


def test_a_round_of_fewer_clients_than_min_clients_needs_all_of_them():
    _, rounds, _ = play(honest, fed_avg(num_rounds=2, fraction_train=0.5, min_clients=3))
    assert [len(round_.replies) for round_ in rounds[:2]] == [2, 2]


def test_bytes_are_counted_for_each_participant():
    _, rounds, _ = play(but(1, failure), fed_avg())
    assert rounds[0].downlink_payload_bytes == dict.fromkeys(range(4), 3 * 4)
    assert [r.uplink_payload_bytes for r in rounds[0].replies] == [12] * 3
    assert all(size > 12 for size in rounds[0].downlink_bytes.values())


def run_with_accuracies(accuracies: Sequence[float], patience: int) -> int:
    def answer(_: int, round_: int, message: Message) -> Message:
        return reply(message, weights(0, 0, 0), METRICS | {"val-accuracy": accuracies[round_ - 1]})

    run = fed_avg(num_clients=2, num_rounds=len(accuracies), patience=patience)
    return len(play(answer, run)[1])


@pytest.mark.parametrize(
    ("patience", "rounds"),
    [(1, 3), (2, 6), (3, 7), (0, 8)],
)
def test_patience_stops_so_many_rounds_after_the_best(patience: int, rounds: int):
    #         better  -    better  -    -    -    -
    accuracies = [0.1, 0.2, 0.2, 0.3, 0.3, 0.1, 0.3, 0.2]
    assert run_with_accuracies(accuracies, patience) == rounds


def test_a_client_heard_of_for_the_first_time_starts_the_counting_again():
    patience = Patience(2)
    assert not patience.runs_out(0.9, clients=1)
    assert not patience.runs_out(0.9, clients=1)
    assert not patience.runs_out(0.5, clients=2)  # which is no failure to improve
    assert not patience.runs_out(0.55, clients=2)
    assert not patience.runs_out(0.55, clients=2)
    assert patience.runs_out(0.55, clients=2)

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedsieve.contract import Expected, Replies, Reply
from fedsieve.protocols.fed_pub import EMBEDDING
from fedsieve.rows import Storage
from fedsieve.server.loop import RoundLoop
from fedsieve.strategies.fed_pub import FedPub
from tests.helpers import config
from tests.messages import METRICS, FakeGrid, reply, strategy_of

START = {"w": np.array([[7.0]], dtype=np.float32)}
LN2 = float(np.log(2))


def answer(client: int, round_: int, message: Message) -> Message:
    """Client k sends the weight 10·round + k, holds k + 1 examples, and computes along axis k."""
    arrays = {
        "w": np.array([[10.0 * round_ + client]], dtype=np.float32),
        EMBEDDING: np.eye(3, dtype=np.float32)[client],
    }
    return reply(message, arrays, METRICS | {"num-examples": client + 1})


def play(samples: list[tuple[int, ...]], num_clients: int = 3, reply_with: Any = answer) -> tuple[FakeGrid, FedPub]:
    """Play rounds in which these clients take part, with τ = ln 2: a client's own model weighs 2, others weigh 1."""
    run = config({"num-clients": num_clients, "num-rounds": len(samples), "hidden-dim": 3, "fed-pub.tau": LN2})
    grid, strategy = FakeGrid(num_clients, reply_with), strategy_of(run)
    assert isinstance(strategy, FedPub)

    class Scripted(RoundLoop):
        def sample(self, number: int) -> tuple[int, ...]:
            return samples[number - 1]

    Scripted(run, strategy, grid.nodes).play(grid, START)
    return grid, strategy


def received(grid: FakeGrid, client: int) -> list[float]:
    return [float(arrays["w"].item()) for arrays in grid.sent_to(client)]


def test_each_client_gets_its_own_mixture():
    grid, _ = play([(0, 1, 2), (0, 1, 2)])
    # round 1 sends 10, 11 and 12; client 0 gets (2·10 + 11 + 12) / 4
    assert received(grid, 0) == pytest.approx([7, 43 / 4])
    assert received(grid, 1) == pytest.approx([7, 44 / 4])
    assert received(grid, 2) == pytest.approx([7, 45 / 4])


def test_a_client_that_pauses_gets_its_own_last_mixture_and_a_new_one_the_mean():
    grid, _ = play([(0, 1), (1, 2), (0, 2), (0, 1)])
    # 1: sends 10, 11: client 0 mixes (2·10 + 11)/3, client 1 (10 + 2·11)/3, the mean by size (1·10 + 2·11)/3
    # 2: client 2 is new and gets that mean; 21, 22: client 1 mixes (2·21 + 22)/3, client 2 (21 + 2·22)/3
    # 3: client 0 has paused and gets its mixture of round 1; 30, 32: client 0 mixes (2·30 + 32)/3
    # 4: client 1 has paused and gets its mixture of round 2
    assert received(grid, 0) == pytest.approx([7, 31 / 3, 92 / 3])
    assert received(grid, 1) == pytest.approx([7, 32 / 3, 64 / 3])
    assert received(grid, 2) == pytest.approx([32 / 3, 65 / 3])


def test_a_client_never_sampled_gets_the_last_mean_for_the_metric():
    grid, strategy = play([(0, 1), (0, 1)])
    # round 2 sends 20 and 21; the mean by size is (1·20 + 2·21)/3
    assert received(grid, 2) == pytest.approx([62 / 3])
    assert strategy.state_of(2) == {}


def test_a_rejected_reply_leaves_the_clients_own_mixture_alone():
    def broken(client: int, round_: int, message: Message) -> Message | None:
        return None if (client, round_) == (0, 2) else answer(client, round_, message)

    grid, _ = play([(0, 1), (0, 1), (0, 1)], num_clients=2, reply_with=broken)
    # alone in round 2, client 1 gets its own weights back
    assert received(grid, 0) == pytest.approx([7, 31 / 3, 31 / 3])
    assert received(grid, 1) == pytest.approx([7, 32 / 3, 21])


def test_a_client_without_examples_neither_gives_nor_gets_a_mixture():
    def empty(client: int, round_: int, message: Message) -> Message:
        full = answer(client, round_, message)
        full.content["metrics"]["num-examples"] = 0 if client == 1 else 1
        return full

    grid, _ = play([(0, 1, 2), (0, 1, 2)], reply_with=empty)
    assert received(grid, 0) == pytest.approx([7, (2 * 10 + 12) / 3])
    assert received(grid, 1) == pytest.approx([7, (10 + 12) / 2])


def test_a_reply_needs_the_embedding():
    def without(client: int, round_: int, message: Message) -> Message:
        full = answer(client, round_, message)
        if client == 1 and round_ <= 2:
            del full.content["arrays"][EMBEDDING]
        return full

    grid, strategy = play([(0, 1), (0, 1)], num_clients=2, reply_with=without)
    assert received(grid, 1)[:2] == pytest.approx([7, 10])
    assert strategy.compared == [0]


def test_the_server_remembers_every_mixture_and_the_last_similarity():
    _, strategy = play([(0, 1), (1, 2)])
    kept = strategy.state()
    assert {name: array.item() for name, array in kept.items() if array.size == 1} == pytest.approx(
        {
            "shared/w": (2 * 21 + 3 * 22) / 5,
        }
    )
    own = [strategy.state_of(client)["w"].item() for client in range(3)]
    assert own == pytest.approx([31 / 3, 64 / 3, 65 / 3])
    assert kept["similarity"].tolist() == [[1, 0], [0, 1]]
    assert kept["compared"].tolist() == [1, 2]


def alone(*embeddings: list[float]) -> Replies:
    """Return a reply of each client, from client 0 on: the weight 10 + k and k + 1 examples."""
    return Replies(
        [
            Reply(
                client,
                {"w": np.float32([[10 + client]]), EMBEDDING: np.float32(embedding)},
                {"num-examples": client + 1},
            )
            for client, embedding in enumerate(embeddings)
        ]
    )


def test_the_length_of_an_embedding_is_that_of_most_of_the_first_replies(caplog: pytest.LogCaptureFixture):
    strategy = FedPub(tau=LN2)
    strategy.begin(START)
    assert strategy.expected()[EMBEDDING].at_most
    strategy.combine(alone([1, 0], [1, 0, 0], [0, 1]))
    # client 1 is of no use: client 0 mixes (2·10 + 12)/3, client 2 (10 + 2·12)/3, the mean by size is (10 + 3·12)/4
    assert strategy.compared == [0, 2]
    sent = [strategy.broadcast(client, acknowledged=True)["w"].item() for client in range(3)]
    assert sent == pytest.approx([32 / 3, 46 / 4, 34 / 3])
    assert "[2, 3, 2]" in caplog.text
    # from then on, another length is rejected with the reply
    assert strategy.expected()[EMBEDDING] == Expected((2,), np.dtype(np.float32))


def test_of_embeddings_of_one_length_all_count(caplog: pytest.LogCaptureFixture):
    strategy = FedPub(tau=LN2)
    strategy.begin(START)
    strategy.combine(alone([1, 0, 0], [0, 1, 0]))
    assert strategy.compared == [0, 1]
    assert strategy.embedding_dim == 3
    assert caplog.text == ""


def test_a_run_knows_the_length_from_its_network():
    strategy = strategy_of(config(hidden_dim=3))
    strategy.begin(START)
    assert strategy.expected()[EMBEDDING] == Expected((3,), np.dtype(np.float32))


@pytest.mark.parametrize("limit", [None, 0])
def test_mixtures_may_be_on_disk(limit: int | None, tmp_path: Path):
    strategy = FedPub(tau=LN2, embedding_dim=2)
    strategy.storage = Storage(limit, tmp_path)
    strategy.begin(START)
    strategy.combine(alone([1, 0], [0, 1]))
    assert [strategy.state_of(client)["w"].item() for client in (0, 1)] == pytest.approx([31 / 3, 32 / 3])

"""A network of four weights, in layers of one, one and two; clients 0, 1 and 2 hold 1, 1 and 2 examples."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedsieve.contract import Shape
from fedsieve.masks.binary import levels
from fedsieve.masks.codec import encode
from fedsieve.runs.rounds import Round
from fedsieve.strategies.fed_mask import FedMask
from tests.helpers import config
from tests.messages import METRICS, FakeGrid, reply, rounds_played, strategy_of

GROUPS = np.zeros(4, dtype=np.uint8)
"""Any will do: a code of four signs is a byte of them, or none where nothing flips."""

MASKS = {0: [1, 1, 0, 0], 1: [1, 0, 0, 1], 2: [1, 0, 0, 1]}


def answer(client: int, round_: int, message: Message) -> Message:
    mean = message.content["arrays"]["mean"].numpy()
    code = encode(np.array(MASKS[client], dtype=np.bool_), levels(mean), GROUPS)
    return reply(message, {"mask": code}, METRICS | {"num-examples": max(1, client)})


def play(num_rounds: int = 1, reply_with: Any = answer, num_clients: int = 3) -> tuple[FakeGrid, FedMask, list[Round]]:
    run = config(algorithm="fed-mask", num_clients=num_clients, hidden_dim=1, num_rounds=num_rounds)
    grid, strategy = FakeGrid(num_clients, reply_with), strategy_of(run, Shape((1,), 2))
    assert isinstance(strategy, FedMask)
    return grid, strategy, rounds_played(run, strategy, grid, {})


def test_everything_is_kept_at_first():
    grid, _, _ = play()
    (first,) = grid.sent_to(0)
    assert first["mean"].tolist() == [1, 1, 1, 1]
    assert first["overlap"].tolist() == [0b11110000]
    assert first["mean"].dtype == np.float32


def test_masks_are_averaged_by_size_and_shared_where_two_keep_a_weight():
    grid, strategy, _ = play(2)
    second = grid.sent_to(1)[1]
    # sizes 1, 1, 2: means (4, 1, 0, 1 + 2) / 4; kept by 3, 1, 0 and 2 masks
    assert second["mean"].tolist() == pytest.approx([1, 0.25, 0, 0.75])
    assert second["overlap"].tolist() == [0b10010000]
    assert {name: array.tolist() for name, array in strategy.state().items()} == {
        name: array.tolist() for name, array in second.items()
    }


def test_the_second_round_decodes_with_what_was_sent_in_it():
    grid, _, rounds = play(3)
    assert [round_.rejected for round_ in rounds] == [{}] * 3
    assert grid.sent_to(0)[2]["mean"].tolist() == grid.sent_to(0)[1]["mean"].tolist()


def test_a_single_mask_overlaps_nothing():
    _, strategy, _ = play(1, num_clients=1)
    assert strategy.sent["overlap"].tolist() == [0]
    assert strategy.mean.tolist() == [1, 1, 0, 0]


def test_the_global_model_holds_what_half_of_the_clients_keep():
    _, strategy, _ = play()
    model, frozen = strategy.global_model(), {name: tensor.numpy() for name, tensor in strategy.frozen.items()}
    kept = [model[name] == frozen[name] for name in ("conv1.weight", "conv2.weight", "classifier.weight")]
    assert [bool(bit) for layer in kept for bit in layer.flatten()] == [True, False, False, True]
    assert model["conv2.weight"].tolist() == [[0]]
    assert list(model) == list(frozen)
    assert model["classifier.bias"].tolist() == [0, 0]


def broken(code: bytes | None) -> Any:
    def answer_badly(client: int, round_: int, message: Message) -> Message:
        full = answer(client, round_, message)
        if client == 1:
            good = full.content["arrays"]["mask"].numpy()
            data = good[:-1] if code is None else np.frombuffer(code, np.uint8)
            full = reply(message, {"mask": data})
        return full

    return answer_badly


@pytest.mark.parametrize(
    ("code", "reason"), [(None, "it is cut off, altered"), (b"\x90\x04abc", "version 9"), (bytes(999), "at most")]
)
def test_a_bad_code_is_rejected_with_the_reason(code: bytes | None, reason: str):
    _, strategy, rounds = play(1, broken(code))
    assert reason in rounds[0].rejected[1]
    # without client 1, sizes are 1 and 2
    assert strategy.mean.tolist() == pytest.approx([1, 1 / 3, 0, 2 / 3])

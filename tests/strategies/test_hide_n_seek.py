"""A network of four weights, in layers of one, one and two; clients 0, 1 and 2 hold 1, 1 and 2 examples."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message

from fedsieve import seeds
from fedsieve.algorithms import kebab
from fedsieve.config import RunConfig
from fedsieve.contract import Shape
from fedsieve.errors import UserError
from fedsieve.masks.codec import encode, max_code_bytes
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.pruning import prune, pruner_names
from fedsieve.models import make_ones
from fedsieve.runs.rounds import Round
from fedsieve.strategies import hide_n_seek
from fedsieve.strategies.hide_n_seek import HideNseek
from tests import messages
from tests.helpers import config
from tests.messages import METRICS, Answer, FakeGrid, failure, reply, rounds_played

GROUPS = np.zeros(4, dtype=np.uint8)
"""Any will do: a code of four signs is a byte of them, or none where nothing flips."""

SIGNS = {0: [1, 1, 0, 0], 1: [1, 0, 0, 1], 2: [1, 0, 0, 1]}
"""1 for +1; weighted by size their mean is (4, 1 - 1 - 2, -4, -1 + 1 + 2) / 4 = (1, -0.5, -1, 0.5)."""


def broadcast_in(message: Message) -> np.ndarray:
    """Return the mean sign times 127 in a message, whichever way it is sent."""
    arrays = message.content["arrays"]
    if "mean" in arrays:
        mean: np.ndarray = arrays["mean"].numpy()
        return mean
    return np.where(np.unpackbits(arrays["vote"].numpy(), count=4) == 1, 127, -127).astype(np.int8)


def code_of(client: int, message: Message) -> np.ndarray:
    return encode(np.array(SIGNS[client], dtype=np.bool_), broadcast_in(message), GROUPS)


def answer(client: int, round_: int, message: Message) -> Message:
    return reply(message, {"signs": code_of(client, message)}, METRICS | {"num-examples": max(1, client)})


def run_of(keys: Mapping[str, Any] | None = None, **run: Any) -> RunConfig:
    plain = {"algorithm": "hide-n-seek", "num-clients": 3, "hidden-dim": 1, "seed": 42}
    own = {"density": 1.0, "memory": 0.7, "aggregate": "mean", "pruner": "synflow", "init": "kaiming-normal"}
    return config(
        plain
        | {kebab(key): value for key, value in run.items()}
        | {f"hide-n-seek.{key}": value for key, value in (own | dict(keys or {})).items()}
    )


def strategy_of(run: RunConfig, shape: Shape = Shape((1,), 2)) -> HideNseek:  # noqa: B008
    strategy = messages.strategy_of(run, shape)
    assert isinstance(strategy, HideNseek)
    return strategy


def play(
    num_rounds: int = 1, answer_with: Answer = answer, keys: Mapping[str, Any] | None = None, **run: Any
) -> tuple[FakeGrid, HideNseek, list[Round]]:
    full = run_of(keys, num_rounds=num_rounds, **run)
    grid, strategy = FakeGrid(3, answer_with), strategy_of(full)
    return grid, strategy, rounds_played(full, strategy, grid, {})


def except_for(client: int, badly: Answer, in_round: int = 1) -> Answer:
    return lambda asked, round_, message: (badly if (asked, round_) == (client, in_round) else answer)(
        asked, round_, message
    )


def test_the_first_message_carries_the_keep_mask_and_plus_for_every_weight():
    grid, _, _ = play()
    for client in range(3):
        (first,) = grid.sent_to(client)
        assert {name: array.tolist() for name, array in first.items()} == {"mean": [127] * 4, "keep": [0b11110000]}
        assert first["mean"].dtype == np.int8


def test_the_average_remembers_and_is_weighted_by_size():
    grid, strategy, _ = play(2)
    second = grid.sent_to(0)[1]["mean"]
    # 0.7·1 + 0.3·(1, -0.5, -1, 0.5) = (1, 0.55, 0.4, 0.85); times 127 (127, 69.85, 50.8, 107.95)
    assert second.tolist() == [127, 70, 51, 108]
    # 0.7·(1, 0.55, 0.4, 0.85) + 0.3·(1, -0.5, -1, 0.5); the average itself is not rounded
    assert strategy.average.tolist() == pytest.approx([1, 0.235, -0.02, 0.745], abs=1e-6)
    assert strategy.average.dtype == np.float64
    assert strategy.mean.tolist() == [127, 30, -3, 95]
    assert strategy.mean.dtype == np.int8


def test_without_memory_it_is_the_mean_of_the_rounds_signs():
    _, strategy, _ = play(keys={"memory": 0.0})
    # 127·(1, -0.5, -1, 0.5), halves to even
    assert strategy.mean.tolist() == [127, -64, -127, 64]


def test_under_vote_the_majoritys_signs_are_sent_as_bits():
    grid, strategy, rounds = play(2, keys={"aggregate": "vote", "memory": 0.7})
    first, second = grid.sent_to(0)
    assert {name: array.tolist() for name, array in first.items()} == {"vote": [0b11110000], "keep": [0b11110000]}
    assert {name: array.tolist() for name, array in second.items()} == {"vote": [0b10010000]}
    assert strategy.mean.tolist() == [127, -127, -127, 127]
    assert [round_.rejected for round_ in rounds] == [{}] * 2


def test_a_narrow_vote_counts():
    def narrow(client: int, round_: int, message: Message) -> Message | None:
        if client == 2:
            return None
        code = encode(np.full(4, client == 0), broadcast_in(message), GROUPS)
        return reply(message, {"signs": code}, METRICS | {"num-examples": 500 + client})

    _, strategy, _ = play(1, narrow, {"aggregate": "vote"})
    # -1/1001, which a 127th would round to 0
    assert strategy.mean.tolist() == [-127] * 4


def test_a_tied_vote_is_plus():
    opposite = {0: [1, 1, 0, 0], 1: [0, 0, 1, 1]}

    def tied(client: int, round_: int, message: Message) -> Message | None:
        if client == 2:
            return None
        code = encode(np.array(opposite[client], dtype=np.bool_), broadcast_in(message), GROUPS)
        return reply(message, {"signs": code})

    _, strategy, _ = play(1, tied, {"aggregate": "vote", "memory": 0.0})
    assert strategy.average.tolist() == [0, 0, 0, 0]
    assert strategy.mean.tolist() == [127] * 4
    # so does a mean of 0 in the global model
    _, strategy, _ = play(1, tied, {"memory": 0.0})
    assert strategy.mean.tolist() == [0] * 4
    model = strategy.global_model()
    assert all(torch.equal(torch.from_numpy(model[name]), frozen) for name, frozen in frozen_of(strategy).items())


def test_a_client_that_has_answered_gets_no_keep_mask_again():
    grid, _, rounds = play(3)
    assert [["keep" in arrays for arrays in grid.sent_to(client)] for client in range(3)] == [[True, False, False]] * 3
    assert [round_.rejected for round_ in rounds] == [{}] * 3


def test_a_client_gets_the_keep_mask_when_it_is_sampled_first():
    grid, _, _ = play(12, fraction_train=0.4)
    # one client a round; those that no round sampled are asked in a last one
    assert {len(grid.asked(number)) for number in range(1, 13)} == {1}
    for client in range(3):
        first, *others = grid.sent_to(client)
        assert "keep" in first
        assert not any("keep" in arrays for arrays in others)
    assert max(len(grid.sent_to(client)) for client in range(3)) > 1


def cut_off(client: int, round_: int, message: Message) -> Message:
    return reply(message, {"signs": code_of(client, message)[:-1]})


def too_long(client: int, round_: int, message: Message) -> Message:
    return reply(message, {"signs": np.zeros(999, dtype=np.uint8)})


def altered(client: int, round_: int, message: Message) -> Message:
    code = code_of(client, message).copy()
    code[-4] ^= 0b10000000
    return reply(message, {"signs": code})


def of_three_signs(client: int, round_: int, message: Message) -> Message:
    return reply(message, {"signs": encode(np.ones(3, dtype=np.bool_), np.full(3, 127, dtype=np.int8), GROUPS[:3])})


def of_another_type(client: int, round_: int, message: Message) -> Message:
    return reply(message, {"signs": np.zeros(3, dtype=np.float32)})


DAMAGED = "mask code's checksum does not match: it is cut off, altered, or of another broadcast"
BAD: list[tuple[Answer, str]] = [
    (lambda _, __, message: failure(message, 2, "no power"), "failed: no power"),
    (lambda *_: None, "no reply in time"),
    (cut_off, DAMAGED),
    (too_long, f"array signs has shape (999,) where at most ({max_code_bytes(4)},) is expected"),
    (altered, DAMAGED),
    (of_three_signs, "mask code holds 3 signs where 4 are expected"),
    (of_another_type, "array signs is float32 (3,) where uint8 (3,) is expected"),
    (lambda _, __, message: reply(message, {}), "array keys differ from those expected: signs"),
]


@pytest.mark.parametrize(("badly", "reason"), BAD)
@pytest.mark.parametrize("in_round", [1, 2])
def test_a_reply_of_no_use_is_left_out_with_the_reason_and_its_sender_gets_the_keep_mask_again(
    badly: Answer, reason: str, in_round: int
):
    grid, _, rounds = play(3, except_for(1, badly, in_round))
    assert [round_.rejected for round_ in rounds] == [{1: reason} if n == in_round else {} for n in (1, 2, 3)]
    again = [True, in_round == 1, in_round == 2]
    assert ["keep" in arrays for arrays in grid.sent_to(1)] == again
    assert ["keep" in arrays for arrays in grid.sent_to(0)] == [True, False, False]


def test_a_client_left_out_counts_for_nothing():
    _, strategy, _ = play(1, except_for(1, cut_off), {"memory": 0.0})
    # sizes 1 and 2: (3, 1 - 2, -3, -1 + 2) / 3
    assert strategy.average.tolist() == pytest.approx([1, -1 / 3, -1, 1 / 3])


def test_a_client_without_examples_counts_for_nothing():
    def empty(client: int, round_: int, message: Message) -> Message:
        full = answer(client, round_, message)
        full.content["metrics"]["num-examples"] = client
        return full

    _, strategy, rounds = play(1, empty, {"memory": 0.0})
    assert rounds[0].rejected == {}
    assert strategy.average.tolist() == pytest.approx([1, -1, -1, 1])


def frozen_of(strategy: HideNseek) -> dict[str, torch.Tensor]:
    network = copy.deepcopy(strategy.network)
    freeze_(network, "kaiming-normal", 42, 4.0)  # the gain on graphs
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def test_the_global_model_is_the_frozen_weights_with_the_signs_of_the_mean():
    _, strategy, _ = play(2)  # of mean (127, 30, -3, 95)
    frozen, model = frozen_of(strategy), strategy.global_model()
    assert list(model) == list(frozen)
    signs = {"conv1.weight": [[1]], "conv2.weight": [[1]], "classifier.weight": [[-1], [1]]}
    for name, sign in signs.items():
        assert torch.equal(torch.from_numpy(model[name]), frozen[name] * torch.tensor(sign)), name
    assert model["classifier.bias"].tolist() == [0, 0]


def test_the_global_model_is_0_where_weights_are_pruned():
    strategy = strategy_of(run_of({"density": 0.4}, hidden_dim=4), Shape((5,), 3))
    strategy.begin({})
    model, frozen = strategy.global_model(), frozen_of(strategy)
    for name, keep in strategy.survivors.keep.items():
        assert torch.equal(torch.from_numpy(model[name]), torch.where(keep, frozen[name], 0.0))


def test_the_checkpoint_is_the_keep_mask_and_the_average():
    _, strategy, _ = play(1)
    kept = {name: array.tolist() for name, array in strategy.state().items()}
    assert kept == {"keep": [0b11110000], "average": pytest.approx([1, 0.55, 0.4, 0.85])}


def keep_mask(pruner: str, seed: int = 42, density: float = 0.5) -> list[int]:
    strategy = strategy_of(run_of({"pruner": pruner, "density": density}, hidden_dim=4, seed=seed), Shape((5,), 3))
    strategy.begin({})
    # 5·4 + 4·4 + 3·4 weights
    assert sum(strategy.survivors.layer_sizes) == round(density * 48)
    assert strategy.mean.size == round(density * 48)
    network = copy.deepcopy(strategy.network)
    freeze_(network, "kaiming-normal", seed)
    random = seeds.random_state(seed, "pruning")
    expected = prune(pruner, network, make_ones(Shape((5,), 3), torch.float64), density, random)
    assert all(torch.equal(strategy.survivors.keep[name], mask) for name, mask in expected.items())
    found: list[int] = strategy.keep.tolist()
    return found


@pytest.mark.parametrize("pruner", pruner_names())
def test_every_pruner_prunes_and_one_seed_gives_one_keep_mask(pruner: str):
    first = keep_mask(pruner)
    torch.manual_seed(5)
    assert keep_mask(pruner) == first
    assert keep_mask(pruner, seed=43) != first


def test_pruners_keep_different_weights():
    assert len({tuple(keep_mask(pruner)) for pruner in pruner_names()}) == len(pruner_names())


def test_a_network_that_cannot_be_pruned_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def overflows(*_: Any) -> None:
        raise FloatingPointError("SynFlow: it overflows")

    monkeypatch.setattr(hide_n_seek, "prune", overflows)
    with pytest.raises(
        UserError, match=r"^hide-n-seek.pruner: got 'synflow', but SynFlow: it overflows, allowed: erk, "
    ):
        strategy_of(run_of()).begin({})

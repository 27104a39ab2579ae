"""A network of four weights, in layers of one, one and two, and two clients; sizes do not count."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedsieve.contract import Shape
from fedsieve.masks.binary import levels
from fedsieve.masks.codec import encode
from fedsieve.runs.rounds import Round
from fedsieve.strategies.fed_pm import FedPM
from tests.helpers import config
from tests.messages import METRICS, FakeGrid, reply, rounds_played, strategy_of

GROUPS = np.zeros(4, dtype=np.uint8)
"""Any will do: a code of four signs is a byte of them, or none where nothing flips."""

MASKS = {1: ([1, 1, 0, 0], [1, 0, 0, 1]), 2: ([1, 0, 0, 1], [1, 0, 0, 1]), 3: ([0, 0, 0, 0], [0, 1, 0, 0])}
"""By round, those of clients 0 and 1."""


def answer(client: int, round_: int, message: Message) -> Message:
    theta = message.content["arrays"]["theta"].numpy()
    code = encode(np.array(MASKS[round_][client], dtype=np.bool_), levels(theta), GROUPS)
    return reply(message, {"mask": code}, METRICS | {"num-examples": 1 + 8 * client})


def play(
    num_rounds: int, keys: dict[str, Any] | None = None, reply_with: Any = answer
) -> tuple[FakeGrid, FedPM, list[Round]]:
    run = config({"algorithm": "fed-pm", "num-clients": 2, "hidden-dim": 1, "num-rounds": num_rounds} | (keys or {}))
    grid, strategy = FakeGrid(2, reply_with), strategy_of(run, Shape((1,), 2))
    assert isinstance(strategy, FedPM)
    return grid, strategy, rounds_played(run, strategy, grid, {})


def test_theta_begins_at_one_half_and_is_the_mode_of_the_posterior():
    grid, strategy, _ = play(2)
    first, second = (arrays["theta"] for arrays in grid.sent_to(0))
    assert first.tolist() == [0.5] * 4
    assert first.dtype == second.dtype == np.float32
    # α = 1 + (2, 1, 0, 1), β = 1 + (0, 1, 2, 1): θ = (2, 1, 0, 1) / 2, bounded
    assert second.tolist() == pytest.approx([0.99, 0.5, 0.01, 0.5])
    # every client takes part in every round, so each round begins at the prior: θ = (2, 0, 0, 2) / 2
    assert strategy.theta.tolist() == pytest.approx([0.99, 0.01, 0.01, 0.99])


def test_evidence_is_kept_until_the_reset():
    grid, strategy, _ = play(3, {"fed-pm.reset": 2})
    # rounds 1 and 2 together: θ = (2 + 2, 1 + 0, 0, 1 + 2) / 4
    assert grid.sent_to(0)[2]["theta"].tolist() == pytest.approx([0.99, 0.25, 0.01, 0.75])
    # round 3 begins at the prior: θ = (0, 1, 0, 0) / 2
    assert strategy.theta.tolist() == pytest.approx([0.01, 0.5, 0.01, 0.01])
    assert strategy.alpha.tolist() == [1, 2, 1, 1]
    assert strategy.beta.tolist() == [3, 2, 3, 3]
    assert set(strategy.state()) == {"theta", "alpha", "beta", "combined"}


def test_the_prior_by_hand():
    _, strategy, _ = play(1, {"fed-pm.prior": 2.0})
    # α = 2 + (2, 1, 0, 1), β = 2 + (0, 1, 2, 1): θ = (α - 1) / (α + β - 2)
    assert strategy.theta.tolist() == pytest.approx([3 / 4, 2 / 4, 1 / 4, 2 / 4])


@pytest.mark.parametrize(("fraction", "reset", "rounds"), [(1.0, 0, 1), (0.3, 0, 4), (0.1, 0, 10), (0.1, 3, 3)])
def test_the_reset_follows_participation(fraction: float, reset: int, rounds: int):
    _, strategy, _ = play(0, {"fraction-train": fraction, "fed-pm.reset": reset})
    assert strategy.reset == rounds


def test_the_global_model_is_the_likeliest():
    _, strategy, _ = play(1)
    model, frozen = strategy.global_model(), {name: tensor.numpy() for name, tensor in strategy.frozen.items()}
    kept = [model[name] == frozen[name] for name in ("conv1.weight", "conv2.weight", "classifier.weight")]
    assert [bool(bit) for layer in kept for bit in layer.flatten()] == [True, True, False, True]
    assert list(model) == list(frozen)


def test_a_bad_code_is_rejected_with_the_reason_and_counts_for_nothing():
    def broken(client: int, round_: int, message: Message) -> Message:
        if client == 0:
            return answer(client, round_, message)
        theta = message.content["arrays"]["theta"].numpy()
        return reply(message, {"mask": encode(np.ones(3, dtype=np.bool_), levels(theta[:3]), GROUPS[:3])})

    _, strategy, rounds = play(1, reply_with=broken)
    assert rounds[0].rejected == {1: "mask code holds 3 signs where 4 are expected"}
    assert strategy.theta.tolist() == pytest.approx([0.99, 0.99, 0.01, 0.01])


def test_a_client_without_examples_gives_no_evidence():
    def empty(client: int, round_: int, message: Message) -> Message:
        full = answer(client, round_, message)
        full.content["metrics"]["num-examples"] = client
        return full

    _, strategy, _ = play(1, reply_with=empty)
    assert strategy.theta.tolist() == pytest.approx([0.99, 0.01, 0.01, 0.99])

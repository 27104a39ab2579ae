"""FedPM by hand: w = (1, -2), x = (1, 2), lr 0.5, so one step takes 0.5·w·x·θ·(1 - θ) from the scores."""

import numpy as np
import pytest
import torch

from fedsieve.algorithms import load_algorithm
from fedsieve.client.fed_pm import FedPMTrainer
from fedsieve.contract import Tensors
from fedsieve.masks.binary import levels
from fedsieve.masks.codec import decode
from fedsieve.server.screening import REQUIRED
from tests.client.toy import Toy, linear
from tests.helpers import config

W = torch.tensor([[1.0, -2.0]])


def made(**keys: object) -> FedPMTrainer:
    run = config({"algorithm": "fed-pm", "optimizer": "sgd", "lr": 0.5, "weight-decay": 0.0, "local-epochs": 1} | keys)
    ours = FedPMTrainer(run, run.settings, linear([9.0, 9.0], 9.0))  # type: ignore[arg-type]
    ours.weights["weight"].data = W.clone()
    return ours


def sent(*theta: float) -> Tensors:
    return {"theta": torch.tensor(theta)}


def test_one_step_of_the_scores():
    ours = made()
    ours.train(Toy(), sent(0.5, 0.75), {})
    # w·x·θ·(1 - θ) = (1·1/4, -2·2·3/16)
    assert ours.scores["weight"].flatten().tolist() == pytest.approx([-0.125, np.log(3) + 0.375])


def test_the_mask_sent_is_the_one_evaluated_and_kept():
    for seed in range(6):
        torch.manual_seed(seed)
        ours, task = made(), Toy()
        result = ours.train(task, sent(0.5, 0.5), {})
        bits = decode(result.arrays["mask"].numpy(), levels(np.float32([0.5, 0.5])), ours.groups)
        evaluated = W * torch.from_numpy(bits)
        assert torch.equal(task.seen[-1], evaluated)
        assert result.state["mask"].tolist() == np.packbits(bits).tolist()
        assert result.metrics["mask-sparsity"] == 1 - bits.mean()
        ours.train(Toy(), sent(0.01, 0.01), {})  # another client in between
        model = ours.personal_model(result.state)
        assert torch.equal(model["weight"], evaluated)
        assert model["bias"].tolist() == [0]


def test_what_is_received_is_evaluated_as_a_mask_drawn_from_it():
    torch.manual_seed(0)
    ours, kept = made(), []
    for _ in range(400):
        task = Toy(num_examples=0)
        ours.train(task, sent(0.75, 0.01), {})
        kept.append(task.seen[0].flatten().tolist())
    assert {w[0] for w in kept} == {0.0, 1.0}
    assert 0.68 < np.mean([w[0] for w in kept]) < 0.82
    assert np.mean([w[1] == 0 for w in kept]) > 0.95


def test_the_same_seed_draws_the_same_masks():
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(made(**{"local-epochs": 4}).train(Toy(), sent(0.5, 0.5), {}))
    assert torch.equal(results[0].arrays["mask"], results[1].arrays["mask"])


def test_each_round_starts_from_the_theta_received_alone():
    ours = made()
    first = ours.train(Toy(), sent(0.5, 0.5), {})
    ours.train(Toy(), sent(0.5, 0.75), first.state)
    assert ours.scores["weight"].flatten().tolist() == pytest.approx([-0.125, np.log(3) + 0.375])


def test_a_client_without_examples_answers():
    ours = made()
    result = ours.train(Toy(num_examples=0), sent(0.5, 0.75), {})
    assert ours.scores["weight"].flatten().tolist() == pytest.approx([0, np.log(3)])
    assert set(result.metrics) >= REQUIRED
    assert result.metrics["num-examples"] == 0


def test_by_default_weights_are_signed_constants_and_the_learning_rate_is_the_papers():
    run = config({"algorithm": "fed-pm"})
    ours = FedPMTrainer(run, run.settings, linear([9.0, 9.0], 9.0))  # type: ignore[arg-type]
    assert ours.weights["weight"].abs().tolist() == [[4, 4]]  # 4 · sqrt(2 / fan_in), on graphs
    assert run.lr == 0.1
    assert load_algorithm("fed-pm").load_trainer() is FedPMTrainer

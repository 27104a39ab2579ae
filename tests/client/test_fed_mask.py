"""FedMask by hand: w = (1, -2), x = (1, 2), lr 0.5, so one step takes 0.5·w·x = (0.5, -2) from the latents."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsieve.algorithms import load_algorithm
from fedsieve.client.fed_mask import FedMaskTrainer
from fedsieve.contract import Evaluation, Shape, Tensors, TrainResult
from fedsieve.inputs import run_network
from fedsieve.masks.attach import weights
from fedsieve.masks.binary import levels
from fedsieve.masks.codec import decode
from fedsieve.masks.frozen import freeze_
from fedsieve.models import build, initial_weights, make_ones
from fedsieve.server.screening import REQUIRED
from tests.client.toy import Toy, linear
from tests.helpers import config
from tests.messages import strategy_of


def made(**keys: object) -> FedMaskTrainer:
    run = config(
        {"algorithm": "fed-mask", "optimizer": "sgd", "lr": 0.5, "weight-decay": 0.0, "local-epochs": 1} | keys
    )
    ours = FedMaskTrainer(run, run.settings, linear([9.0, 9.0], 9.0))  # type: ignore[arg-type]
    ours.weights["weight"].data = torch.tensor([[1.0, -2.0]])
    return ours


def sent(mean: list[float], overlap: list[int]) -> Tensors:
    return {
        "mean": torch.tensor(mean, dtype=torch.float32),
        "overlap": torch.from_numpy(np.packbits(np.array(overlap, dtype=np.uint8))),
    }


def mask_of(result: TrainResult, mean: list[float]) -> list[bool]:
    found: list[bool] = decode(result.arrays["mask"].numpy(), levels(np.float32(mean)), made().groups).tolist()
    return found


def test_one_step_from_all_ones():
    task, ours = Toy(), made()
    result = ours.train(task, sent([1, 1], [1, 1]), {})
    # latents (0.1, 0.1) - (0.5, -2)
    assert ours.latents["weight"].flatten().tolist() == pytest.approx([-0.4, 2.1])
    assert mask_of(result, [1, 1]) == [False, True]
    assert [seen.tolist() for seen in task.seen] == [[[1, -2]], [[0, -2]]]
    assert result.metrics["mask-sparsity"] == 0.5
    assert set(result.metrics) >= REQUIRED
    assert set(result.arrays) == {"mask"}


def test_latents_restart_at_a_multiple_of_the_centred_mean():
    ours = made(**{"fed-mask.restart": 2.0})
    ours.train(Toy(num_examples=0), sent([0.25, 0.5], [1, 1]), {})
    assert ours.latents["weight"].tolist() == [[-1, 0]]


def test_outside_the_overlap_a_client_keeps_its_own_elements():
    ours = made()
    state = ours.train(Toy(num_examples=0), sent([0.9, 0.1], [1, 1]), {}).state
    # its mask is (1, 0); of the second broadcast, which says (0, 1), it takes what is in the overlap
    for overlap, expected in (([1, 1], [0, -2]), ([0, 0], [1, 0]), ([1, 0], [0, 0]), ([0, 1], [1, -2])):
        task = Toy()
        ours.train(task, sent([0.1, 0.9], overlap), dict(state))
        assert task.seen[0].flatten().tolist() == expected


def test_a_client_without_a_mask_takes_the_mean_everywhere():
    task = Toy()
    made().train(task, sent([0.1, 0.9], [0, 0]), {})
    assert task.seen[0].tolist() == [[0, -2]]


def test_the_personal_model_is_what_was_evaluated_and_survives_other_clients():
    ours, task = made(), Toy()
    state = ours.train(task, sent([1, 1], [1, 1]), {}).state
    assert state["mask"].tolist() == [0b01000000]
    ours.train(Toy(), sent([0, 0], [1, 1]), {})
    model = ours.personal_model(state)
    assert torch.equal(model["weight"], task.seen[-1])
    assert model["bias"].tolist() == [0]  # as freeze_ leaves it


def test_a_client_without_examples_answers_with_what_it_starts_from():
    result = made().train(Toy(num_examples=0), sent([0.9, 0.1], [1, 1]), {})
    assert mask_of(result, [0.9, 0.1]) == [True, False]
    assert result.metrics["num-examples"] == 0


class OnOnes:
    """Trains any network on one input of ones."""

    num_examples = 1
    num_batches = 1

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.seen: list[Tensor] = []

    def batches(self) -> Iterator[Any]:
        yield make_ones(self.shape)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return run_network(model, batch).square().sum()

    def evaluate(self, model: nn.Module) -> Evaluation:
        model.eval()
        self.seen.append(run_network(model, make_ones(self.shape)))
        return Evaluation(1.0, 5, 1.0, 6, 1.0)

    def functional_embedding(self, model: nn.Module) -> Tensor:
        raise NotImplementedError


NETWORKS = [("digits-knn", name, Shape((5,), 3)) for name in ("gcn", "sage", "gat")]
NETWORKS += [("digits", "lenet", Shape((1, 28, 28), 10))]


@pytest.mark.parametrize(("dataset", "model", "shape"), NETWORKS)
@pytest.mark.parametrize("algorithm", ["fed-mask", "fed-pm", "lottery-fl"])
def test_on_any_network_the_personal_model_computes_what_was_evaluated(
    algorithm: str, dataset: str, model: str, shape: Shape
):
    keys = {"algorithm": algorithm, "dataset": dataset, "model": model, "hidden-dim": 4, "dropout": 0.0}
    run = config(keys | {"local-epochs": 2})
    initial = {name: tensor.numpy() for name, tensor in initial_weights(run, shape).items()}
    server = strategy_of(run, shape)
    server.begin(initial)
    ours, state = load_algorithm(algorithm).load_trainer()(run, run.settings, build(run, shape)), {}
    for round_ in (1, 2):
        task = OnOnes(shape)
        received = {name: torch.from_numpy(array.copy()) for name, array in server.broadcast(0, round_ > 1).items()}
        result = ours.train(task, received, state)
        state = result.state
        arrays = {name: tensor.numpy() for name, tensor in result.arrays.items()}
        assert set(arrays) == set(server.expected())
        server.unpack(0, arrays)
        plain = build(run, shape).eval()
        for name, parameter in weights(plain).items():
            parameter.data = ours.personal_model(state)[name]
        assert torch.equal(run_network(plain, make_ones(shape)), task.seen[-1])
    folded = server.global_model()
    assert folded is not None
    assert {name: array.shape for name, array in folded.items()} == {name: a.shape for name, a in initial.items()}


def test_the_frozen_weights_are_those_of_hide_n_seek():
    run = config({"algorithm": "fed-mask"})
    ours, other = FedMaskTrainer(run, run.settings, linear([9.0, 9.0], 9.0)), linear([9.0, 9.0], 9.0)  # type: ignore[arg-type]
    freeze_(other, "kaiming-normal", run.seed, 4.0)  # on graphs
    assert torch.equal(ours.weights["weight"], other.weight)

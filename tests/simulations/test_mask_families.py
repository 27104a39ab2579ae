"""Every family of masks under every algorithm that takes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fedsieve.algorithms import load_algorithm
from fedsieve.config import parse, read
from fedsieve.contract import Shape, Tensors
from fedsieve.errors import UserError
from fedsieve.inputs import run_network
from fedsieve.masks.attach import weights
from fedsieve.masks.family import MaskLayout, family_of
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.planes import encode_letters
from fedsieve.models import build, initial_weights, make_ones
from fedsieve.simulations import resume
from fedsieve.strategies.fed_mask import FedMask
from tests.client.test_fed_mask import NETWORKS, OnOnes
from tests.helpers import assert_same_run, config, simulated, summary_of
from tests.messages import strategy_of
from tests.simulations.test_resume import KEYS, interrupted

TAKEN: dict[str, list[str]] = {
    "fed-mask": ["binary", "sign", "ternary", "2:4", "1:3"],
    "hide-n-seek": ["binary", "sign", "ternary", "2:4"],
    "fed-pub": ["personal", "binary", "sign", "ternary", "2:4", "magnitude:0.5", "erk:0.5"],
    "fed-pm": ["binary"],
    "lottery-fl": ["magnitude"],
}
PAIRS = [(algorithm, mask) for algorithm, masks in TAKEN.items() for mask in masks]
SMALL: dict[str, Any] = {"dataset": "digits", "num-clients": 3, "num-rounds": 2, "examples-per-client": 60}
GRAPH: dict[str, Any] = {"dataset": "digits-knn", "num-clients": 3, "num-rounds": 2, "hidden-dim": 6}


def keys(algorithm: str, mask: str) -> dict[str, Any]:
    """Return the keys that choose a family; a choice within units needs all of their inputs."""
    dense = {"hide-n-seek.density": 1.0} if (algorithm, mask) == ("hide-n-seek", "2:4") else {}
    only = {} if algorithm in {"fed-pm", "lottery-fl"} else {f"{algorithm}.mask": mask}  # which have one family each
    return {"algorithm": algorithm, "local-epochs": 2, "lr": 0.03} | only | dense


def entries_of(folder: Path, client: int) -> tuple[Tensor, MaskLayout]:
    """Return what a client's model multiplies the frozen weights by, one vector of those that are not 0."""
    run = parse(read(folder / "config.toml"))
    shape = Shape((1, 8, 8), 10) if run.dataset == "digits" else Shape((64,), 10)
    network = build(run, shape)
    layout = MaskLayout.of_network(network)
    frozen = freeze_(network, run.settings.init, run.seed, run.settings.frozen_gain)  # type: ignore[attr-defined]
    model = load_file(folder / "model" / f"client-{client}.safetensors")
    return torch.cat([(model[name] / frozen[name]).flatten() for name in layout.shapes]), layout


@pytest.mark.parametrize(("algorithm", "mask"), PAIRS)
def test_every_pair_runs_on_images(algorithm: str, mask: str, tmp_path: Path):
    folder = simulated(tmp_path / "run", SMALL | keys(algorithm, mask))
    summary = summary_of(folder)
    assert (summary["num_rounds"], summary["rejected_replies"]) == (2, 0)
    if algorithm not in ("fed-mask", "hide-n-seek"):
        return
    family = family_of("mask", mask)
    found, layout = entries_of(folder, 0)
    letters = {-1.0, 0.0, 1.0} if algorithm == "hide-n-seek" and mask == "sign" else set(map(float, family.alphabet))
    assert set(found.tolist()) <= letters
    if family.scope == "row":
        layout.check(family, found)
    n = len(found) if algorithm == "fed-mask" or mask == "2:4" else round(0.2 * len(found))
    assert summary["uplink_payload_bytes_per_client_round"] <= (len(family.alphabet) - 1) * (n / 8 + 8) + 4


@pytest.mark.parametrize(
    ("algorithm", "mask"),
    [("fed-mask", "ternary"), ("fed-mask", "2:4"), ("hide-n-seek", "binary"), ("hide-n-seek", "2:4"),
     ("fed-pub", "2:4"), ("fed-pub", "erk:0.5")],
)  # fmt: skip
def test_some_run_on_a_graph(algorithm: str, mask: str, tmp_path: Path):
    folder = simulated(tmp_path / "run", GRAPH | keys(algorithm, mask))
    summary = summary_of(folder)
    assert (summary["num_rounds"], summary["rejected_replies"]) == (2, 0)
    if mask in ("2:4", "erk:0.5") and algorithm != "hide-n-seek":
        # rows of 64, 6 and 6 inputs: a last group of two keeps one
        assert summary["mask_sparsity"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("algorithm", "mask"), [pair for pair in PAIRS if pair[0] in ("fed-mask", "hide-n-seek", "fed-pub")]
)
@pytest.mark.parametrize(("dataset", "model", "shape"), NETWORKS)
def test_the_personal_model_computes_what_was_evaluated(
    algorithm: str, mask: str, dataset: str, model: str, shape: Shape
):
    run = config(
        {"dataset": dataset, "model": model, "hidden-dim": 4, "dropout": 0.0} | keys(algorithm, mask) | {"lr": 0.3}
    )
    server = strategy_of(run, shape)
    server.begin({name: tensor.numpy() for name, tensor in initial_weights(run, shape).items()})
    ours = load_algorithm(algorithm).load_trainer()(run, run.settings, build(run, shape))
    state: Tensors = {}
    for round_ in (1, 2):
        task = OnOnes(shape)
        if algorithm == "fed-pub":
            task.functional_embedding = lambda _: torch.ones(1)  # type: ignore[method-assign]
        received = {name: torch.from_numpy(array.copy()) for name, array in server.broadcast(0, round_ > 1).items()}
        result = ours.train(task, received, state)
        state = {name: tensor.clone() for name, tensor in result.state.items()}
        if algorithm != "fed-pub":
            arrays = {name: tensor.numpy() for name, tensor in result.arrays.items()}
            assert set(arrays) == set(server.expected())
            (unpacked,) = server.unpack(0, arrays).values()
            assert unpacked.tolist() == state["mask" if algorithm == "fed-mask" else "signs"].tolist()
        plain = build(run, shape).eval()
        folded = ours.personal_model(state)
        for name, parameter in weights(plain).items():
            parameter.data = folded[name]
        assert torch.equal(run_network(plain, make_ones(shape)), task.seen[-1])


def test_a_static_mask_under_fed_pub_follows_the_weights_that_are_received():
    run = config(SMALL | {"model": "mlp"} | keys("fed-pub", "magnitude:0.25"))
    shape = Shape((1, 8, 8), 10)
    ours = load_algorithm("fed-pub").load_trainer()(run, run.settings, build(run, shape))
    received = {name: tensor.clone() for name, tensor in initial_weights(run, shape).items()}
    largest = {name: tensor.clone() for name, tensor in received.items() if tensor.dim() > 1}
    everything = torch.cat([tensor.abs().flatten() for tensor in largest.values()])
    bound = everything.sort(descending=True).values[round(0.25 * len(everything)) - 1]
    task = OnOnes(shape)
    task.functional_embedding = lambda _: torch.ones(1)  # type: ignore[method-assign]
    result = ours.train(task, received, {})
    assert not any(name.startswith("optimizer/") and "mask/" in name for name in result.state)
    kept = {name: result.state[f"mask/{name}"] > 0 for name in largest}
    for name, mask in kept.items():
        assert torch.equal(mask, largest[name].abs() >= bound)
    assert result.metrics["mask-sparsity"] == pytest.approx(0.75, abs=1e-3)
    # the same weights turned around have the same sizes; others have others
    again = ours.train(task, {name: torch.flip(tensor, (0,)) for name, tensor in largest.items()} | {
        name: tensor for name, tensor in result.arrays.items() if tensor.dim() == 1 and name != "functional-embedding"
    }, result.state)  # fmt: skip
    for name, mask in kept.items():
        assert torch.equal(again.state[f"mask/{name}"] > 0, torch.flip(mask, (0,)))


@pytest.mark.parametrize(
    ("algorithm", "mask"),
    [("fed-mask", "ternary"), ("fed-mask", "2:4"), ("hide-n-seek", "ternary"), ("fed-pub", "2:4"), ("fed-pub", "erk")],
)
def test_a_run_goes_on_as_if_it_had_not_been_interrupted(
    algorithm: str, mask: str, graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = KEYS | {"dataset": str(graph_file), "partition": "random"} | keys(algorithm, mask)
    run = interrupted(tmp_path / "run", monkeypatch, own)
    assert resume(run, quiet=True)
    assert_same_run(run, simulated(tmp_path / "once", own))


def test_a_mask_that_breaks_its_family_is_left_out():
    run = config(SMALL | keys("fed-mask", "2:4"))
    shape = Shape((1, 8, 8), 10)
    server = strategy_of(run, shape)
    assert isinstance(server, FedMask)
    server.begin({})
    n = len(server.groups)
    with pytest.raises(ValueError, match="the mask is none of its family"):
        server.unpack(0, {"mask": encode_letters(np.ones(n, np.uint8), server.levels, server.groups)})
    ternary = encode_letters(np.full(n, 2, np.uint8), [server.levels[0]] * 2, server.groups)
    with pytest.raises(ValueError, match=r"^mask code"):
        server.unpack(0, {"mask": ternary})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"algorithm": "fed-mask", "fed-mask.mask": "erk"},
         "fed-mask.mask: got 'erk', but its weights are frozen, so that a mask that is not learnt leaves nothing to "
         "train, allowed: binary, nm, sign, ternary."),
        ({"algorithm": "hide-n-seek", "hide-n-seek.mask": "magnitude:0.1"},
         "hide-n-seek.mask: got 'magnitude:0.1', but its weights are frozen, so that"),
        ({"algorithm": "hide-n-seek", "hide-n-seek.mask": "2:4"},
         "hide-n-seek.mask: got '2:4' with hide-n-seek.density = 0.2, where pruning has already chosen among the "
         "inputs of a unit, allowed: with hide-n-seek.density = 1."),
        ({"algorithm": "hide-n-seek", "hide-n-seek.mask": "ternary", "hide-n-seek.aggregate": "vote"},
         "hide-n-seek.mask: got 'ternary' with hide-n-seek.aggregate = 'vote', allowed: a mask of two values."),
        ({"fed-pub.mask": "binary", "fed-pub.sparsity": "subgradient"},
         "fed-pub.mask: got 'binary' with fed-pub.sparsity = 'subgradient', whose λ1 term is of real-valued masks, "
         "allowed: 'personal', or with fed-pub.sparsity = 'none' or 'proximal'."),
        ({"fed-pub.mask": "personnel"}, "fed-pub.mask: got 'personnel' (did you mean personal?), allowed: personal, b"),
        ({"algorithm": "hide-n-seek", "hide-n-seek.pruner": "synflo"},
         "hide-n-seek.pruner: got 'synflo' (did you mean synflow?), allowed: erk, magnitude, synflow, uniform."),
        ({"algorithm": "hide-n-seek", "hide-n-seek.prune-iterations": 0},
         "hide-n-seek.prune-iterations: got 0, allowed: a whole"),
    ],
)  # fmt: skip
def test_what_an_algorithm_cannot_use_is_one_sentence(given: dict[str, Any], told: str):
    with pytest.raises(UserError) as caught:
        parse(given)
    assert str(caught.value).startswith(told)

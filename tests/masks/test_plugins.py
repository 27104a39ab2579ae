"""A family of masks and a pruner that are merely installed: their keys, runs, and what is told of bad ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fedsieve.config import parse
from fedsieve.errors import UserError
from fedsieve.masks.family import family_of
from fedsieve.masks.pruning import prune
from tests.helpers import fedsieve, forget_plugins, simulated, summary_of

CODE = '''
from dataclasses import dataclass

import numpy as np
import torch

from fedsieve.masks.family import Family


@dataclass(frozen=True)
class Steps(Family):
    """How much of each weight: nothing, a third, two thirds or all, by quarters of [-1, 1]."""

    summary = "{0,1,2,3}: four steps"
    alphabet = (0, 1, 2, 3)

    def values(self, latent, outputs=0):
        return torch.bucketize(latent, torch.tensor([-0.5, 0.0, 0.5])).to(latent.dtype)


class Open(Family):
    summary = "does not say what its entries are"
    alphabet = (0, 1)


class Mute(Steps):
    summary = None


class Single(Steps):
    alphabet = (1,)


def first(network, ones, density, random, iterations):
    """Keep the first weights of each layer.

    Whatever they are.
    """
    keep = {}
    for name, weight in network.named_parameters():
        if weight.dim() > 1:
            keep[name] = (torch.arange(weight.numel()) < max(1, round(density * weight.numel()))).view(weight.shape)
    return keep


def greedy(network, ones, density, random, iterations):
    return first(network, ones, 1.0, random, iterations)


def lacking(network, ones, density, random, iterations):
    return dict(list(first(network, ones, density, random, iterations).items())[1:])


def floating(network, ones, density, random, iterations):
    return {name: mask.float() for name, mask in first(network, ones, density, random, iterations).items()}


def emptying(network, ones, density, random, iterations):
    found = first(network, ones, density, random, iterations)
    return {name: mask & (mask.numel() > 99) for name, mask in found.items()}


def failing(network, ones, density, random, iterations):
    raise KeyError("no such layer")


NOTHING = 3
'''

ENTRIES = """
[fedsieve.masks]
steps = sieves:Steps
broken = sieves:Absent
wrong = sieves:first
open = sieves:Open
mute = sieves:Mute
single = sieves:Single

[fedsieve.pruners]
first = sieves:first
greedy = sieves:greedy
lacking = sieves:lacking
floating = sieves:floating
emptying = sieves:emptying
failing = sieves:failing
nothing = sieves:NOTHING
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = tmp_path / "site" / "sieves-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "sieves.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sieves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path / "site")
    forget_plugins()
    yield
    forget_plugins()


SMALL: dict[str, Any] = {
    "dataset": "digits", "num-clients": 2, "num-rounds": 2, "examples-per-client": 40, "local-epochs": 2,
}  # fmt: skip


def first_matrix(folder: Path) -> Tensor:
    """Return the weights of client 0's first layer."""
    model = load_file(folder / "model" / "client-0.safetensors")
    return next(tensor for name, tensor in sorted(model.items()) if tensor.dim() > 1)


@pytest.mark.parametrize("algorithm", ["fed-mask", "hide-n-seek", "fed-pub"])
def test_an_installed_family_runs_under_every_algorithm(algorithm: str, tmp_path: Path):
    keys = {"algorithm": algorithm, f"{algorithm}.mask": "steps"}
    if algorithm != "fed-pub":
        keys[f"{algorithm}.init"] = "signed-constant"
        keys[f"{algorithm}.restart"] = 1.0  # type: ignore[assignment]
    folder = simulated(tmp_path / "run", SMALL | keys, lr=0.3)
    assert summary_of(folder)["rejected_replies"] == 0
    if algorithm == "fed-mask":
        sizes = first_matrix(folder).abs()
        unit = sizes[sizes > 0].min()
        assert (sizes / unit).unique().tolist() == pytest.approx([0, 1, 2, 3])


def test_an_installed_pruner_runs(tmp_path: Path):
    keys = {"algorithm": "hide-n-seek", "hide-n-seek.pruner": "first", "hide-n-seek.density": 0.25}
    folder = simulated(tmp_path / "run", SMALL | keys)
    weight = first_matrix(folder).flatten()
    kept = round(0.25 * len(weight))
    assert (weight[:kept] != 0).all()
    assert not weight[kept:].any()


def test_both_are_listed_with_a_line_and_broken_ones_with_what_is_wrong(capfd: pytest.CaptureFixture[str]):
    assert fedsieve("list", "pruners") == 0
    lines = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines() if len(line.split()) > 1)
    assert lines["first"] == "Keep the first weights of each layer. [sieves 1.0]"
    assert lines["nothing"] == "cannot be used: pruner: 'nothing' (sieves:NOTHING of sieves 1.0) is not a function."
    assert "synflow" in lines
    assert fedsieve("list", "masks") == 0
    lines = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    assert lines["steps"] == "{0,1,2,3}: four steps [sieves 1.0]"
    assert lines["broken"].startswith(
        "cannot be used: mask: 'broken' (sieves:Absent of sieves 1.0) could not be imported"
    )
    assert "binary" in lines


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "broken",
            "fed-mask.mask: 'broken' (sieves:Absent of sieves 1.0) could not be imported: AttributeError: ",
        ),
        (
            "wrong",
            "fed-mask.mask: 'wrong' (sieves:first of sieves 1.0) is not a class of fedsieve.masks.family.Family.",
        ),
        ("open", "fed-mask.mask: 'open' (sieves:Open of sieves 1.0) is a family without values."),
        ("mute", "fed-mask.mask: 'mute' (sieves:Mute of sieves 1.0) is a family without a summary."),
        ("single", "fed-mask.mask: 'single' (sieves:Single of sieves 1.0) has the alphabet (1,), allowed: 2 to 16 "),
        ("step", "fed-mask.mask: got 'step' (did you mean steps?), allowed: binary, nm, sign, steps, ternary."),
    ],
)
def test_a_family_that_is_broken_or_missing_is_one_sentence(given: str, told: str):
    with pytest.raises(UserError) as caught:
        parse({"algorithm": "fed-mask", "fed-mask.mask": given})
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_what_is_no_pruner_is_one_sentence():
    with pytest.raises(
        UserError, match=r"^hide-n-seek.pruner: 'nothing' \(sieves:NOTHING of sieves 1\.0\) is not a function\.$"
    ):
        parse({"algorithm": "hide-n-seek", "hide-n-seek.pruner": "nothing"})


@pytest.mark.parametrize(
    ("pruner", "told"),
    [
        ("greedy", "it keeps 1 of the weights where the density is 0.2"),
        ("lacking", "it has to return a mask for each of 0.weight, 1.weight, and for nothing else"),
        ("floating", "its mask of 0.weight is torch.float32 (20, 20) where torch.bool (20, 20) is expected"),
        ("emptying", "it keeps no weight of 1.weight"),
    ],
)
def test_what_a_pruner_returns_is_checked(pruner: str, told: str):
    network = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.Linear(20, 2))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        prune(pruner, network, torch.ones(1, 20), 0.2, np.random.RandomState(0))
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("pruner", "told"),
    [
        ("emptying", "hide-n-seek.pruner: got 'emptying', but it keeps no weight of"),
        ("failing", "hide-n-seek.pruner: got 'failing', but it failed: KeyError: 'no such layer'"),
    ],
)
def test_a_run_with_a_bad_pruner_ends_with_one_sentence(
    pruner: str, told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], graph_file: Path
):
    run = ("run", "--algorithm", "hide-n-seek", "--dataset", graph_file, "--num-clients", 2, "-s", "hidden-dim=4")
    code = fedsieve(*run, "-s", f"hide-n-seek.pruner={pruner}", "--out", tmp_path / "run", "--quiet")
    assert code == 2
    assert told in capfd.readouterr().err


def test_a_family_of_four_letters_keeps_its_law():
    family = family_of("a.mask", "steps")
    mask = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert torch.equal(family.values(family.centred(mask)), mask)

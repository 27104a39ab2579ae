"""Networks. One network a file; `MODELS` names them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from fedsieve import seeds
from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.models.gcn import GCN

__all__ = ["MODELS", "Shape", "build", "initial_weights"]


@dataclass(frozen=True)
class Shape:
    """What the data decides about a network: the length of a feature vector and the number of classes."""

    num_features: int
    num_classes: int


@dataclass(frozen=True)
class Model:
    """An entry of `MODELS`."""

    summary: str
    make: Callable[[Shape, RunConfig], nn.Module]


MODELS = {
    "gcn": Model(
        "two graph convolutions and a linear classifier (Kipf and Welling, ICLR 2017)",
        lambda shape, run: GCN(shape.num_features, shape.num_classes, run.hidden_dim, run.dropout),
    ),
}


def build(run: RunConfig, shape: Shape) -> nn.Module:
    """Return the network `run.model` for data of `shape`, its initial weights drawn from the run's seed."""
    if run.model not in MODELS:
        raise UserError(f"model: got {run.model!r}, allowed: {', '.join(MODELS)}.")
    with seeds.torch_stream(run.seed, "initial weights"):
        return MODELS[run.model].make(shape, run)


def initial_weights(run: RunConfig, shape: Shape) -> dict[str, Tensor]:
    """Return the initial weights by parameter name; every party draws the same ones from the run's seed."""
    return {name: parameter.detach() for name, parameter in build(run, shape).named_parameters()}

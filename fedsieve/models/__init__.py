"""Networks. One network a file; `MODELS` names them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fedsieve import seeds
from fedsieve.config import RunConfig
from fedsieve.contract import Setting, Shape
from fedsieve.data.proxy import random_proxy_graph, random_proxy_images
from fedsieve.errors import UserError, suggest
from fedsieve.kinds import Kind
from fedsieve.models.buffers import Buffers
from fedsieve.models.conv import conv2, conv4
from fedsieve.models.gcn import GCN, propagation
from fedsieve.models.lenet import LeNet
from fedsieve.models.mlp import MLP
from fedsieve.models.own import load_network
from fedsieve.models.resnet import ResNet18
from fedsieve.models.trial import smallest_batch

__all__ = ["MODELS", "Model", "build", "initial_buffers", "initial_weights", "ones", "setting_of"]


@dataclass(frozen=True)
class Model:
    """An entry of `MODELS`: `make` draws initial weights from torch's default generator."""

    summary: str
    kind: Kind
    make: Callable[[Shape, RunConfig], nn.Module]


def _make_images(summary: str, make: Callable[[Any, int], nn.Module]) -> Model:
    return Model(summary, "images", lambda shape, _: make(shape.input, shape.num_classes))


MODELS = {
    "gcn": Model(
        "two graph convolutions and a linear classifier (Kipf and Welling, ICLR 2017)",
        "graph",
        lambda shape, run: GCN(shape.input[0], shape.num_classes, run.hidden_dim, run.dropout),
    ),
    "lenet": _make_images("LeNet-5 with ELU (LeCun et al. 1998)", LeNet),
    "conv2": _make_images("two convolutions and three linear layers (Frankle and Carbin, ICLR 2019)", conv2),
    "conv4": _make_images("four convolutions and three linear layers (Frankle and Carbin, ICLR 2019)", conv4),
    "mlp": _make_images("two hidden layers of 200 units (McMahan et al., AISTATS 2017)", MLP),
    "resnet18": _make_images("ResNet-18 for small images, with group normalisation (He et al., CVPR 2016)", ResNet18),
}


def build(run: RunConfig, shape: Shape) -> nn.Module:
    """Return the network `run.model` for data of `shape`, its initial weights drawn from the run's seed.

    A name with a colon is a user's own: `my_pkg.nets:make` is called with the input's shape and the number of classes.

    Raises:
        UserError: the name is unknown or for other data, or a user's own network is of no use here.
    """
    is_own = ":" in run.model
    kind = "graph" if len(shape.input) == 1 else "images"  # not of run.dataset, which may be gone or a device's own
    if not is_own and (run.model not in MODELS or MODELS[run.model].kind != kind):
        allowed = [name for name, model in MODELS.items() if model.kind == kind]
        raise UserError(
            f"model: got {run.model!r}{suggest(run.model, allowed)}, "
            f"allowed for {kind.removesuffix('s')} data: {', '.join(allowed)}, "
            "or your own, as my_package.my_module:my_function."
        )
    with seeds.torch_stream(run.seed, "initial weights"):
        try:
            model = (
                load_network(run.model, shape.input, shape.num_classes, partial(_try_on, shape))
                if is_own
                else MODELS[run.model].make(shape, run)
            )
        except ValueError as error:
            raise UserError(f"model: got {run.model!r}, but {error}.") from error
    if kind == "images" and run.batch_size < (least := smallest_batch(model).training):
        given = f"batch-size: got {run.batch_size} with model = {run.model!r}"
        raise UserError(f"{given}, which fails for a single image, allowed: {least} or more.")
    return model


def initial_weights(run: RunConfig, shape: Shape) -> dict[str, Tensor]:
    """Return the initial weights by parameter name; every party draws the same ones from the run's seed."""
    return {name: parameter.detach() for name, parameter in build(run, shape).named_parameters()}


def initial_buffers(run: RunConfig, shape: Shape) -> dict[str, Tensor]:
    """Return the initial values of those buffers that training is known to change, by name; the same for every party.

    Raises:
        UserError: see `build`.
    """
    buffers = Buffers(build(run, shape))
    return {name: buffers.initial[name] for name in buffers.changing}


def setting_of(run: RunConfig, shape: Shape) -> Setting:
    """Return what a strategy may need of the run that it is made for."""
    return Setting(
        seed=run.seed,
        fraction_train=run.fraction_train,
        shape=shape,
        network=partial(build, run, shape),
        ones=partial(make_ones, shape),
        proxy=partial(_make_proxy, run, shape),
    )


def _make_proxy(run: RunConfig, shape: Shape) -> Any:
    """Return the random inputs, on which a user's own network may fail; for a built-in one, any."""
    if ":" not in run.model:
        return make_ones(shape)
    if len(shape.input) > 1:
        return random_proxy_images(shape.input, run.seed)
    graph = random_proxy_graph(shape.input[0], run.seed)
    return propagation(graph.x, graph.edge_index)


def _try_on(shape: Shape, count: int) -> Any:
    """Return random numbers as an own network is tried on: pixels as it will get them, or a ring of nodes."""
    drawn = torch.rand(count, *shape.input, generator=torch.Generator().manual_seed(count))
    if len(shape.input) > 1:
        return 2 * drawn - 1
    nodes = torch.arange(count)
    return propagation(drawn, torch.stack([nodes, nodes.roll(1)]))


def make_ones(shape: Shape, dtype: torch.dtype = torch.float32, count: int = 1) -> Any:
    """Return an input of ones as a network for `shape` takes it: `count` images, or as many nodes without an edge."""
    examples = torch.ones(count, *shape.input, dtype=dtype)
    return propagation(examples, torch.empty(2, 0, dtype=torch.int64)) if len(shape.input) == 1 else examples

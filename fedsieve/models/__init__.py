"""Networks. One network a file; `MODELS` names them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from fedsieve import seeds
from fedsieve.catalogue import GRAPH_MODELS, IMAGE_MODELS
from fedsieve.config import RunConfig
from fedsieve.contract import Setting, Shape
from fedsieve.data.proxy import random_proxy_graph, random_proxy_images
from fedsieve.errors import UserError
from fedsieve.inputs import Graph
from fedsieve.kinds import Kind
from fedsieve.models.buffers import Buffers
from fedsieve.models.conv import conv2, conv4
from fedsieve.models.embedding import find_last_layer
from fedsieve.models.gcn import GCN
from fedsieve.models.lenet import LeNet
from fedsieve.models.message_passing import Appnp, Sgc, make_gat, make_gin, make_sage
from fedsieve.models.mlp import MLP
from fedsieve.models.own import load_network
from fedsieve.models.resnet import ResNet18
from fedsieve.models.trial import smallest_batch
from fedsieve.networks import check_network, is_own

__all__ = ["MODELS", "Model", "build", "graph_of", "initial_buffers", "initial_weights", "make_ones", "setting_of"]


@dataclass(frozen=True)
class Model:
    """An entry of `MODELS`: `make` draws initial weights from torch's default generator."""

    summary: str
    kind: Kind
    make: Callable[[Shape, RunConfig], nn.Module]


def _make_gcn(shape: Shape, run: RunConfig) -> nn.Module:
    return GCN(shape.input[0], shape.num_classes, run.hidden_dim, run.dropout, run.num_layers)


_GRAPHS: dict[str, Callable[[Shape, RunConfig], nn.Module]] = {
    "gcn": _make_gcn,
    "sage": make_sage,
    "gat": make_gat,
    "gin": make_gin,
    "appnp": Appnp,
    "sgc": Sgc,
}

_IMAGES: dict[str, Callable[[Any, int], nn.Module]] = {
    "lenet": LeNet,
    "conv2": conv2,
    "conv4": conv4,
    "mlp": MLP,
    "resnet18": ResNet18,
}


def _make_images(make: Callable[[Any, int], nn.Module]) -> Callable[[Shape, RunConfig], nn.Module]:
    return lambda shape, _: make(shape.input, shape.num_classes)


MODELS = {name: Model(summary, "graph", _GRAPHS[name]) for name, summary in GRAPH_MODELS.items()} | {
    name: Model(summary, "images", _make_images(_IMAGES[name])) for name, summary in IMAGE_MODELS.items()
}


def build(run: RunConfig, shape: Shape) -> nn.Module:
    """Return the network `run.model` for data of `shape`, its initial weights drawn from the run's seed.

    A name with a colon is a user's own: see `fedsieve.models.own.load_network`.

    Raises:
        UserError: the name is unknown or for other data, or a user's own network is of no use here.
    """
    kind: Kind = "graph" if len(shape.input) == 1 else "images"  # run.dataset may be gone, or a device's own
    check_network(run.model, kind)
    with seeds.torch_stream(run.seed, "initial weights"):
        try:
            model = (
                load_network(run, shape, partial(_try_on, shape))
                if is_own(run.model)
                else MODELS[run.model].make(shape, run)
            )
        except ValueError as error:
            raise UserError(f"model: got {run.model!r}, but {error}.") from error
    if kind == "images" and run.batch_size < (least := smallest_batch(model).training):
        given = f"batch-size: got {run.batch_size} with model = {run.model!r}"
        raise UserError(f"{given}, which fails for a single image, allowed: {least} or more.")
    if kind == "graph" and not (is_own(run.model) or hasattr(model, "embed")):
        find_last_layer(model.eval(), _try_on(shape, 2))  # before masks are attached
        model.train()
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
    if not is_own(run.model):
        return make_ones(shape)
    if len(shape.input) > 1:
        return random_proxy_images(shape.input, run.seed)
    return graph_of(random_proxy_graph(shape.input[0], run.seed, shape.edge_dim))


def graph_of(data: Data) -> Graph:
    """Return what a network is called with of a PyG graph: the same tensors."""
    return Graph(data.x, data.edge_index, data.get("edge_weight"), data.get("edge_attr"))


def _try_on(shape: Shape, count: int) -> Any:
    """Return random numbers as an own network is tried on: pixels as it will get them, or a ring of nodes."""
    generator = torch.Generator().manual_seed(count)
    drawn = torch.rand(count, *shape.input, generator=generator)
    if len(shape.input) > 1:
        return 2 * drawn - 1
    nodes = torch.arange(count)
    attributes = torch.rand(count, shape.edge_dim, generator=generator) if shape.edge_dim else None
    return Graph(drawn, torch.stack([nodes, nodes.roll(1)]), edge_attr=attributes)


def make_ones(shape: Shape, dtype: torch.dtype = torch.float32, count: int = 1) -> Any:
    """Return an input of ones: `count` images, or as many nodes, each with an edge to itself, for layers that add none.

    So what a layer makes of a node's neighbours counts as what it makes of the node.
    """
    examples = torch.ones(count, *shape.input, dtype=dtype)
    if len(shape.input) > 1:
        return examples
    attributes = torch.ones(count, shape.edge_dim, dtype=dtype) if shape.edge_dim else None
    return Graph(examples, torch.arange(count).expand(2, -1).contiguous(), edge_attr=attributes)

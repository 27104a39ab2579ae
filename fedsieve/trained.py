"""The models that a run has left, as networks to use."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch_geometric.nn
from safetensors import SafetensorError, safe_open
from torch import nn

from fedsieve.client.app.carrying import CarryingTrainer
from fedsieve.client.app.state import DiskStore
from fedsieve.config import RunConfig, parse, read
from fedsieve.contract import Shape, Tensors
from fedsieve.errors import UserError, list_first, one_line, suggest
from fedsieve.masks.attach import weights
from fedsieve.models import build
from fedsieve.models.buffers import Buffers
from fedsieve.models.gcn import GCN
from fedsieve.runs.layout import CONFIG, RunLayout
from fedsieve.runs.reading import read_summary


@dataclass(frozen=True)
class Trained:
    """A trained network as the run has built it, for `fedsieve.inputs.run_network`.

    Attributes:
        classes: the name of each class, its number where it has none.
        named: whether they have names.
    """

    run: RunConfig
    shape: Shape
    classes: tuple[str, ...]
    named: bool
    network: nn.Module


def load_model(run: str | Path, client: int | str | None = None) -> nn.Module:
    """Return the trained model of one client of a run as a plain torch module, masks folded into its weights.

    It is in eval mode, its parameters require gradients, and no parametrization is left but a network's own. What
    `model(...)` takes:

    - graph networks: `model(x, edge_index)`, x float32 N x F, edge_index int64 2 x E, to logits N x classes, and
      `edge_weight` (E) or `edge_attr` (E x D) where it has them in its signature. `gcn` is PyG's own
      `torch_geometric.nn.GCN`; x is prepared as the training data were, see docs/using-models.md.
    - image networks: `model(images)`, float32 B x C x H x W with pixels in [-1, 1] (bytes / 127.5 - 1), to logits.
    - a network of your own (`model=my_nets:make`): what your function returns, which has to be importable.

    Args:
        run: the run's folder; on a device of a deployment, its own folder `run-...` under FEDSIEVE_STATE.
        client: whose model, by number or by the name that the data give; None: the one that all clients share, where
            the algorithm has one.

    Raises:
        UserError: the folder holds no run, or no model of that client; why, and whose there are.
    """
    trained = load_trained(Path(run), client)
    network = _convert_to_pyg(trained.network) if isinstance(trained.network, GCN) else trained.network
    return network.eval()


def load_trained(folder: Path, client: int | str | None) -> Trained:
    """Return the network of one client, or the shared one, in eval mode.

    Raises:
        UserError: see `load_model`.
    """
    load = _load_of_device if DiskStore(folder).clients() else _load_of_run
    client = _find_number(folder, client) if isinstance(client, str) else client
    try:
        return load(folder, client)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        what = "the model" if client is None else f"the model of client {client}"
        raise UserError(f"{folder}: {what} is none of this version of FedSieve ({one_line(error)}).") from error


def _find_number(folder: Path, client: str) -> int:
    """Return the number of the client that a run's data call so, or that is so written."""
    try:
        names = read_summary(folder).get("client_names") or {}
    except UserError:  # a device's own folder, or a run that has not ended
        names = {}
    number = next((number for number, name in names.items() if name == client), client)
    if not number.isdecimal():
        called = f" or a name: {list_first(list(names.values()))}" if names else ""
        raise UserError(f"client: got {client!r}{suggest(client, names.values())}, allowed: a number{called}.")
    return int(number)


def _load_of_run(folder: Path, client: int | None) -> Trained:
    """Return a model that a simulation has written."""
    layout = RunLayout(folder)
    if not layout.config.is_file():
        raise UserError(f"{folder}: holds no {CONFIG}; allowed: the folder of a run.")
    file = layout.model_of(client)
    if not file.is_file():
        raise UserError(_explain_absence(folder, client))
    with safe_open(file, "pt") as opened:
        about: dict[str, Any] = json.loads((opened.metadata() or {})["fedsieve"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    return _build_trained(parse(read(layout.config)), about, lambda *_: tensors)


def _load_of_device(folder: Path, client: int | None) -> Trained:
    """Return the personal model after the client's last training, of the state that its device keeps."""
    store = DiskStore(folder)
    about = None if client is None else store.about(client)
    if client is None or about is None:
        given = "none, and a device has no shared model" if client is None else client
        raise UserError(f"client: got {given}, allowed: {format_ranges(store.clients())}, whose states {folder} holds.")
    state = store.newest(client)
    if state is None:
        raise UserError(f"{folder}: holds no state of client {client}: it has not trained yet, or the file is damaged.")

    def personal(run: RunConfig, shape: Shape) -> Tensors:
        weights, buffers = CarryingTrainer(run, build(run, shape)).personal_model(state)
        return weights | buffers

    return _build_trained(parse(about["config"]), about, personal)


def _build_trained(run: RunConfig, about: dict[str, Any], weights_of: Callable[[RunConfig, Shape], Tensors]) -> Trained:
    shape, names = Shape(tuple(about["input"]), about["num_classes"], about.get("edge_dim", 0)), about["names"]
    network = build(run, shape)
    _put(network, weights_of(run, shape))
    classes = tuple(names) + tuple(map(str, range(len(names), shape.num_classes)))
    return Trained(run, shape, classes, bool(names), network.eval())


def _put(network: nn.Module, tensors: Tensors) -> None:
    """Give a network its weights and those buffers that training has changed."""
    parameters, buffers = weights(network), Buffers(network)
    changed = {name: tensor for name, tensor in tensors.items() if name in buffers.initial}
    expected = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    expected |= {name: tuple(buffers.initial[name].shape) for name in changed}
    if (shapes := {name: tuple(tensor.shape) for name, tensor in tensors.items()}) != expected:
        odd = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))[0]
        raise UserError(
            f"model: {odd} is {shapes.get(odd, 'missing')}, and {expected.get(odd, 'missing')} in the network that the "
            "run's keys name, allowed: the network that was trained."
        )
    for name, parameter in parameters.items():
        parameter.data = tensors[name].clone()  # of its own, whatever of a state it is a part of
    buffers.load(changed)


def _convert_to_pyg(network: GCN) -> nn.Module:
    """Return the same network as PyG has it, whose weights are out x in."""
    features, hidden = network.convolutions[0].weight.shape
    model: nn.Module = torch_geometric.nn.GCN(
        features, hidden, network.num_layers, network.classifier.out_features, dropout=network.dropout, jk="last"
    )
    tensors = network.state_dict()
    state = {"lin.weight": tensors["classifier.weight"], "lin.bias": tensors["classifier.bias"]}
    for place in range(network.num_layers):
        state[f"convs.{place}.lin.weight"] = tensors[f"conv{place + 1}.weight"].T.contiguous()
        state[f"convs.{place}.bias"] = tensors[f"conv{place + 1}.bias"]
    model.load_state_dict(state)
    return model


def _explain_absence(folder: Path, client: int | None) -> str:
    """Return why the model is not there."""
    layout = RunLayout(folder)
    if clients := layout.clients_with_models():
        given = f"client: got {client}" if client is not None else "client: got none, and the clients share no model"
        return f"{given}, allowed: {format_ranges(clients)}, whose models {layout.models} holds."
    if not layout.summary.is_file():
        return f"{folder}: the run has not ended, and models are written when it does; allowed: after fedsieve resume."
    if not read_summary(folder)["num_rounds"]:
        return f"{folder}: holds no model, for no client had trained when the run ended; allowed: a run of some rounds."
    return (
        f"{folder}: its models have stayed on the devices, each in a folder run-... of the device's FEDSIEVE_STATE "
        "(docs/using-models.md); allowed: the folder of a simulation, or that folder on the device."
    )


def format_ranges(numbers: Sequence[int]) -> str:
    """Return sorted whole numbers in words: "0 to 4, 7"."""
    spans: list[str] = []
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[start], numbers[end - 1]
            spans.append(f"{first} to {last}" if last > first else str(first))
            start = end
    return ", ".join(spans)

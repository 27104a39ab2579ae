"""What a client of anybody's ClientApp does for FED-PUB or HideNseek: one call around its own training.

For example::

    @app.train()
    def train(message, context):
        ...
        return train_fed_pub(message, context, model, lambda model: fit(model, loader), (3, 32, 32), len(dataset))

The server's half is the Flower Strategy of the same name in `fedsieve.strategies`. What a client keeps between rounds
is in `context.state`, which Flower keeps in a simulation; in a deployment it is lost when a SuperNode is restarted, and
dropped above about 100 MB. A run of FedSieve's own has neither limit.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from fedsieve.client.hide_n_seek import encode_entries, read_entries, restart_place, sparsity
from fedsieve.data.proxy import random_proxy_images
from fedsieve.masks.attach import find_transposed, weights
from fedsieve.masks.binary import flatten, maskable
from fedsieve.masks.client_masks import PersonalMasks, share_of_zeros
from fedsieve.masks.family import Family, attach_family, family_of
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.personal import adaptive_steps, shrink_
from fedsieve.masks.signs import apply_signs
from fedsieve.masks.survivors import Survivors
from fedsieve.models.embedding import embed
from fedsieve.protocols.fed_pub import EMBEDDING
from fedsieve.protocols.hide_n_seek import LEVELS, unpack_broadcast
from fedsieve.wire import to_record, to_tensors

Train = Callable[[nn.Module], Mapping[str, float] | None]
"""Trains a model in place, with an optimiser over `model.parameters()`, and returns metrics to report, if any."""

_CPU = torch.device("cpu")
_MASKS, _SIGNS = "fed-pub.masks", "hide-n-seek.signs"
"""Names of the records in `context.state`."""


def train_fed_pub(
    message: Message,
    context: Context,
    model: nn.Module,
    train: Train,
    input_shape: tuple[int, ...],
    num_examples: int,
    *,
    lambda2: float = 1e-3,
    prox: float = 0.3,
    prox_power: float = 1.0,
    threshold: float = 1e-3,
    seed: int = 42,
) -> Message:
    """Train θ_k and the client's own mask μ_k by the caller's loop, and return θ_k with the embedding h_k.

    FED-PUB (Baek et al., ICML 2023), section 4.3, as `fedsieve.client.fed_pub` has it under `sparsity = proximal`: each
    step of the optimiser that `train` makes is followed by the proximal step on μ_k, and the gradient of
    λ2·‖θ_k - θ̄_k‖² is added to that of the loss. The model is left with θ_k, without a mask.

    Args:
        message: the train message of `fedsieve.strategies.FedPub`.
        context: of the ClientApp; μ_k stays in its state.
        model: any torch module whose `state_dict` the server's initial arrays were.
        train: the caller's training.
        input_shape: of one example, such as (3, 32, 32): h_k is taken on random inputs of this shape.
        num_examples: |D_k|.
        lambda2: λ2.
        prox: masks shrink by lr·prox·(mean|W| / |W|)^prox_power after each step; 0: masks are only learnt.
        prox_power: see `prox`.
        threshold: mask entries below count as 0 when the model is used.
        seed: of the random inputs; the same for all clients.

    Raises:
        UserError: the model has no linear layer, whose input would be its embedding.
    """
    load_fed_pub(message, model)
    received = {name: parameter.detach().clone() for name, parameter in weights(model).items()}
    with _personal_masks(model, context, threshold) as masks:
        parameters = weights(model)
        hooks = [_pull_to(parameter, received[name], lambda2) for name, parameter in parameters.items()]
        hooks.append(register_optimizer_step_post_hook(_make_shrinking_hook(parameters, masks, prox, prox_power)))
        try:
            metrics = dict(train(model) or {})
        finally:
            for hook in hooks:
                hook.remove()
        model.eval()
        device = next(iter(parameters.values())).device
        embedding = embed(model, random_proxy_images(input_shape, seed).to(device))
        context.state[_MASKS] = to_record({name: mask.detach() for name, mask in masks.items()})
        latents = {name: mask.detach() for name, mask in masks.items()}
        metrics["mask-sparsity"] = share_of_zeros(PersonalMasks(threshold).in_use(latents, ()))
    upload = {name: tensor.detach() for name, tensor in model.state_dict().items()} | {EMBEDDING: embedding}
    return _reply(message, to_record(upload), metrics, num_examples)


def load_fed_pub(message: Message, model: nn.Module, context: Context | None = None, threshold: float = 1e-3) -> None:
    """Load what FED-PUB's server sent, θ̄_k, into the model; with a context, θ̄_k ⊙ μ_k of the client's own mask."""
    sent = _read_sent(message)
    model.load_state_dict(sent)
    if context is not None and _MASKS in context.state.array_records:
        masked = maskable(weights(model))
        for name, mask in PersonalMasks(threshold).in_use(_state(context, _MASKS), ()).items():
            masked[name].data.mul_(mask.to(masked[name].device))


def train_hide_n_seek(
    message: Message,
    context: Context,
    model: nn.Module,
    train: Train,
    num_examples: int,
    *,
    restart: float = 0.1,
    own_share: float = 0.3,
) -> Message:
    """Train signs of frozen weights by the caller's loop, and return them, about one bit a surviving weight.

    HideNseek (Vallapuram et al. 2022), our reconstruction, as `fedsieve.client.hide_n_seek` has it, but for the mean
    over a round's last steps: how many there are only the caller knows. The model is left with w ⊙ sign(m).

    Args:
        message: the train message of `fedsieve.strategies.HideNseek`.
        context: of the ClientApp; the keep-mask and the client's last signs stay in its state.
        model: of the class that the server prunes; its weights are replaced.
        train: the caller's training.
        num_examples: |D_k|.
        restart: latents restart at this times the broadcast and the client's own last signs.
        own_share: share of the client's own last signs.

    Raises:
        LookupError: the client has lost the keep-mask, and none was sent; the server sends it again next time.
    """
    before = _state(context, _SIGNS)
    keep, survivors, broadcast, family, frozen = _open_message(message, before, model)
    groups, in_x_out = survivors.take(groups_of(model)), find_transposed(model)
    knows = "signs" in before and torch.equal(before["keep"], keep)
    last = read_entries(family, before["signs"], len(broadcast)) if knows else None
    start = restart_place(family, broadcast, last, own_share)
    for name, weight in maskable(weights(model)).items():
        weight.data.mul_(survivors.keep[name].to(weight.device))
    latents = attach_family(model, family)
    for name, latent in survivors.scatter(restart * start).items():
        latents[name].data.copy_(latent)
    try:
        metrics = dict(train(model) or {})
        trained = {name: latents[name].detach().cpu()[survivors.keep[name]] for name in survivors.keep}
    finally:
        _remove(model, maskable(frozen))
    entries = survivors.layout(in_x_out).values(family, flatten(trained))
    for name, weight in apply_signs(frozen, survivors, entries).items():
        weights(model)[name].data.copy_(weight)
    code, packed = encode_entries(family, entries, broadcast, groups)
    context.state[_SIGNS] = to_record({"keep": keep.numpy(), "signs": packed})
    metrics["mask-sparsity"] = sparsity(entries, survivors)
    return _reply(message, to_record({"signs": code}), metrics, num_examples)


def load_hide_n_seek(message: Message, context: Context, model: nn.Module) -> None:
    """Load what HideNseek's server sent into the model: the frozen weights with the mean's signs.

    Raises:
        LookupError: the client has lost the keep-mask, and none was sent.
    """
    _, survivors, mean, family, frozen = _open_message(message, _state(context, _SIGNS), model)
    entries = survivors.layout(find_transposed(model)).values(family, torch.from_numpy(mean / LEVELS).float())
    for name, weight in apply_signs(frozen, survivors, entries).items():
        weights(model)[name].data.copy_(weight)


class _Opened(NamedTuple):
    """What a message of HideNseek's server holds, together with what the client kept."""

    keep: Tensor
    survivors: Survivors
    broadcast: NDArray[np.int8]
    family: Family
    frozen: dict[str, Tensor]


def _open_message(message: Message, before: Mapping[str, Tensor], model: nn.Module) -> _Opened:
    """Read a message of HideNseek's server, and leave the frozen weights in the model."""
    received = _read_sent(message)
    keep = received.get("keep", before.get("keep"))
    if keep is None:
        raise LookupError("this node has lost the keep-mask, and none was sent")
    config = next(iter(message.content.config_records.values()))
    family, frozen = family_of("mask", str(config["hide-n-seek.mask"])), _draw_frozen(model, config)
    survivors = Survivors.unpack(keep.numpy(), {name: weight.shape for name, weight in maskable(frozen).items()})
    broadcast = unpack_broadcast({name: tensor.numpy() for name, tensor in received.items()}, survivors)
    return _Opened(keep, survivors, broadcast, family, frozen)


@contextmanager
def _personal_masks(model: nn.Module, context: Context, threshold: float) -> Iterator[dict[str, nn.Parameter]]:
    """Put the client's own masks on the model's weight matrices for the block; yield them by plain name."""
    masks = PersonalMasks(threshold).attach(model)
    for name, mask in _state(context, _MASKS).items():
        masks[name].data.copy_(mask)
    try:
        yield masks
    finally:
        _remove(model, masks)


def _remove(model: nn.Module, masked_names: Mapping[str, object]) -> None:
    """Take the masks off, and leave the weights as they are without."""
    for name in masked_names:
        module, _, parameter = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(module), parameter, leave_parametrized=False)


def _pull_to(parameter: nn.Parameter, anchor: Tensor, weight: float) -> RemovableHandle:
    """Add the gradient of weight·‖θ - anchor‖² to each that θ gets."""

    def add(gradient: Tensor) -> Tensor:
        return gradient + 2 * weight * (parameter.detach() - anchor)

    handle: RemovableHandle = parameter.register_hook(add)  # type: ignore[no-untyped-call]
    return handle


def _make_shrinking_hook(
    parameters: Mapping[str, nn.Parameter], masks: Mapping[str, nn.Parameter], prox: float, power: float
) -> Callable[..., None]:
    """Return a hook for after a step of an optimiser that trains the masks: the proximal step."""
    trained = {id(mask) for mask in masks.values()}

    @torch.no_grad()
    def shrink(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            if prox > 0 and not trained.isdisjoint(map(id, group["params"])):
                for name, mask in masks.items():
                    shrink_(mask, adaptive_steps(parameters[name], group["lr"] * prox, power))
                return

    return shrink


def _draw_frozen(model: nn.Module, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Draw the frozen weights that every party of the run draws, and return a copy of them."""
    gain, seed = float(config["hide-n-seek.frozen-gain"]), int(config["hide-n-seek.seed"])
    frozen = freeze_(model, config["hide-n-seek.init"], seed, gain)
    return {name: tensor.clone() for name, tensor in frozen.items()}


def _read_sent(message: Message) -> dict[str, Tensor]:
    return to_tensors(next(iter(message.content.array_records.values())), _CPU)


def _state(context: Context, name: str) -> dict[str, Tensor]:
    record = context.state.array_records.get(name)
    return {} if record is None else to_tensors(record, _CPU)


def _reply(message: Message, arrays: ArrayRecord, metrics: dict[str, float], num_examples: int) -> Message:
    record = MetricRecord({**metrics, "num-examples": num_examples})
    return Message(RecordDict({"arrays": arrays, "metrics": record}), reply_to=message)

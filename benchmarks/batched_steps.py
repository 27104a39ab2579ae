"""One local epoch of clients one after the other and of the same clients in one tensor program, on images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from batched_nets import Net
from fedsieve import seeds
from fedsieve.client.app.image_task import ImageTask
from fedsieve.client.training import fit, load, make_optimizer
from fedsieve.config import RunConfig
from fedsieve.contract import Shape, Tensors
from fedsieve.data.image_partitions import ClientImages
from fedsieve.data.image_sets import load_images
from fedsieve.masks.attach import weights
from fedsieve.masks.binary import maskable
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.signs import SignMask
from fedsieve.models import build

CPU = torch.device("cpu")
DENSITY, IMAGES = 0.2, 200


@dataclass(frozen=True)
class Clients:
    """Clients with as many images each, a multiple of the batch size, and what all of them begin with.

    `kept` of a sign mask are the layers' bool masks, `latent` the latents of what they keep; empty for a dense step.
    """

    run: RunConfig
    model: nn.Module
    tasks: list[ImageTask]
    start: Tensors
    kept: Tensors
    latent: list[Tensor]

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.start.values())).dtype


def clients(run: RunConfig, number: int, *, signs: bool, dtype: torch.dtype) -> Clients:
    data = load_images(run.dataset)
    each = min(IMAGES, data.num_train // number // run.batch_size * run.batch_size)
    order = seeds.random_state(run.seed, "batched").permutation(data.num_train)[: number * each].reshape(number, each)
    nothing = np.arange(0)
    shape = Shape(tuple(data.images.shape[1:]), data.num_classes)
    parts = [ClientImages(images, nothing, nothing) for images in order]
    tasks = [ImageTask(data, part, torch.zeros(1, *shape.input), run.batch_size, CPU) for part in parts]
    model = build(run, shape).to(dtype)
    if signs:
        freeze_(model, "signed-constant", run.seed)
    start = {name: parameter.detach().clone() for name, parameter in weights(model).items()}
    random = torch.Generator().manual_seed(run.seed)
    layers = maskable(start) if signs else {}
    kept = {name: torch.rand(weight.shape, generator=random) < DENSITY for name, weight in layers.items()}
    latent = [0.1 * (2 * torch.rand(int(keep.sum()), generator=random, dtype=dtype) - 1) for keep in kept.values()]
    return Clients(run, model, tasks, start, kept, latent)


def one_after_the_other(given: Clients) -> Callable[[int], Tensors]:
    """Return what trains the first k clients by `fit` and returns their weights or mean latents, stacked."""
    parameters = weights(given.model)
    mask = SignMask(parameters) if given.kept else None
    if mask is not None:
        mask.keep_(maskable(given.start), given.kept)
    sizes = [len(part) for part in given.latent]

    def dense(task: ImageTask) -> Tensors:
        load(parameters, {name: value.clone() for name, value in given.start.items()})
        fit(given.model, make_optimizer(given.run, parameters, {}), task, 1)
        return {name: parameter.data for name, parameter in parameters.items()}

    def signed(task: ImageTask, mask: SignMask) -> Tensors:
        mask.load_(torch.cat(given.latent))
        optimizer = make_optimizer(given.run, {"latent": mask.latent}, {})
        mask.follow(optimizer)
        mean, average = averaging(mask, task.num_batches)
        fit(given.model, optimizer, task, 1, after_step=average)
        return dict(zip(given.kept, mean.split(sizes), strict=True))

    def epoch(k: int) -> Tensors:
        found: list[Tensors] = []
        for client, task in enumerate(given.tasks[:k]):
            with seeds.torch_stream(given.run.seed, "training", client, 1):
                found.append(dense(task) if mask is None else signed(task, mask))
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}

    return epoch


def in_one_program(given: Clients, k: int, net: Net) -> Callable[[], Tensors]:
    """Return what does the same, all of the first k clients in each step."""
    stacked = {name: nn.Parameter(torch.stack([value] * k)) for name, value in given.start.items()}
    mask = SignMask({name: stacked[name] for name in given.kept}) if given.kept else None
    if mask is not None:
        for name in stacked.keys() - given.kept.keys():
            stacked[name].requires_grad_(False)
        frozen = {name: parameter.detach().clone() for name, parameter in mask.layers.items()}
        mask.keep_(frozen, {name: torch.stack([keep] * k) for name, keep in given.kept.items()})

    def dense() -> Tensors:
        for name, value in given.start.items():
            torch.stack([value] * k, out=stacked[name].data)
        steps(make_optimizer(given.run, stacked, {}))
        return {name: parameter.data.clone() for name, parameter in stacked.items()}

    def signed(mask: SignMask) -> Tensors:
        mask.load_(torch.cat([part.repeat(k) for part in given.latent]))
        optimizer = make_optimizer(given.run, {"latent": mask.latent}, {})
        mask.follow(optimizer)
        mean, average = averaging(mask, given.tasks[0].num_batches)
        steps(optimizer, average)
        parts = mean.split([k * len(part) for part in given.latent])
        return {name: part.view(k, -1) for name, part in zip(given.kept, parts, strict=True)}

    def steps(optimizer: torch.optim.Optimizer, after_step: Callable[[], None] | None = None) -> list[float]:
        losses = []
        for batch in zip(*(drawn(given, client) for client in range(k)), strict=True):
            images, labels = (torch.stack(parts) for parts in zip(*batch, strict=True))
            optimizer.zero_grad()
            logits = net(stacked, images.to(given.dtype))
            each = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(k, -1).mean(1)
            losses.append(each.detach())
            each.sum().backward()
            optimizer.step()
            if after_step is not None:
                with torch.no_grad():
                    after_step()
        optimizer.zero_grad()
        return torch.stack(losses).mean(0).tolist()

    return (lambda: signed(mask)) if mask is not None else dense


def drawn(given: Clients, client: int) -> Iterator[Sequence[Tensor]]:
    """Return the client's batches of an epoch, in the order that its own stream gives."""
    with seeds.torch_stream(given.run.seed, "training", client, 1):
        batches = given.tasks[client].batches()
        first = next(batches)
    return chain([first], batches)


def averaging(mask: SignMask, steps: int) -> tuple[Tensor, Callable[[], None]]:
    """Return the mean of the last half of the latents, still 0, and what adds to it after each step."""
    mean, step = torch.zeros_like(mask.latent), count(1)

    def average() -> None:
        if next(step) > steps - steps // 2:
            mean.add_(mask.latent, alpha=1 / (steps // 2))

    return mean, average

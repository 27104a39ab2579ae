"""Client half of HideNseek (Vallapuram et al. 2022, arXiv 2206.04385), a reconstruction: no code was published."""

from itertools import count
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from fedsieve.algorithm import AlgorithmConfig, Task, Tensors, TrainResult
from fedsieve.client.training import fit, make_optimizer, metrics
from fedsieve.config import RunConfig
from fedsieve.masks.attach import transposed, weights
from fedsieve.masks.binary import maskable
from fedsieve.masks.family import Family, family_of, learnt_only
from fedsieve.masks.frozen import Init, freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.planes import encode_letters, pack_letters, unpack_letters
from fedsieve.masks.pruning import ITERATIONS, load_pruner
from fedsieve.masks.signs import SignMask, masked
from fedsieve.masks.survivors import Survivors

LEVELS = 127
"""The mean sign travels as a whole number from -LEVELS to LEVELS, so that both ends code with the same model."""


class HideNseekConfig(AlgorithmConfig):
    """Keys `hide-n-seek.*`."""

    density: float = Field(0.2, gt=0.0, le=1.0, description="share of the weights that the server keeps")
    mask: str = Field("sign", description="the family of masks, one that is learnt: fedsieve list masks")
    pruner: str = Field("synflow", description="how the server prunes, once and without data: fedsieve list pruners")
    prune_iterations: int = Field(
        ITERATIONS, ge=1, le=10_000, description="steps of a pruner that goes in steps, as synflow does"
    )
    init: Init = Field(
        "signed-constant", description="the frozen weights: kaiming-normal, or signed-constant of the same deviation"
    )
    aggregate: Literal["mean", "vote"] = Field(
        "mean",
        description="what the server sends: the mean of the signs, or the sign of a round's majority, 1 bit a weight; "
        "of another family the mean mask, centred",
    )
    memory: float = Field(
        0.7, ge=0.0, lt=1.0, description="share of the average so far in the next, for aggregate = mean; 0: forget it"
    )
    restart: float = Field(
        0.1, gt=0.0, le=10.0, description="clients restart at this times what the server sends and their own share"
    )
    own_share: float = Field(
        0.3, ge=0.0, le=1.0, description="share of a client's own last signs in where its latents restart"
    )
    average_last: float = Field(
        0.5, ge=0.0, le=1.0, description="share of a round's last steps whose mean latents give the signs; 0: one step"
    )

    @property
    def family(self) -> Family:
        """The family that `mask` names."""
        return family_of("hide-n-seek.mask", self.mask)

    @model_validator(mode="after")
    def _mask_is_learnt(self) -> "HideNseekConfig":
        family = family_of("hide-n-seek.mask", self.mask, learnt_only)
        given = f"hide-n-seek.mask: got {self.mask!r}"
        if family.scope == "row" and self.density < 1:
            raise ValueError(
                f"{given} with hide-n-seek.density = {self.density:g}, where pruning has already chosen among the "
                "inputs of a unit, allowed: with hide-n-seek.density = 1"
            )
        if self.aggregate == "vote" and len(family.alphabet) > 2:
            raise ValueError(f"{given} with hide-n-seek.aggregate = 'vote', allowed: a mask of two values")
        return self

    @model_validator(mode="after")
    def _pruner_is_there(self) -> "HideNseekConfig":
        load_pruner(self.pruner, "hide-n-seek.pruner")
        return self

    @model_validator(mode="after")
    def _magnitudes_differ(self) -> "HideNseekConfig":
        if self.pruner == "magnitude" and self.init == "signed-constant":
            raise ValueError(
                "hide-n-seek.pruner: got 'magnitude' with hide-n-seek.init = 'signed-constant', where all weights of a "
                "layer are of one size, allowed: with hide-n-seek.init = 'kaiming-normal'"
            )
        return self


class HideNseekTrainer:
    """Learn the signs of frozen weights w: the network uses w ⊙ sign(m), and sign(m) is all that is sent.

    Everybody draws w from the run's seed. The latents m restart each round at a small multiple of the mean sign that
    the server sends, with a share of the client's own last signs; a multiple of 1 would freeze every sign. The
    optimiser starts anew with them. The signs are those of the latents' mean over the last steps: a single step's are
    noisy, as each sign is all or nothing (tail averaging, Jain et al., JMLR 2018, for signs). What stays on the client
    is the keep-mask and its last signs, one bit a weight each. With another family of masks than the reconstruction's,
    mask(m) takes the place of sign(m), and the mean entry, in [-1, 1], that of the mean sign.
    """

    def __init__(self, run: RunConfig, config: HideNseekConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        frozen = freeze_(model, config.init, run.seed, run.frozen_gain)
        self.weights = {name: tensor.clone() for name, tensor in frozen.items()}
        self._all_groups, self.family, self._in_x_out = groups_of(model), config.family, transposed(model)
        self.mask = SignMask(weights(model), self.family, self._in_x_out)
        self._pruned: tuple[bytes, Tensor, Survivors] | None = None

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from latents at `restart` times the broadcast and the client's own signs."""
        keep = received.get("keep", state.get("keep"))
        if keep is None:
            raise LookupError("this node has lost the keep-mask, and none was sent")
        own = state.get("signs") if _same(keep, state.get("keep")) else None
        keep, survivors = self._prune(keep)
        broadcast = unpack_broadcast({name: tensor.cpu().numpy() for name, tensor in received.items()}, survivors)
        start = torch.from_numpy(broadcast).to(self.mask.latent.device).float() / LEVELS
        if own is not None:
            last = self.family.centred(self._entries(own, len(start))).to(start.device)
            start.lerp_(last, self.config.own_share)
        self.mask.load_(self.config.restart * start)
        as_received = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, {"latent": self.mask.latent}, {})
        self.mask.follow(optimizer)
        steps, step = self.run.local_epochs * task.num_batches, count(1)
        averaged = max(1, round(self.config.average_last * steps))
        mean = torch.zeros_like(start)

        def average() -> None:
            if next(step) > steps - averaged:
                mean.add_(self.mask.latent, alpha=1 / averaged)

        loss = fit(self.model, optimizer, task, self.run.local_epochs, after_step=average)
        if task.num_examples > 0:
            self.mask.load_(mean)
        local = task.evaluate(self.model)
        entries = survivors.layout(self._in_x_out).values(self.family, self.mask.latent.detach())
        letters = self.family.letters(entries)
        code = encode_letters(letters, levels_of(self.family, broadcast), self.groups)
        kept = survivors.density * (int(torch.count_nonzero(entries)) / len(entries))
        return TrainResult(
            arrays={"signs": torch.from_numpy(code.copy())},
            metrics=metrics(task, as_received, local, loss) | {"mask-sparsity": 1 - kept},
            state={"keep": keep, "signs": torch.from_numpy(pack_letters(letters, len(self.family.alphabet)))},
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return w ⊙ sign(m) of the client's last signs."""
        _, survivors = self._prune(state["keep"])
        entries = self._entries(state["signs"], sum(survivors.layer_sizes))
        return self.weights | masked(self.weights, survivors, entries)

    def _entries(self, packed: Tensor, n: int) -> Tensor:
        """Return the entries of a client's last mask, on the CPU."""
        return self.family.entries(unpack_letters(packed.cpu().numpy(), n, len(self.family.alphabet)))

    def _prune(self, packed: Tensor) -> tuple[Tensor, Survivors]:
        """Keep what the packed keep-mask keeps; it and what it says are one for all clients of a process."""
        bits = packed.cpu().numpy()
        known = bits.tobytes()
        if self._pruned is None or self._pruned[0] != known:
            layers = maskable(self.weights)
            survivors = Survivors.unpack(bits, {name: w.shape for name, w in layers.items()})
            self.mask.keep_(layers, {name: survivors.keep[name].to(weight.device) for name, weight in layers.items()})
            self.groups = survivors.take(self._all_groups)
            self._pruned = known, packed, survivors
        return self._pruned[1:]


def _same(keep: Tensor, own: Tensor | None) -> bool:
    """Return whether the client's own signs are of the weights that `keep` keeps."""
    return own is not None and torch.equal(keep.cpu(), own.cpu())


def levels_of(family: Family, broadcast: NDArray[np.int8]) -> list[NDArray[np.int8]]:
    """Return what the codec is told of each plane of bits; of signs the broadcast itself."""
    return family.levels(family.uncentred(broadcast / LEVELS))


def pack_broadcast(mean: NDArray[np.int8], aggregate: str) -> dict[str, NDArray[np.uint8] | NDArray[np.int8]]:
    """Return what the server sends of the mean sign: itself, or under `vote` one bit a weight."""
    return {"vote": np.packbits(mean >= 0)} if aggregate == "vote" else {"mean": mean}


def unpack_broadcast(received: dict[str, NDArray[np.uint8]], survivors: Survivors) -> NDArray[np.int8]:
    """Return the mean sign, from -LEVELS to LEVELS, that `pack_broadcast` sent."""
    if "mean" in received:
        return received["mean"].astype(np.int8)
    bits = np.unpackbits(received["vote"], count=sum(survivors.layer_sizes))
    return np.where(bits == 1, LEVELS, -LEVELS).astype(np.int8)

"""Server half of HideNseek (Vallapuram et al. 2022, arXiv 2206.04385), a reconstruction: no code was published."""

import copy
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

from fedsieve import seeds
from fedsieve.allowed import check_arguments
from fedsieve.contract import Arrays, Expected, Replies, Setting
from fedsieve.errors import UserError, one_line
from fedsieve.masks.attach import find_transposed
from fedsieve.masks.binary import flatten
from fedsieve.masks.family import family_of, refuse_static
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.names import ITERATIONS, Init
from fedsieve.masks.planes import decode_letters, max_letters_bytes, pack_letters, unpack_letters
from fedsieve.masks.pruning import prune, pruner_names
from fedsieve.masks.signs import apply_signs
from fedsieve.masks.survivors import Survivors
from fedsieve.protocols.hide_n_seek import LEVELS, HideNseekConfig, levels_of, pack_broadcast
from fedsieve.strategies.mixing import size_weights
from fedsieve.strategy import FederatedStrategy

TIE = 1e-9
"""A tied vote, which is a +1, may miss 0 by as much: shares are rounded."""


class HideNseek(FederatedStrategy):
    """Prune a random network once, without data; then send mean signs and receive signs.

    From the abstract: one-shot pruning at initialisation by synaptic saliency, on the server, and sign masks over
    weights that stay frozen. Everything else is our reconstruction. The weights come from the run's seed, which every
    node has; the keep-mask goes to a node until it has given a usable reply, and again after one that was not usable:
    the node may have lost its state. The next broadcast is `memory` times the average so far, which begins at +1, plus
    the rest times the size-weighted mean of the signs, rounded to 1/127; under `aggregate = vote` it is the sign of
    that mean alone. A mean over ten clients is mostly noise; with a memory the one shared mask becomes usable
    (docs/results.md).

    Args:
        model: the network; of it only the shapes matter, as its weights are drawn from the seed.
        example: an input of ones, such as `torch.ones(1, 3, 32, 32)`, or a `fedsieve.inputs.Graph` of such.
        seed: every party draws the frozen weights from it.
        density: share of the weights that the server keeps.
        mask: the family of masks.
        pruner: how the server prunes.
        prune_iterations: steps of a pruner that goes in steps.
        init: how the frozen weights are drawn.
        frozen_gain: how large they are, as a multiple of He's; 0: 1.
        aggregate: what the server sends: the mean of the signs, or that of a round's majority, one bit a weight.
        memory: share of the average so far in the next.
        flower: arguments of `fedsieve.strategy.FederatedStrategy`, such as `fraction_train`.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        *,
        seed: int = 42,
        density: float = 0.2,
        mask: str = "sign",
        pruner: str = "synflow",
        prune_iterations: int = ITERATIONS,
        init: Init = "signed-constant",
        frozen_gain: float = 0.0,
        aggregate: Literal["mean", "vote"] = "mean",
        memory: float = 0.7,
        **flower: Any,
    ) -> None:
        given = {"density": density, "pruner": pruner, "prune_iterations": prune_iterations, "init": init}
        given |= {"frozen_gain": frozen_gain, "aggregate": aggregate, "memory": memory}
        check_arguments(HideNseekConfig, given)
        super().__init__(**flower)
        self.network, self.example = model, example
        self.seed, self.density, self.pruner, self.prune_iterations = seed, density, pruner, prune_iterations
        self.init, self.frozen_gain, self.aggregate, self.memory = init, frozen_gain, aggregate, memory
        self.mask, self.family = mask, family_of("mask", mask, refuse_static)

    @classmethod
    def for_run(cls, setting: Setting, keys: BaseModel, **others: Any) -> Self:
        """Return the strategy of a run, which prunes the run's network."""
        model, example = setting.network(), setting.ones(torch.float64)
        return super().for_run(setting, keys, model=model, example=example, seed=setting.seed, **others)

    def begin(self, initial: Arrays) -> None:
        """Prune, and begin where the family does: with the sign +1 for every weight."""
        network = copy.deepcopy(self.network)
        self.frozen = freeze_(network, self.init, self.seed, self.frozen_gain)
        example = self.example.double()
        random = seeds.random_state(self.seed, "pruning")
        try:
            keep = prune(self.pruner, network, example, self.density, random, self.prune_iterations)
        except FloatingPointError as error:  # for the network has no scores
            others = ", ".join(name for name in pruner_names() if name != self.pruner)
            fault = f"got {self.pruner!r}, but {one_line(error)}, allowed: {others}."
            raise UserError(f"hide-n-seek.pruner: {fault}") from error
        except ValueError as error:
            raise UserError(f"hide-n-seek.pruner: got {self.pruner!r}, but {one_line(error)}.") from error
        except Exception as error:  # a plug-in's own
            fault = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"hide-n-seek.pruner: got {self.pruner!r}, but it failed: {fault}.") from error
        self._all_groups, self._in_x_out = groups_of(network), find_transposed(network)
        self._keep_only(Survivors(keep))
        begins = self.family.initial(self.survivors.weights(self.frozen), seeds.random_state(self.seed, "masks"))
        self.average = flatten(begins).double().numpy()
        self._send()

    def broadcast(self, client: int, acknowledged: bool) -> Arrays:
        """Return the mean sign, and the keep-mask to a node that may not have it."""
        return self.signs_only if acknowledged else self.with_keep_mask

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds one code."""
        return {"signs": Expected.up_to(max_letters_bytes(self.mean.size, len(self.family.alphabet)), np.uint8)}

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Decode the signs, and pack them as bits, 1 for +1; of another family the letters."""
        letters = decode_letters(arrays["signs"], self.levels, self.groups)
        self.layout.check(self.family, self.family.entries(letters))
        return {"signs": pack_letters(letters, len(self.family.alphabet))}

    def combine(self, replies: Replies) -> None:
        """Average the signs, weighted by the number of training examples; one reply at a time, in float64."""
        shares = size_weights(replies.num_examples)[0]
        mean, places = np.zeros(self.mean.size), self.family.centred(np.asarray(self.family.alphabet, dtype=np.float64))
        for share, reply in zip(shares, replies, strict=True):
            mean += share * places[unpack_letters(reply.arrays["signs"], mean.size, len(places))]
        memory = 0.0 if self.aggregate == "vote" else self.memory
        self.average = memory * self.average + (1 - memory) * mean
        self._send()

    def global_model(self) -> Arrays:
        """Return the frozen weights with the signs, or other mask, of the mean."""
        entries = self.layout.values(self.family, torch.from_numpy(self.mean / LEVELS).float())
        folded = self.frozen | apply_signs(self.frozen, self.survivors, entries)
        return {name: tensor.numpy() for name, tensor in folded.items()}

    def client_config(self) -> dict[str, str | int | float]:
        """Return what a client needs to draw the same frozen weights and to read the broadcast."""
        return {
            "hide-n-seek.seed": self.seed,
            "hide-n-seek.init": self.init,
            "hide-n-seek.frozen-gain": self.frozen_gain,
            "hide-n-seek.mask": self.mask,
            "hide-n-seek.aggregate": self.aggregate,
        }

    def state(self) -> Arrays:
        """Return the packed keep-mask and the average sign; the weights follow from the seed."""
        return {"keep": self.keep, "average": self.average}

    def load_state(self, arrays: Arrays) -> None:
        """Continue with the keep-mask that nodes have, which another machine might not have drawn, and the average."""
        shapes = {name: mask.shape for name, mask in self.survivors.keep.items()}
        self._keep_only(Survivors.unpack(arrays["keep"], shapes))
        self.average = arrays["average"]
        self._send()

    def _keep_only(self, survivors: Survivors) -> None:
        self.survivors, self.keep = survivors, survivors.packed()
        self.groups, self.layout = survivors.take(self._all_groups), survivors.layout(self._in_x_out)

    def _send(self) -> None:
        voted = self.aggregate == "vote"
        levels = np.where(self.average >= -TIE, LEVELS, -LEVELS) if voted else np.rint(LEVELS * self.average)
        self.mean = levels.astype(np.int8)
        self.levels = levels_of(self.family, self.mean)
        self.signs_only: Arrays = dict(pack_broadcast(self.mean, self.aggregate))
        self.with_keep_mask: Arrays = self.signs_only | {"keep": self.keep}

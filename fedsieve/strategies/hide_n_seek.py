"""Server half of HideNseek (Vallapuram et al. 2022, arXiv 2206.04385), a reconstruction: no code was published."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fedsieve import seeds
from fedsieve.algorithm import Algorithm
from fedsieve.client.hide_n_seek import LEVELS, HideNseekConfig, HideNseekTrainer, levels_of, pack_broadcast
from fedsieve.errors import UserError, one_line
from fedsieve.masks.attach import transposed
from fedsieve.masks.binary import flatten
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.masks.planes import decode_letters, max_letters_bytes, pack_letters, unpack_letters
from fedsieve.masks.pruning import prune, pruner_names
from fedsieve.masks.signs import masked
from fedsieve.masks.survivors import Survivors
from fedsieve.models import build, ones
from fedsieve.strategies.base import FederatedStrategy
from fedsieve.strategies.mixing import size_weights
from fedsieve.strategies.screening import ClientReply, Expected
from fedsieve.wire import Arrays

TIE = 1e-9
"""A tied vote, which is a +1, may miss 0 by as much: shares are rounded."""


class HideNseek(FederatedStrategy[HideNseekConfig]):
    """Prune a random network once, without data; then send mean signs and receive signs.

    From the abstract: one-shot pruning at initialisation by synaptic saliency, on the server, and sign masks over
    weights that stay frozen. Everything else is our reconstruction. The weights come from the run's seed, which every
    node has; the keep-mask goes to a node until it has given a usable reply, and again after one that was not usable:
    the node may have lost its state. The next broadcast is `memory` times the average so far, which begins at +1, plus
    the rest times the size-weighted mean of the signs, rounded to 1/127; under `aggregate = vote` it is the sign of
    that mean alone. A mean over ten clients is mostly noise; with a memory the one shared mask becomes usable
    (docs/results.md).
    """

    def initialise(self, initial: Arrays) -> None:
        """Prune, and begin where the family does: with the sign +1 for every weight."""
        network = build(self.run, self.shape)
        self.frozen = freeze_(network, self.settings.init, self.run.seed, self.run.frozen_gain)
        ready = ones(self.shape, torch.float64)
        random, pruner = seeds.random_state(self.run.seed, "pruning"), self.settings.pruner
        try:
            kept = prune(pruner, network, ready, self.settings.density, random, self.settings.prune_iterations)
        except FloatingPointError as error:  # for the network has no scores
            others = ", ".join(name for name in pruner_names() if name != pruner)
            raise UserError(f"hide-n-seek.pruner: got {pruner!r}, but {one_line(error)}, allowed: {others}.") from error
        except ValueError as error:
            raise UserError(f"hide-n-seek.pruner: got {pruner!r}, but {one_line(error)}.") from error
        except Exception as error:  # a plug-in's own
            fault = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"hide-n-seek.pruner: got {pruner!r}, but it failed: {fault}.") from error
        self._all_groups, self._in_x_out, self.family = groups_of(network), transposed(network), self.settings.family
        self._keep_only(Survivors(kept))
        begins = self.family.initial(self.survivors.weights(self.frozen), seeds.random_state(self.run.seed, "masks"))
        self.average = flatten(begins).double().numpy()
        self._broadcast()

    def arrays_for(self, client: int) -> Arrays:
        """Return the mean sign, and the keep-mask to a node that may not have it."""
        return self.signs_only if client in self.heard else self.with_keep_mask

    def expected(self) -> Mapping[str, Expected]:
        """A reply holds one code."""
        return {"signs": Expected.up_to(max_letters_bytes(self.mean.size, len(self.family.alphabet)), np.uint8)}

    def unpack(self, client: int, arrays: Arrays) -> Arrays:
        """Decode the signs, and pack them as bits, 1 for +1; of another family the letters."""
        letters = decode_letters(arrays["signs"], self.levels, self.groups)
        self.layout.check(self.family, self.family.entries(letters))
        return {"signs": pack_letters(letters, len(self.family.alphabet))}

    def combine(self, replies: Sequence[ClientReply]) -> None:
        """Average the signs, weighted by the number of training examples; one reply at a time, in float64."""
        shares = size_weights([reply.num_examples for reply in replies])[0]
        mean, places = np.zeros(self.mean.size), self.family.centred(np.asarray(self.family.alphabet, dtype=np.float64))
        for share, reply in zip(shares, replies, strict=True):
            mean += share * places[unpack_letters(reply.arrays["signs"], mean.size, len(places))]
        memory = 0.0 if self.settings.aggregate == "vote" else self.settings.memory
        self.average = memory * self.average + (1 - memory) * mean
        self._broadcast()

    def global_model(self) -> Arrays:
        """Return the frozen weights with the signs, or other mask, of the mean."""
        entries = self.layout.values(self.family, torch.from_numpy(self.mean / LEVELS).float())
        folded = self.frozen | masked(self.frozen, self.survivors, entries)
        return {name: tensor.numpy() for name, tensor in folded.items()}

    def server_arrays(self) -> Arrays:
        """Return the packed keep-mask and the average sign; the weights follow from the seed."""
        return {"keep": self.keep, "average": self.average}

    def restore(self, arrays: Arrays) -> None:
        """Go on with the keep-mask that nodes have, which another machine might not have drawn, and the average."""
        shapes = {name: mask.shape for name, mask in self.survivors.keep.items()}
        self._keep_only(Survivors.unpack(arrays["keep"], shapes))
        self.average = arrays["average"]
        self._broadcast()

    def _keep_only(self, survivors: Survivors) -> None:
        self.survivors, self.keep = survivors, survivors.packed()
        self.groups, self.layout = survivors.take(self._all_groups), survivors.layout(self._in_x_out)

    def _broadcast(self) -> None:
        voted = self.settings.aggregate == "vote"
        levels = np.where(self.average >= -TIE, LEVELS, -LEVELS) if voted else np.rint(LEVELS * self.average)
        self.mean = levels.astype(np.int8)
        self.levels = levels_of(self.family, self.mean)
        self.signs_only: Arrays = dict(pack_broadcast(self.mean, self.settings.aggregate))
        self.with_keep_mask: Arrays = self.signs_only | {"keep": self.keep}


ALGORITHM = Algorithm(
    summary="signs of frozen, pruned weights, about one bit a weight (reconstruction of Vallapuram et al. 2022)",
    config=HideNseekConfig,
    strategy=HideNseek,
    trainer=HideNseekTrainer,
    defaults={"graph": {"local-epochs": 20}, "images": {"local-epochs": 5}},
)

"""Client half of HideNseek (Vallapuram et al. 2022, arXiv 2206.04385), a reconstruction: no code was published."""

from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedsieve.client.training import fit, make_optimizer, metrics
from fedsieve.contract import Task, Tensors, Training, TrainResult
from fedsieve.masks.attach import find_transposed, weights
from fedsieve.masks.binary import maskable
from fedsieve.masks.family import Family
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import Groups, groups_of
from fedsieve.masks.planes import encode_letters, pack_letters, unpack_letters
from fedsieve.masks.signs import SignMask, apply_signs
from fedsieve.masks.survivors import Survivors
from fedsieve.protocols.hide_n_seek import LEVELS, HideNseekConfig, levels_of, unpack_broadcast


class HideNseekTrainer:
    """Learn the signs of frozen weights w: the network uses w ⊙ sign(m), and sign(m) is all that is sent.

    Everybody draws w from the run's seed. The latents m restart each round at a small multiple of the mean sign that
    the server sends, with a share of the client's own last signs; a multiple of 1 would freeze every sign. The
    optimiser starts again with them. The signs are those of the latents' mean over the last steps: a single step's are
    noisy, as each sign is all or nothing (tail averaging, Jain et al., JMLR 2018, for signs). What stays on the client
    is the keep-mask and its last signs, one bit a weight each. With another family of masks than the reconstruction's,
    mask(m) takes the place of sign(m), and the mean entry, in [-1, 1], that of the mean sign.
    """

    def __init__(self, run: Training, config: HideNseekConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        frozen = freeze_(model, config.init, run.seed, config.frozen_gain)
        self.weights = {name: tensor.clone() for name, tensor in frozen.items()}
        self._all_groups, self.family, self._in_x_out = groups_of(model), config.family, find_transposed(model)
        self.mask = SignMask(weights(model), self.family, self._in_x_out)
        self._pruned: tuple[bytes, Tensor, Survivors] | None = None

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from latents at `restart` times the broadcast and the client's own signs."""
        keep = received.get("keep", state.get("keep"))
        if keep is None:
            raise LookupError("this node has lost the keep-mask, and none was sent")
        signs = state.get("signs") if _is_same(keep, state.get("keep")) else None
        keep, survivors = self._prune(keep)
        broadcast = unpack_broadcast({name: tensor.cpu().numpy() for name, tensor in received.items()}, survivors)
        last = None if signs is None else read_entries(self.family, signs, len(broadcast))
        start = restart_place(self.family, broadcast, last, self.config.own_share).to(self.mask.latent.device)
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
        code, packed = encode_entries(self.family, entries, broadcast, self.groups)
        return TrainResult(
            arrays={"signs": torch.from_numpy(code.copy())},
            metrics=metrics(task, as_received, local, loss) | {"mask-sparsity": sparsity(entries, survivors)},
            state={"keep": keep, "signs": torch.from_numpy(packed)},
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return w ⊙ sign(m) of the client's last signs."""
        _, survivors = self._prune(state["keep"])
        entries = read_entries(self.family, state["signs"], sum(survivors.layer_sizes))
        return self.weights | apply_signs(self.weights, survivors, entries)

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


def read_entries(family: Family, packed: Tensor, n: int) -> Tensor:
    """Return the `n` entries of a client's last mask, on the CPU."""
    return family.entries(unpack_letters(packed.cpu().numpy(), n, len(family.alphabet)))


def restart_place(family: Family, broadcast: NDArray[np.int8], last: Tensor | None, own_share: float) -> Tensor:
    """Return where latents restart, in [-1, 1]: the broadcast, with a share of the client's last entries, if any."""
    start = torch.from_numpy(broadcast).float() / LEVELS
    return start if last is None else start.lerp_(family.centred(last), own_share)


def encode_entries(
    family: Family, entries: Tensor, broadcast: NDArray[np.int8], groups: Groups
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a mask as the code that is sent, and as the letters that the client keeps, packed."""
    letters = family.letters(entries)
    code = encode_letters(letters, levels_of(family, broadcast), groups)
    return code, pack_letters(letters, len(family.alphabet))


def sparsity(entries: Tensor, survivors: Survivors) -> float:
    """Return the share of all weights that are 0: pruned, or with an entry of 0."""
    return 1 - survivors.density * (int(torch.count_nonzero(entries)) / len(entries))


def _is_same(keep: Tensor, last: Tensor | None) -> bool:
    """Return whether the client's own signs are of the weights that `keep` keeps."""
    return last is not None and torch.equal(keep.cpu(), last.cpu())

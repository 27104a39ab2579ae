"""Pruning at initialisation: which weights a network keeps, chosen before any training and without any data.

A pruner is a function, found through the entry-point group `fedsieve.pruners`; the built-in ones are registered in the
same way. `prune` calls it, and checks what it returns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedsieve import plugins
from fedsieve.contract import Layout
from fedsieve.masks.attach import MATRIX_DIM
from fedsieve.masks.names import ITERATIONS, PRUNERS
from fedsieve.masks.synflow import Flow, one_thread

TOLERANCE = 0.01
"""Share of all weights by which a pruner may miss the density; one weight a layer is allowed in any case."""

Keep = dict[str, Tensor]

Pruner = Callable[[nn.Module, Any, float, np.random.RandomState, int], Keep]
"""`pruner(network, ones, density, random, iterations)` returns a bool mask, of its shape, for each weight matrix.

The network is to be left as it is; `ones` is an input of ones, for `fedsieve.inputs.run_network`, `random` the only
source of chance, and `iterations` the number of steps of a pruner that goes in steps. The first line of its docstring
is what `fedsieve list pruners` shows.
"""


def pruner_names() -> list[str]:
    """Return the sorted names of all installed pruners, without importing them."""
    return plugins.names(PRUNERS)


def load_pruner(name: str, key: str = "pruner") -> Pruner:
    """Import the pruner registered as `name`; a name nobody registered is a `UserError` about `key`."""
    pruner: Pruner = plugins.load(PRUNERS, name, key, _find_faults)
    return pruner


def _find_faults(pruner: object) -> Iterator[str]:
    if not callable(pruner):
        yield "is not a function"


def prune(
    pruner: str,
    model: nn.Module,
    ones: Any,
    density: float,
    random: np.random.RandomState,
    iterations: int = ITERATIONS,
) -> Keep:
    """Return a bool mask for each weight matrix or kernel: True where the weight is kept.

    Of all these weights together the built-in pruners keep round(`density` x their number), but at least one of each.

    Args:
        pruner: a name of the group `fedsieve.pruners`.
        model: on the CPU, without parametrizations; it is left as it is.
        ones: an input of ones: a tensor, or a `fedsieve.inputs.Graph`.
        density: above 0 and at most 1.
        random: breaks ties and draws random masks; the same generator gives the same masks, with any number of threads.
        iterations: steps of a pruner that goes in steps, at least 1.

    Raises:
        UserError: nobody registered that name.
        ValueError: for a density outside its bounds, or because the pruner did not return what it should.
        FloatingPointError: see `Flow.scores`.
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, got {density}")
    keep = load_pruner(pruner)(model, ones, density, random, iterations)
    return _check(keep, _take_matrices(model), density)


def _check(keep: Keep, weights: Mapping[str, Tensor], density: float) -> Keep:
    """Return the masks in the order of the layers, if they are what a pruner has to return."""
    if not isinstance(keep, Mapping) or set(keep) != set(weights):
        raise ValueError(f"it has to return a mask for each of {', '.join(weights)}, and for nothing else")
    for name, weight in weights.items():
        mask = keep[name]
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != weight.shape:
            given = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"its mask of {name} is {given} where torch.bool {tuple(weight.shape)} is expected")
        if not mask.any():
            raise ValueError(f"it keeps no weight of {name}")
    total, number = sum(weight.numel() for weight in weights.values()), sum(int(mask.sum()) for mask in keep.values())
    if abs(number - density * total) > max(TOLERANCE * total, len(weights)):
        raise ValueError(f"it keeps {number / total:.4g} of the weights where the density is {density:g}")
    return {name: keep[name] for name in weights}


def synflow(model: nn.Module, ones: Any, density: float, random: np.random.RandomState, iterations: int) -> Keep:
    """Keep the weights of the highest SynFlow scores, pruned in steps (Tanaka et al., NeurIPS 2020, algorithm 1).

    After step i of n a share ρ^(i/n) is kept, and what was pruned stays so, as in the paper, where n is 100. Weights
    that are signs times one constant a layer tie by whole layers, of which the published code's threshold drops all; so
    ties are broken at random here, and the best weight of every layer is kept. Weights without any flow tie at 0.

    Scores are equal if their first 20 bits are. The bits after them hold rounding error, by which weights that tie
    would be ranked in some order of the machine's.
    """
    weights = _take_matrices(model)
    total, budget = sum(weight.numel() for weight in weights.values()), _compute_budget(weights, density)
    flow = Flow(model, weights)
    inputs = ones.double()
    keep = np.ones(total, dtype=bool)
    with one_thread():
        for i in range(1, iterations + 1):
            # Adding half of the last bit that stays rounds; as integers, floats at or above 0 are in their own order.
            bits = [score.view(torch.int64).add_(1 << 31) >> 32 for score in flow.scores(inputs).values()]
            keys = np.concatenate([bit.to(torch.int32).numpy().ravel() for bit in bits])
            keys[~keep] = -1
            keep = _choose_largest(keys, weights, round(total * (budget / total) ** (i / iterations)), random)
            flow.mask(_shape_masks(keep, weights))
    return _shape_masks(keep, weights)


def magnitude(model: nn.Module, _: Any, density: float, random: np.random.RandomState, __: int) -> Keep:
    """Keep the largest weights of the whole network (Han et al., NeurIPS 2015, section 3, at initialisation).

    Of the largest |w| in float32, and the largest of every layer; ties are broken at random.
    """
    return keep_largest(_take_matrices(model), density, random)


def erk(model: nn.Module, _: Any, density: float, random: np.random.RandomState, __: int) -> Keep:
    """Keep random weights, more of small layers: Erdős–Rényi-Kernel (Evci et al., ICML 2020, section 3)."""
    return random_erk(_take_matrices(model), density, random)


def uniform(model: nn.Module, _: Any, density: float, random: np.random.RandomState, __: int) -> Keep:
    """Keep random weights, the same share of each layer's."""
    return _choose_at_random(_take_matrices(model), Tensor.numel, density, random)


def keep_largest(weights: Mapping[str, Tensor], density: float, random: np.random.RandomState) -> Keep:
    """Keep the largest |w| of these layers together, in float32, and of each at least one; ties are random."""
    sizes = [weight.abs().float().contiguous().view(torch.int32).numpy().ravel() for weight in weights.values()]
    return _shape_masks(
        _choose_largest(np.concatenate(sizes), weights, _compute_budget(weights, density), random), weights
    )


def random_erk(weights: Mapping[str, Tensor], density: float, random: np.random.RandomState) -> Keep:
    """Keep random weights, of each layer's in proportion to the sum of its dimensions: Erdős–Rényi-Kernel.

    Evci et al., "Rigging the Lottery: Making All Tickets Winners", ICML 2020, section 3: the density of n_in x n_out
    kernels of w x h is ∝ (n_in + n_out + w + h) / (n_in n_out w h). A layer that would exceed 1 is dense, and the rest
    is shared out among the others.
    """
    return _choose_at_random(weights, lambda weight: sum(weight.shape), density, random)


def _take_matrices(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.dim() >= MATRIX_DIM}


def _compute_budget(weights: Mapping[str, Tensor], density: float) -> int:
    """Return how many of all weights are kept: at least one of each layer."""
    return max(round(density * sum(weight.numel() for weight in weights.values())), len(weights))


def _shape_masks(bits: np.ndarray, weights: Mapping[str, Tensor]) -> Keep:
    """Cut one row of booleans into the layers' masks, copied: safetensors refuses tensors that share memory."""
    return {name: piece.clone() for name, piece in Layout.of(weights).split(torch.from_numpy(bits)).items()}


def _choose_largest(
    keys: np.ndarray, weights: Mapping[str, Tensor], budget: int, random: np.random.RandomState
) -> np.ndarray:
    """Return booleans with `budget` True: at the best of each layer and, beside these, where `keys` are largest.

    `keys` is int32, a score's bits or -1 for a weight that is pruned already; it is changed.
    """
    first = 0
    for weight in weights.values():
        layer = keys[first : first + weight.numel()]
        best = np.flatnonzero(layer == layer.max())
        # No key is as large: it would be a float's bits, and these are not a number's.
        layer[best[random.randint(best.size)]] = np.iinfo(np.int32).max
        first += weight.numel()
    # Without the pruned ones: NumPy's partition takes fifteen times as long where most keys are the same.
    left = keys[keys >= 0]
    threshold = np.partition(left, left.size - budget)[left.size - budget]
    keep: np.ndarray = keys > threshold
    ties = np.flatnonzero(keys == threshold)
    keep[random.permutation(ties)[: budget - np.count_nonzero(keep)]] = True
    return keep


def _choose_at_random(
    weights: Mapping[str, Tensor], share: Callable[[Tensor], int], density: float, random: np.random.RandomState
) -> Keep:
    shares, sizes = [share(weight) for weight in weights.values()], [weight.numel() for weight in weights.values()]
    of_layers = []
    for size, count in zip(sizes, _share_out(shares, sizes, _compute_budget(weights, density)), strict=True):
        layer = np.zeros(size, dtype=bool)
        layer[random.permutation(size)[:count]] = True
        of_layers.append(layer)
    return _shape_masks(np.concatenate(of_layers), weights)


def _share_out(shares: Sequence[int], sizes: Sequence[int], budget: int) -> list[int]:
    """Return how many weights each layer keeps: ε share, between 1 and its size, ε such that the sum is `budget`.

    Fractions are rounded down, and those lost most first get one more.
    """
    low, high = 0.0, max(size / share for share, size in zip(shares, sizes, strict=True))
    for _ in range(100):
        middle = (low + high) / 2
        wanted = [min(max(middle * share, 1.0), size) for share, size in zip(shares, sizes, strict=True)]
        low, high = (middle, high) if sum(wanted) < budget else (low, middle)
    counts = [int(count) for count in wanted]
    by_loss = sorted(range(len(sizes)), key=lambda layer: counts[layer] - wanted[layer])
    for layer in by_loss[: budget - sum(counts)]:
        counts[layer] += 1
    return counts

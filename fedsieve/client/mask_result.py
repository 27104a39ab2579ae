"""What a client that learns a {0,1} mask sends, and what it keeps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsieve.algorithm import TrainResult
from fedsieve.masks.binary import levels, pack
from fedsieve.masks.codec import encode


def mask_result(kept: Tensor, chance: Tensor, layer_sizes: Sequence[int], metrics: dict[str, float]) -> TrainResult:
    """Return the mask as one code for the server and, one bit a weight, as the client's state.

    Args:
        kept: bool, one entry a masked weight.
        chance: how likely each is to be kept, as the server sent it; both ends code by it.
        layer_sizes: entries of each layer.
        metrics: what is reported besides the share of zeros.
    """
    code = encode(kept.cpu().numpy(), levels(chance.cpu().numpy()), layer_sizes)
    return TrainResult(
        arrays={"mask": torch.from_numpy(code.copy())},
        metrics=metrics | {"mask-sparsity": 1 - int(kept.sum()) / len(kept)},
        state={"mask": pack(kept)},
    )

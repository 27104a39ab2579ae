"""What a client that learns a {0,1} mask sends, and what it keeps."""

import torch
from torch import Tensor

from fedsieve.algorithm import TrainResult
from fedsieve.masks.binary import levels, pack
from fedsieve.masks.codec import encode
from fedsieve.masks.groups import Groups


def mask_result(kept: Tensor, chance: Tensor, groups: Groups, metrics: dict[str, float]) -> TrainResult:
    """Return the mask as one code for the server and, one bit a weight, as the client's state.

    Args:
        kept: bool, one entry a masked weight.
        chance: how likely each is to be kept, as the server sent it; both ends code by it.
        groups: the group of each masked weight; both ends code by it too.
        metrics: what is reported besides the share of zeros.
    """
    code = encode(kept.cpu().numpy(), levels(chance.cpu().numpy()), groups)
    return TrainResult(
        arrays={"mask": torch.from_numpy(code.copy())},
        metrics=metrics | {"mask-sparsity": 1 - int(kept.sum()) / len(kept)},
        state={"mask": pack(kept)},
    )

"""What a client that learns a mask sends, and what it keeps."""

import torch
from torch import Tensor

from fedsieve.contract import TrainResult
from fedsieve.masks.family import Family
from fedsieve.masks.groups import Groups
from fedsieve.masks.planes import encode_letters, pack_letters


def mask_result(mask: Tensor, mean: Tensor, groups: Groups, family: Family, metrics: dict[str, float]) -> TrainResult:
    """Return the mask as one code for the server and, as few bits a weight as there have to be, as the client's state.

    Args:
        mask: its entries, one a masked weight, of the family's alphabet.
        mean: of the entries, as the server sent it; both ends code by it.
        groups: the group of each masked weight; both ends code by it too.
        family: of the mask.
        metrics: what is reported besides the share of zeros.
    """
    letters = family.letters(mask)
    code = encode_letters(letters, family.levels(mean.cpu().numpy()), groups)
    return TrainResult(
        arrays={"mask": torch.from_numpy(code.copy())},
        metrics=metrics | {"mask-sparsity": 1 - int(torch.count_nonzero(mask)) / len(mask)},
        state={"mask": torch.from_numpy(pack_letters(letters, len(family.alphabet)))},
    )

"""What is in a safetensors file of named arrays, the same bytes each time."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from torch import Tensor


def array_bytes(arrays: Mapping[str, np.ndarray[Any, Any]], about: Mapping[str, object] | None = None) -> bytes:
    """Return arrays as the bytes of a safetensors file, the same each time.

    What it is `about` is one entry of the metadata, as JSON, because safetensors puts several in any order.
    """
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    return bytes(safetensors.numpy.save(whole, None if about is None else {"fedsieve": json.dumps(about)}))


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the bytes of a safetensors file, the same each time; those that share memory are written each.

    Only these are copied: safetensors refuses them.
    """
    whole: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        dense = tensor.contiguous().cpu()
        place = dense.untyped_storage().data_ptr()
        whole[name] = dense.clone() if place in taken and dense.numel() else dense
        taken.add(place)
    return bytes(safetensors.torch.save(whole))

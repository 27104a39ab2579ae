"""Tensors as files."""

import torch
from safetensors.torch import load

from fedsieve.array_files import tensor_bytes


def test_tensors_that_share_memory_are_written_each():
    whole = torch.arange(6.0).view(2, 3)
    given = {"a": whole, "b": whole, "part": whole[1], "none": whole[:0], "none too": whole[:0], "turned": whole.T}
    read = load(tensor_bytes(given))
    assert set(read) == set(given)
    assert all(torch.equal(read[name], tensor) for name, tensor in given.items())


def test_memory_shared_or_not_the_bytes_are_the_same():
    whole = torch.arange(6.0)
    assert tensor_bytes({"a": whole, "b": whole}) == tensor_bytes({"a": whole, "b": whole.clone()})

"""Every random draw has its own generator, derived from (run seed, purpose, client, round).

Nothing depends on the order in which clients run, so a run gives the same numbers in one process, on a Ray cluster
and over gRPC, and a resumed run needs no saved generator state.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, purpose: str, client: int = 0, round_: int = 0) -> int:
    """Return the 32-bit seed of the stream (seed, purpose, client, round_)."""
    entropy = [seed, zlib.crc32(purpose.encode()), client, round_]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def random_state(seed: int, purpose: str, client: int = 0, round_: int = 0) -> np.random.RandomState:
    """Return the stream's NumPy generator; `RandomState` because NumPy's policy freezes its values for ever."""
    return np.random.RandomState(derive(seed, purpose, client, round_))


@contextmanager
def torch_stream(seed: int, purpose: str, client: int = 0, round_: int = 0) -> Iterator[None]:
    """Run the block on torch's default generators seeded for this stream, and put their states back afterwards.

    Dropout and weight initialisers of torch, PyG and users' own modules take no generator; this gives them one.
    """
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        value = derive(seed, purpose, client, round_)
        torch.default_generator.manual_seed(value)
        if cuda:
            torch.cuda.manual_seed_all(value)
        yield

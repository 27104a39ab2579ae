"""Features of nodes that are mostly 0: sparse from the file to the client that trains on them, float32 throughout."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


def to_features(x: Any) -> Tensor:
    """Return features N x F, an array or a SciPy matrix, as float32; sparse ones stay sparse."""
    with np.errstate(over="ignore"):
        if not sp.issparse(x):
            return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        rows: Any = sp.csr_array(x, dtype=np.float32)  # type: ignore[call-overload]
    rows.sum_duplicates()
    places = rows.tocoo()
    indices = torch.from_numpy(np.stack([places.row, places.col]).astype(np.int64))
    return torch.sparse_coo_tensor(
        indices, torch.from_numpy(places.data), places.shape, is_coalesced=True, check_invariants=False
    )


def count_broken(features: Tensor) -> int:
    """Return how many features are not finite."""
    return int((~torch.isfinite(features.values() if features.is_sparse else features)).sum())


def take_rows(features: Tensor, nodes: Tensor) -> Tensor:
    """Return the features of some nodes, sparse if they are."""
    return to_features(to_scipy(features)[nodes.numpy()]) if features.is_sparse else features[nodes]


def to_dense(features: Tensor) -> Tensor:
    """Return the features as an ordinary tensor."""
    return features.to_dense() if features.is_sparse else features


def to_scipy(features: Tensor) -> Any:
    """Return sparse features as SciPy has them."""
    rows, columns = features.indices().numpy()
    return sp.csr_array((features.values().numpy(), (rows, columns)), shape=(features.shape[0], features.shape[1]))

"""A graph small enough for tests."""

from pathlib import Path
from typing import Any

import numpy as np


def write_graph(path: Path, per_class: int = 30, classes: int = 3, seed: int = 0, **changes: Any) -> Path:
    """Write communities as an `.npz` graph; keyword arguments replace arrays, and None takes one out."""
    random = np.random.RandomState(seed)
    n = per_class * classes
    y = np.repeat(np.arange(classes), per_class)
    near = random.random_sample((n, n)) < np.where(y[:, None] == y, 0.2, 0.01)
    sources, targets = np.nonzero(np.triu(near, 1))
    arrays = {
        "x": (np.eye(classes)[y] + random.normal(size=(n, classes))).astype(np.float32),
        "edge_index": np.array([[*sources, *targets], [*targets, *sources]]),
        "y": y,
    } | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path

"""Runs that every engine must give alike."""

from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "fed-pub": {"dataset": "digits-knn", "num-clients": 5, "num-rounds": 3, "fraction-train": 0.6, "hidden-dim": 16},
    "hide-n-seek": {"dataset": "digits", "num-clients": 4, "num-rounds": 3, "fraction-train": 0.5, "local-epochs": 2},
}
"""By algorithm; with some clients that are sampled more than once, and some that are never."""

"""FedSieve: personalised federated learning, each client's own sparse model sieved out of a shared one.

The names in `__all__` are for users and stay as they are; so are `fedsieve.contract`, `algorithms`, `strategy`,
`strategies`, `clientapp` and `testing`, with which algorithms are written. All other modules are internal.
"""

import importlib
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsieve.api.partitioning import partition
    from fedsieve.api.results import Run
    from fedsieve.api.running import open, run
    from fedsieve.api.sweeping import Sweep, sweep
    from fedsieve.errors import RunFailedError, UserError
    from fedsieve.trained import load_model

__all__ = [
    "Run",
    "RunFailedError",
    "Sweep",
    "UserError",
    "__version__",
    "load_model",
    "open",
    "partition",
    "run",
    "sweep",
]

__version__ = "0.1.0"

_MODULES = {
    "Run": "fedsieve.api.results",
    "RunFailedError": "fedsieve.errors",
    "Sweep": "fedsieve.api.sweeping",
    "UserError": "fedsieve.errors",
    "load_model": "fedsieve.trained",
    "open": "fedsieve.api.running",
    "partition": "fedsieve.api.partitioning",
    "run": "fedsieve.api.running",
    "sweep": "fedsieve.api.sweeping",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: torch takes seconds, and `fedsieve --help` needs none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    drawn = random.getstate()  # a library draws from the caller's generator when it is imported
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    finally:
        random.setstate(drawn)


def __dir__() -> list[str]:
    """Return what there is, imported or not."""
    return sorted({*globals(), *__all__})

"""FedSieve: personalised federated learning, each client's own sparse model sieved out of a shared one."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsieve.trained import load_model

__all__ = ["__version__", "load_model"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: torch takes seconds, and `fedsieve --help` needs none of it."""
    if name == "load_model":
        from fedsieve.trained import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What `summary.json` says of a run."""

import logging
import platform
from collections.abc import Mapping
from importlib.metadata import version

from fedsieve.config import RunConfig
from fedsieve.errors import one_line
from fedsieve.runs.history import History
from fedsieve.runs.usage import Usage
from fedsieve.server.binding import Binding

_log = logging.getLogger("fedsieve")

MOST_COUNTS = 500_000
"""Numbers of examples by client and class that a summary holds at most."""

PACKAGES = ("fedsieve", "flwr", "torch", "torch-geometric", "numpy", "pymetis", "scikit-learn")

FIGURES = (
    "num_rounds",
    "best_round",
    "test_accuracy",
    "test_accuracy_std",
    "test_macro_f1",
    "test_accuracy_final",
    "test_accuracy_received",
    "test_accuracy_global",
    "test_accuracy_per_client",
    "uplink_bytes_per_client_round",
    "downlink_bytes_per_client_round",
    "uplink_payload_bytes_per_client_round",
    "downlink_payload_bytes_per_client_round",
    "mask_sparsity",
    "seconds_per_round",
    "cpu_seconds",
    "wall_seconds",
    "peak_rss_mb",
    "rejected_replies",
    "lost_states",
)


def summarise(
    run: RunConfig,
    history: History,
    usage: Usage,
    *,
    engine: str,
    num_clients: int,
    given: Mapping[str, object],
    clients: Mapping[str, object],
    accuracy: float | None,
    ended: str,
) -> dict[str, object]:
    """Return the summary.

    Args:
        run: the run's configuration.
        history: its rounds.
        usage: what it has cost.
        engine: what has run it.
        num_clients: of the clients that took part.
        given: what `given_data` says where the keys do not say all of the data.
        clients: see `describe_clients`.
        accuracy: of the model that all clients share, if there is one.
        ended: see `describe_end`.
    """
    setting = {
        "algorithm": run.algorithm,
        "dataset": run.dataset,
        "partition": run.partition,
        "model": run.model,
        "engine": engine,
        "seed": run.seed,
        "num_clients": num_clients,
    }
    figures = history.accuracy_summary() | history.traffic_summary() | usage.totals()
    versions = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    return (
        setting
        | dict(given)
        | {key: figures.get(key) for key in FIGURES}
        | dict(clients)
        | {"test_accuracy_global": accuracy, "ended": ended, "versions": versions}
    )


def describe_clients(binding: Binding) -> dict[str, object]:
    """Return what the summary says of clients and their classes, as far as it is known and not too much."""
    made: dict[str, object] = {}
    if binding.called:
        made["client_names"] = {str(client): name for client, name in sorted(binding.called.items())}
    if binding.class_names:
        made["class_names"] = list(binding.class_names)
    if (cells := sum(map(len, binding.label_counts.values()))) > MOST_COUNTS:
        _log.warning("the summary leaves out how many examples of each class each client holds: %d numbers", cells)
    elif cells:
        made["label_counts"] = {str(client): list(row) for client, row in sorted(binding.label_counts.items())}
    return made


def describe_end(error: BaseException) -> str:
    """Return how a run has ended, for the summary."""
    return "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else f"failed: {one_line(error)}"

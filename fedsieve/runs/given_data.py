"""What a run is recorded to have been on, where devices hold data of their own."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fedsieve.config import RunConfig
from fedsieve.errors import make_printable


def describe_given_data(run: RunConfig, clients: Collection[int], devices: Collection[int]) -> dict[str, Any]:
    """Return what the run's record says in place of the keys `dataset` and `partition`; nothing if all data are dealt.

    Args:
        run: its keys are true of the clients to whom it deals data.
        clients: all that take part.
        devices: those of them whose data are their own.
    """
    if not devices:
        return {}
    of_devices = f"own data of {len(devices):,} device{'s' * (len(devices) > 1)}"
    dealt = len(devices) < len(clients)
    return {
        "dataset": f"{of_devices} and {Path(run.dataset).name}" if dealt else of_devices,
        "partition": f"given and {run.partition}" if dealt else "given",
        "own_data": len(devices),
    }


def note_on(given: Mapping[str, Any]) -> str:
    """Return the comment with which `config.toml` of such a run begins."""
    about = make_printable(str(given["dataset"]))
    return f"# The run was on {about}: the keys dataset and partition say nothing of devices' own data.\n"

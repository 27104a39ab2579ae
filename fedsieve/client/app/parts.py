"""A federation's data as files, one a client."""

import re
from collections.abc import Sequence
from pathlib import Path

from fedsieve.client.app.holdings import Holding, Images, Subgraph, deal_simulated
from fedsieve.config import RunConfig
from fedsieve.data.columns import natural_order
from fedsieve.data.writing import write_graph, write_images
from fedsieve.errors import UserError
from fedsieve.runs.folder import check_folder


def write_parts(run: RunConfig, folder: Path) -> list[Path]:
    """Write what each client of a simulation holds into a new folder, and return the files in the clients' order.

    A run on them under the partition `given`, or on devices that hold one each, is a run on the same numbers.

    Raises `UserError` when the data cannot be dealt, or the folder is not empty or cannot be written.
    """
    check_folder(folder)
    held = deal_simulated(run)
    suffix = ".npz" if isinstance(held[0], Subgraph) else ".parquet"
    paths = [folder / f"{name}{suffix}" for name in name_files([one.client for one in held])]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, one in zip(paths, held, strict=True):
            _write(path, one)
    except OSError as error:
        raise UserError(f"out: {folder} cannot be written: {error.strerror}.") from error
    return paths


def name_files(clients: Sequence[str]) -> list[str]:
    """Return a file's name for each client, by its own name if it has one, which sort in the clients' order."""
    width = len(str(len(clients) - 1))
    names = [re.sub(r"[^\w.-]+", "-", name).strip(".") or f"client-{at:0{width}}" for at, name in enumerate(clients)]
    if len({name.casefold() for name in names}) < len(names) or names != sorted(names, key=natural_order):
        names = [f"{at:0{width}}-{name}" for at, name in enumerate(names)]
    return names


def _write(path: Path, held: Holding) -> None:
    if isinstance(held, Subgraph):
        write_graph(path, held.graph)
    else:
        assert isinstance(held, Images)
        write_images(path, held.data, held.part)

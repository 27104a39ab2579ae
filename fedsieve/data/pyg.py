"""Any node-classification data set of PyG's, by its class and name: `pyg:Coauthor/CS`, `pyg:Actor`."""

import contextlib
import inspect
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch_geometric.data import Data, Dataset

from fedsieve.data.folders import cache_dir, data_dir, load_cached, writable_folder
from fedsieve.data.own import read_mapping, read_pt
from fedsieve.data.split import MASKS
from fedsieve.errors import UserError, one_line, suggest

_log = logging.getLogger("fedsieve")

PREFIX = "pyg:"


class _Located(Exception):  # noqa: N818 - no error
    """Where a data set's files would be."""

    def __init__(self, raw: list[str], raw_dir: str, processed: list[str]) -> None:
        self.raw, self.raw_dir, self.processed = list(map(Path, raw)), Path(raw_dir), list(map(Path, processed))


def pyg_arrays(dataset: str, column: str = "") -> dict[str, Any]:
    """Return the arrays of a data set of one graph, as its class gives it: no feature is scaled, no edge is added.

    Its raw or processed files are looked for as PyG lays them out, in FEDSIEVE_DATA itself, in `pyg` there and in
    folders called as the class, and downloaded into `pyg/<class>` if they are not there.

    Raises `UserError` for a class or name that PyG does not know, a set that is not one graph with labels of its nodes,
    and files that cannot be downloaded.
    """
    family, _, name = dataset.removeprefix(PREFIX).partition("/")
    kind = _find_class(dataset, family)
    arguments = _arguments(dataset, kind, name)
    if "root" not in inspect.signature(kind.__init__).parameters:
        return _arrays(dataset, _take_graph(dataset, _make(dataset, kind, arguments)), column)
    roots = [
        base / place for base in (data_dir(), cache_dir() / "data") for place in (f"pyg/{family}", "pyg", family, "")
    ]
    located = [_locate(dataset, kind, arguments | {"root": str(root)}) for root in roots]
    for at, root in zip(located, roots, strict=True):
        if all(file.is_file() for file in at.raw):
            return _arrays(dataset, _process(dataset, kind, arguments | {"root": str(root)}, at), column)
        if all(file.is_file() for file in at.processed):
            return read_pt(at.processed[0], column)
    root = writable_folder([roots[0], roots[4]])
    _download(dataset, kind, arguments | {"root": str(root)}, located[0].raw_dir)
    at = _locate(dataset, kind, arguments | {"root": str(root)})
    return _arrays(dataset, _process(dataset, kind, arguments | {"root": str(root)}, at), column)


def _find_class(dataset: str, family: str) -> Any:
    import torch_geometric.datasets

    kind = getattr(torch_geometric.datasets, family, None)
    if not (isinstance(kind, type) and issubclass(kind, Dataset)):
        names = torch_geometric.datasets.__all__
        raise UserError(
            f"dataset = {dataset!r}: PyG has no data set {family!r}{suggest(family, names)}; allowed: "
            "pyg:CLASS or pyg:CLASS/NAME, of torch_geometric.datasets."
        )
    return kind


def _arguments(dataset: str, kind: Any, name: str) -> dict[str, str]:
    parameters = inspect.signature(kind.__init__).parameters
    needed = "name" in parameters and parameters["name"].default is inspect.Parameter.empty
    if bool(name) != needed and (needed or "name" not in parameters):
        wants = "a name after it, as in pyg:Coauthor/CS" if needed else f"pyg:{kind.__name__}, which has no names"
        raise UserError(f"dataset = {dataset!r}: got the name {name!r}, allowed: {wants}.")
    return {"name": name} if name else {}


def _locate(dataset: str, kind: Any, arguments: dict[str, str]) -> _Located:
    """Return where PyG would look for the files; nothing is read or made."""

    def locate(self: Any) -> None:
        raise _Located(self.raw_paths, self.raw_dir, self.processed_paths)

    finder = type(kind.__name__, (kind,), {"_download": locate, "_process": locate})
    try:
        _make(dataset, finder, arguments)
    except _Located as found:
        return found
    raise UserError(f"dataset = {dataset!r}: PyG's class {kind.__name__} keeps no files that could be looked for.")


def _process(dataset: str, kind: Any, arguments: dict[str, str], at: _Located) -> Data:
    def build(working: Path) -> Data:
        made = type(kind.__name__, (kind,), {"_download": lambda _: None, "processed_dir": str(working)})
        return _take_graph(dataset, _make(dataset, made, arguments))

    files = [str(file.relative_to(at.raw_dir)) for file in at.raw]
    return load_cached(dataset.replace(":", "-").replace("/", "-").lower(), at.raw_dir, files, build)


def _download(dataset: str, kind: Any, arguments: dict[str, str], place: Path) -> None:
    def stop(self: Any) -> None:
        raise _Located(self.raw_paths, self.raw_dir, self.processed_paths)

    try:
        with _quiet():
            type(kind.__name__, (kind,), {"_process": stop})(**arguments)
    except _Located:
        return
    except Exception as error:  # each library's network errors are of another family
        raise UserError(
            f"dataset = {dataset!r}: it is not in {place} and could not be downloaded ({type(error).__name__}: "
            f"{one_line(error)}): connect to the network, or put its raw files there."
        ) from error


def _make(dataset: str, kind: Any, arguments: dict[str, str]) -> Any:
    try:
        with _quiet():
            return kind(**arguments)
    except (_Located, UserError):
        raise
    except Exception as error:  # a class checks its name as it likes, mostly by an assertion
        reason = f"{type(error).__name__}: {one_line(error)}".removesuffix(": ")
        raise UserError(
            f"dataset = {dataset!r}: PyG's class {kind.__name__} could not make it ({reason}); allowed: a name that "
            "the class knows, of a set with one graph."
        ) from error


def _take_graph(dataset: str, made: Any) -> Data:
    """Return the one graph of a set."""
    if len(made) != 1:
        raise UserError(f"dataset = {dataset!r}: it holds {len(made):,} graphs, allowed: a set of one, with labels.")
    graph = made[0]
    if type(graph) is not Data or graph.y is None:
        what = "has no labels y" if type(graph) is Data else f"is a {type(graph).__name__}"
        raise UserError(f"dataset = {dataset!r}: its graph {what}, allowed: a Data of one kind of nodes with labels y.")
    return graph


def _arrays(dataset: str, graph: Data, column: str) -> dict[str, Any]:
    arrays = read_mapping(dataset, graph.to_dict(), column)
    masks = [key for key in MASKS if key in arrays]
    if masks and len(masks) < len(MASKS):  # as of KarateClub
        _log.warning("%s: only %s given, which is not used", dataset, ", ".join(masks))
        arrays = {key: array for key, array in arrays.items() if key not in masks}
    return arrays


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide PyG's words on its progress."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield

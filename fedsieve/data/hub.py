"""A set of images of the Hugging Face hub, through `datasets`: `hf:OWNER/NAME` or `hf:OWNER/NAME/CONFIG`."""

import contextlib
import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsieve.data.own_images import SPLIT, Files
from fedsieve.errors import UserError, one_line
from fedsieve.user_data import USES

_log = logging.getLogger("fedsieve")

PREFIX = "hf:"


def load_splits(dataset: str) -> dict[str, Any]:
    """Return the splits for training, validation and testing that a set has, in this order, by name.

    It is downloaded where `datasets` keeps its own; what is there is used without a network. A set without a split for
    training is trained on its only one.

    Raises `UserError` where it cannot be loaded, or has several splits and none is for training.
    """
    import datasets

    owner, _, rest = dataset.removeprefix(PREFIX).partition("/")
    name, _, config = rest.partition("/")
    if not owner or not name:
        raise UserError(f"dataset: got {dataset!r}, allowed: hf:OWNER/NAME, or hf:OWNER/NAME/CONFIG.")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it draws its progress
            loaded = datasets.load_dataset(f"{owner}/{name}", *filter(None, [config]))
    except Exception as error:  # the library's, of the network and of files each raise others
        raise UserError(
            f"dataset: got {dataset!r}, which cannot be loaded ({type(error).__name__}: {one_line(error)}), allowed: a "
            "data set of the hub, with a network the first time."
        ) from error
    splits: dict[str, Any] = dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}
    if len(splits) == 1:
        return {"train": next(iter(splits.values()))}
    known = {split: USES[split.lower()] for split in splits if split.lower() in USES}
    if 0 not in known.values():
        raise UserError(f"dataset: got {dataset!r}, whose splits are {', '.join(splits)}, allowed: one called train.")
    if others := sorted(set(splits) - set(known)):
        _log.warning("%s: the splits %s are ignored", dataset, ", ".join(others))
    return {split: splits[split] for split in sorted(known, key=lambda split: known[split])}


def describe(splits: Mapping[str, Any]) -> str:
    """Return what changes when the data do."""
    versions = "".join(f"{split} {one._fingerprint} " for split, one in splits.items())
    return hashlib.sha256(versions.encode()).hexdigest()[:16]


def write_splits(splits: Mapping[str, Any], folder: Path) -> Files:
    """Write the splits as parquet files, the images' bytes in them, and return these."""
    train: list[Path] = []
    test: list[Path] = []
    for split, one in splits.items():
        path, use = folder / f"{split}.parquet", USES[split.lower()]
        written = _mark(one) if use == 1 else one
        with contextlib.redirect_stderr(io.StringIO()):
            written.to_parquet(str(path))
        (test if use == 2 else train).append(path)
    return Files(tuple(train), tuple(test))


def _mark(split: Any) -> Any:
    """Return a split whose column says that it is for validation."""
    plain = split.remove_columns(SPLIT) if SPLIT in split.column_names else split
    return plain.add_column(SPLIT, ["val"] * len(split))


def read_values(dataset: str, splits: Mapping[str, Any], column: str) -> list[Any]:
    """Return a column's values, split after split. Raises `UserError` where there is none."""
    for one in splits.values():
        if column not in one.column_names:
            raise UserError(f"{dataset}: has no column {column!r}; allowed: {', '.join(one.column_names)}.")
    return [value for one in splits.values() for value in one[column][:]]

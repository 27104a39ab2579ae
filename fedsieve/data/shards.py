"""A folder's parquet files: one a split, or the shards that the Hugging Face hub and others cut them in."""

import re
from collections.abc import Sequence
from pathlib import Path

from fedsieve.errors import UserError

SHARD = re.compile(r"(?P<split>.*)-(?P<number>\d{5})-of-(?P<total>\d{5})\.parquet", re.IGNORECASE)
SPLIT = re.compile(r"(train|test|val|valid|validation|dev)(?![a-z])", re.IGNORECASE)

Paths = tuple[Path, ...]
Ignored = tuple[tuple[Path, tuple[str, ...]], ...]


def find_tables(folder: Path) -> tuple[Paths, Paths, Paths, Ignored] | None:
    """Return a folder's parquet files for training and for testing, nothing, and what is not used; None without any.

    They lie in the folder, in its folder `data`, or in `train` and `test` in one of these. A file belongs to the split
    that its name begins with; where none is named for training, those that name no split are.

    Raises `UserError` when there are files for testing only, or a shard is missing.
    """
    whole = [folder / "train.parquet", folder / "test.parquet"]
    if whole[0].is_file():
        return (whole[0],), tuple(file for file in whole[1:] if file.is_file()), (), ()
    for root in (folder, folder / "data"):
        given = _parquet_files(root)
        by_folder = {name: _parquet_files(root / name) for name in ("train", "test")}
        if not given and not any(by_folder.values()):
            continue
        named = {name: (*(file for file in given if _split(file) == name), *by_folder[name]) for name in by_folder}
        plain = tuple(file for file in given if not _split(file))
        train, test = named["train"] or plain, named["test"]
        if not train:
            raise UserError(
                f"{root}: {(*test, *given)[0].name} is not for training; give train.parquet or train-*.parquet too."
            )
        check_complete(train)
        check_complete(test)
        rest = tuple(file.name for file in given if file not in train and file not in test)
        return train, test, (), ((root, rest),) if rest else ()
    return None


def check_whole(path: Path) -> None:
    """Raise `UserError` for a file that is one of several shards."""
    if (shard := SHARD.fullmatch(path.name)) and int(shard["total"]) > 1:
        raise UserError(
            f"{path}: is shard {int(shard['number']) + 1} of {int(shard['total'])}; give the folder {path.parent}, "
            "whose shards are read together."
        )


def check_complete(files: Sequence[Path]) -> None:
    """Raise `UserError` when one of the shards is missing."""
    names = {file.name for file in files}
    for shard in filter(None, map(SHARD.fullmatch, sorted(names))):
        for number in range(int(shard["total"])):
            wanted = f"{shard['split']}-{number:05}-of-{shard['total']}.parquet"
            if wanted not in names:
                raise UserError(f"{files[0].parent}: {wanted} is missing; all {int(shard['total'])} shards are needed.")


def _parquet_files(folder: Path) -> Paths:
    if not folder.is_dir():
        return ()
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return tuple(sorted(entry for entry in entries if entry.suffix.lower() == ".parquet" and entry.is_file()))


def _split(file: Path) -> str:
    match = SPLIT.match(file.name)
    return match[1].lower() if match else ""

"""A user's own images, from files that may come from anywhere: nothing in them is ever executed."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fedsieve.data.columns import CLIENT
from fedsieve.data.decoding import Pixels, decode
from fedsieve.data.labels import MAX_CLASSES
from fedsieve.data.shards import find_tables
from fedsieve.data.strange import explain_flat, explain_no_images
from fedsieve.errors import UserError, one_line

_log = logging.getLogger("fedsieve")

Labels: TypeAlias = npt.NDArray[np.int64]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
LABEL_COLUMNS = ("label", "labels", "fine_label", "character", "class", "target")
PATH_COLUMNS = ("image", "images", "img", "path", "image_path", "file", "file_name", "filename", "file_path")
BATCH = 1024

SPLIT = "split"
"""The column that says what an image is for."""

TRAIN, VAL, TEST = 0, 1, 2
USES = {"train": TRAIN, "training": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST, "testing": TEST}


@dataclass(frozen=True)
class Columns:
    """Which columns of a parquet file hold the images and the labels; "" for the one that can."""

    image: str = ""
    label: str = ""


FIND = Columns()
"""Both are to be found."""


@dataclass(frozen=True)
class Files:
    """The files of one set: parquet files, or image files each in the folder of its class, one of `folders`.

    `ignored` are entries of a folder that are neither; `columns` are those of parquet files.
    """

    train: tuple[Path, ...]
    test: tuple[Path, ...]
    folders: tuple[Path, ...] = ()
    ignored: tuple[tuple[Path, tuple[str, ...]], ...] = ()
    columns: Columns = FIND

    @property
    def names(self) -> list[str]:
        """All on which the set depends."""
        return [str(path) for path in (*self.train, *self.test, *self.folders)]

    def log_ignored(self) -> None:
        """Warn about entries that are not used."""
        for folder, names in self.ignored:
            _log.warning("%s: %d entries ignored, %s first", folder, len(names), names[0])


def find(path: Path) -> Files:
    """Return the files of a parquet file, of a folder of parquet files, or of Hugging Face's layout `imagefolder`.

    The last is `path/class/image.png`, or `path/train/class/image.png` with or without `path/test/class/image.png`.

    Raises `UserError` when the folder holds none of these, or not all shards.
    """
    if not path.is_dir():
        return Files((path,), ())
    if tables := find_tables(path):
        return Files(*tables)
    parted = bool(_list_folders(path / "train"))
    roots = [path / "train", path / "test"] if parted else [path]
    ignored = [(path, tuple(folder.name for folder in _list_folders(path) if parted and folder not in roots))]
    folders = [_list_folders(root) for root in roots]
    images = [tuple(image for folder in part for image in _images(folder)) for part in folders]
    ignored += [(folder, tuple(_list_others(folder))) for part in folders for folder in part]
    if not images[0]:
        raise explain_flat(path) if _images(path) else explain_no_images(path)
    if not parted and {image.parent.name.lower() for image in images[0]} <= SPLITS:
        raise explain_flat(images[0][0].parent)
    return Files(
        images[0],
        images[1] if parted else (),
        tuple(folder for part in folders for folder in part),
        tuple((folder, names) for folder, names in ignored if names),
    )


@dataclass(frozen=True)
class Contents:
    """Decoded images N x C x H x W and labels N, the training images first, then those for validation and testing.

    Attributes:
        num_val: None where the files leave it open which images are for validation.
        num_classes: all labels are below it.
        names: of the first classes.
    """

    images: Pixels
    labels: Labels
    num_train: int
    num_val: int | None
    num_classes: int
    names: tuple[str, ...]


def read(files: Files) -> Contents:
    """Return what the files hold.

    C is 3 if any image is in colour, else 1. Classes given by words or folders are numbered in the order of their
    names; whole numbers are labels as they are, and have names only if the file does. A column `split` of a parquet
    file says what an image is for: train, val or test.

    Raises `UserError`, naming the file, for anything that is damaged, missing or out of range.
    """
    if files.folders:
        paths = (*files.train, *files.test)
        parents = [path.parent.name for path in paths]
        classes = tuple(sorted({folder.name for folder in files.folders}))
        labels = np.searchsorted(classes, parents).astype(np.int64)
        images = decode(len(paths), read_contents(paths))
        return Contents(images, labels, len(files.train), None, len(classes), classes)
    tables = [Table.open(path, files.columns) for path in (*files.train, *files.test)]
    labels, num_classes, names = _table_labels(tables)
    images = decode(len(labels), (image for table in tables for image in table.images()))
    uses = _read_uses(files, tables)
    if (order := _order(uses)) is not None:
        images, labels = images[order], labels[order]
    num_val = int((uses == VAL).sum()) if any(table.has(SPLIT) for table in tables) else None
    return Contents(images, labels, int((uses == TRAIN).sum()), num_val, num_classes, names)


def read_column(files: Files, column: str) -> list[Any]:
    """Return a column's values in the order of the images that `read` returns.

    Raises `UserError` where a file has no such column.
    """
    if files.folders:
        raise UserError(
            f"{files.folders[0].parent}: images in folders have no column {column!r}; allowed: a .parquet file with it."
        )
    tables = [Table.open(path, files.columns) for path in (*files.train, *files.test)]
    values = [value for table in tables for value in table.read(column)]
    order = _order(_read_uses(files, tables))
    return values if order is None else [values[row] for row in order]


def _read_uses(files: Files, tables: Sequence["Table"]) -> Labels:
    """Return what each image is for, as its file's place or its column `split` says."""
    uses = []
    for number, table in enumerate(tables):
        by_file = TRAIN if number < len(files.train) else TEST
        words = [str(word).lower() for word in table.read(SPLIT)] if table.has(SPLIT) else None
        if words is not None and (strange := next((word for word in words if word not in USES), None)):
            raise UserError(f"{table.path}: {SPLIT} holds {strange!r}; allowed: {', '.join(USES)}.")
        uses.append(np.full(table.num_rows, by_file) if words is None else np.array([USES[word] for word in words]))
    return np.concatenate(uses).astype(np.int64)


def _order(uses: Labels) -> Labels | None:
    """Return the rows in the order of what they are for, None where they are in it."""
    return None if (np.diff(uses) >= 0).all() else np.argsort(uses, kind="stable")


@dataclass(frozen=True)
class Table:
    """The columns of images and of labels of one parquet file, and the names of classes that come with the file.

    `label` is None for a file that is only to be predicted and has none.
    """

    path: Path
    file: Any
    image: str
    label: str | None
    classes: int
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path, columns: Columns = FIND, *, labelled: bool = True) -> "Table":
        """Take the two columns that are named or find them, that of labels only if it is `labelled` or there is one.

        Where it need not be `labelled`, names of columns that it does not have are ignored.

        Raises `UserError` when the file cannot be read, a named column is not there or of no use, or there is a choice.
        """
        import pyarrow.parquet as pq
        from datasets import ClassLabel, Features

        with _read_parquet(path):
            file = pq.ParquetFile(path)
            schema = file.schema_arrow
            features = Features.from_arrow_schema(schema)
            if not file.metadata.num_rows:
                raise UserError(f"{path}: there is no image in it.")
            names = [name for name in (columns.image, columns.label) if labelled or name in schema.names]
            image = _image_column(path, schema, features, columns.image if columns.image in names else "")
            wanted = columns.label if columns.label in names else ""
            label = _find_label_column(path, schema, features, labelled, wanted)
            feature = None if label is None else features[label]
            if not isinstance(feature, ClassLabel):
                return cls(path, file, image, label, 0, ())
            return cls(path, file, image, label, feature.num_classes or 0, tuple(feature.names or ()))

    @property
    def num_rows(self) -> int:
        """The number of images."""
        return int(self.file.metadata.num_rows)

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Yield each image's place and its encoded bytes, a batch in memory at a time."""
        row = 0
        with _read_parquet(self.path):
            for batch in self.file.iter_batches(BATCH, columns=[self.image]):
                column = batch.column(0)
                for value in column.to_pylist():
                    content = value.get("bytes") if isinstance(value, dict) else value
                    if content is None:
                        only = (
                            f"only the path {value['path']!r}"
                            if isinstance(value, dict) and value.get("path")
                            else "no image"
                        )
                        raise UserError(f"{self.path}: row {row} has {only}; each needs the bytes of an image.")
                    yield f"{self.path}: row {row}", content
                    row += 1

    def labels(self) -> npt.NDArray[Any]:
        """Return the labels, int64 or str. Raises `UserError` for one that is missing or out of range."""
        import pyarrow as pa

        with _read_parquet(self.path):
            column = self._column()
            if column.null_count:
                raise UserError(f"{self.path}: {column.null_count} rows have no {self.label}; each image needs one.")
            if pa.types.is_boolean(column.type) or pa.types.is_floating(column.type):
                column = self._whole(column)
            if not pa.types.is_integer(column.type):
                return np.array(column.to_pylist(), dtype=str)
            low, high = min(column.to_pylist()), max(column.to_pylist())
            limit = (self.classes or MAX_CLASSES) - 1
            if low < 0 or high > limit:
                raise UserError(f"{self.path}: {self.label} has labels from {low} to {high}; allowed are 0 to {limit}.")
            return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)

    def labels_as_given(self) -> list[Any]:
        """Return each image's label, an int, a str or None: nothing is wrong where a file is only to be predicted."""
        if self.label is None:
            return [None] * self.num_rows
        with _read_parquet(self.path):
            return list(self._column().to_pylist())

    def has(self, column: str) -> bool:
        """Return whether the file has this column."""
        return column in self.file.schema_arrow.names

    def read(self, column: str) -> list[Any]:
        """Return the values of a column of numbers or words. Raises `UserError` where there is none."""
        if not self.has(column):
            others = [name for name in self.file.schema_arrow.names if name != self.image]
            raise UserError(f"{self.path}: has no column {column!r}; allowed: {', '.join(others)}.")
        with _read_parquet(self.path):
            return list(self.file.read(columns=[column]).column(0).to_pylist())

    def _whole(self, column: Any) -> Any:
        """Return labels that are whole numbers written otherwise, 1.0 or true, as such."""
        import pyarrow as pa

        if broken := sum(value != int(value) if isfinite(value) else True for value in column.to_pylist()):
            raise UserError(
                f"{self.path}: {self.label} holds {broken} labels that are not whole numbers; give classes from 0 on, "
                "or words."
            )
        return column.cast(pa.int64())

    def _column(self) -> Any:
        import pyarrow as pa

        column = self.file.read(columns=[self.label]).column(0).combine_chunks()
        return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _image_column(path: Path, schema: Any, features: Any, wanted: str) -> str:
    """Return the column `wanted`, else the first of Hugging Face's type Image, else the only one that holds bytes."""
    import pyarrow as pa
    from datasets import Image as ImageFeature

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and holds_bytes(kind.field("bytes").type)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    given: list[str] = [field.name for field in schema if holds_bytes(field.type)]
    if wanted and wanted not in given:
        raise _explain_column(path, "image-column", wanted, schema, given, "encoded images")
    if wanted:
        return wanted
    marked = [name for name in given if isinstance(features[name], ImageFeature)]
    if marked or len(given) == 1:
        return (marked or given)[0]
    words = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    if not given and (paths := [name for name in words if name in PATH_COLUMNS]):
        raise UserError(
            f"{path}: the column {paths[0]} holds the paths of images, not their bytes; give encoded images, as "
            "datasets' cast_column(..., Image()) and to_parquet write them, or folder/class/image.png."
        )
    raise UserError(
        f"{path}: the columns are {', '.join(schema.names)}, and {len(given)} of them hold encoded images; one must"
        + (", or image-column says which." if given else ".")
    )


def _explain_column(path: Path, key: str, wanted: str, schema: Any, given: Sequence[str], what: str) -> UserError:
    """Return what to say of a column that a key names and that is not there, or holds something else."""
    fault = f"does not hold {what}" if wanted in schema.names else "is no column"
    allowed = ", ".join(given) or f"a column of {what}, of which there is none"
    return UserError(f"{path}: {key} = {wanted!r} {fault}; allowed: {allowed}.")


def _find_label_column(path: Path, schema: Any, features: Any, labelled: bool, wanted: str) -> str | None:
    """Return the column `wanted`, else the only one with a label's name, of classes, of whole numbers or of words.

    None where there is none such and the file need not be `labelled`; then a column counts only by its name or type.
    """
    import pyarrow as pa
    from datasets import ClassLabel

    def is_label(kind: Any) -> bool:
        if pa.types.is_dictionary(kind):
            return is_label(kind.value_type)
        return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))

    def is_number(kind: Any) -> bool:
        return bool(pa.types.is_boolean(kind) or pa.types.is_floating(kind))

    if wanted:
        usable = [field.name for field in schema if is_label(field.type) or is_number(field.type)]
        if wanted not in usable:
            raise _explain_column(path, "label-column", wanted, schema, usable, "whole numbers or words")
        return wanted
    given: list[str] = [
        field.name
        for field in schema
        if (is_label(field.type) and field.name not in (SPLIT, CLIENT))
        or (field.name in LABEL_COLUMNS and is_number(field.type))
    ]
    named = [name for name in given if name in LABEL_COLUMNS]
    marked = [name for name in given if isinstance(features[name], ClassLabel)]
    chosen = named or marked or (given if labelled else [])
    if len(chosen) == 1:
        return chosen[0]
    if not labelled and not chosen:
        return None
    raise UserError(
        f"{path}: the columns are {', '.join(schema.names)}, and {', '.join(chosen) or 'none'} could be the label; "
        "name one column label, of whole numbers or words, or say which with label-column."
    )


def _table_labels(tables: Sequence[Table]) -> tuple[Labels, int, tuple[str, ...]]:
    """Return all tables' labels, the number of classes, and their names."""
    given = [table.labels() for table in tables]
    for table, labels in zip(tables, given, strict=True):
        if labels.dtype.kind != given[0].dtype.kind:
            raise UserError(f"{table.path}: its labels are words and the training labels numbers, or the other way.")
    labels = np.concatenate(given)
    if labels.dtype.kind == "U":
        classes, labels = np.unique(labels, return_inverse=True)
        num_classes, names = len(classes), tuple(map(str, classes))
    else:
        num_classes = max(int(labels.max()) + 1, *(table.classes for table in tables))
        names = max((table.names for table in tables), key=len)
    return labels.astype(np.int64), num_classes, names


def list_loose(path: Path) -> tuple[Path, ...]:
    """Return the images that lie in a folder itself, in the order of their names; what else is there is told."""
    images = tuple(_images(path)) if path.is_dir() else ()
    if images and (others := _list_others(path)):
        Files((), (), (), ((path, tuple(others)),)).log_ignored()
    return images


def read_contents(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield each image file's name and its bytes. Raises `UserError` for one that cannot be read."""
    return ((str(path), _bytes(path)) for path in paths)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from error


def _list_folders(path: Path) -> list[Path]:
    """Return the folders in a folder by name, none if there is no such folder."""
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if _is_image(entry)]


def _list_others(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if not _is_image(entry)]


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _is_image(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and entry.is_file()


@contextmanager
def _read_parquet(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes pyarrow or datasets raise
        raise UserError(f"{path} could not be read as parquet ({type(error).__name__}: {one_line(error)}).") from error

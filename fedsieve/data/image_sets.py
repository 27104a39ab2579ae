"""Every image set by its name or path, decoded once and kept in the cache: the one way to images."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedsieve.data.columns import Holders, find_holders
from fedsieve.data.folders import Shelf, load_or_build, raw_folder
from fedsieve.data.hub import PREFIX, describe, load_splits, read_values, write_splits
from fedsieve.data.own_images import FIND, Columns, Files, find, read, read_column
from fedsieve.data.shards import check_whole
from fedsieve.errors import UserError
from fedsieve.paths import make_absolute

PARTS = ("train.parquet", "test.parquet")


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 N x C x H x W (C is 1 or 3) and labels int64 N, all below `num_classes`.

    The first `num_train` are the set's own training images, the next `num_val` its own for validation, None where it
    leaves these open, the rest its own test images; it may have none of these. `names` are those of the first classes,
    empty where the labels are only numbers. `holders` says whose each image is, if that was asked for.
    """

    images: Tensor
    labels: Tensor
    num_train: int
    num_classes: int
    names: tuple[str, ...] = ()
    num_val: int | None = None
    holders: Holders | None = None


def load_images(dataset: str, *, part: bool = False, column: str = "", columns: Columns = FIND) -> ImageSet:
    """Return the image set of a name in `IMAGE_DATASETS`, or of a user's own parquet file or folder.

    With a `column` of the parquet files it says whose each image is; `columns` name those of images and of labels.

    Raises `UserError` for an unknown name, for files that are missing, cannot be downloaded or cannot be read, and for
    images of one class, unless they are `part` of a federation's.
    """
    if dataset in IMAGE_DATASETS and column:
        raise UserError(f"column: got {column!r}, which {dataset} does not have, allowed: a column of your own data.")
    if dataset in IMAGE_DATASETS and columns != FIND:
        raise _explain_no_columns(dataset, columns)
    if dataset in IMAGE_DATASETS:
        return IMAGE_DATASETS[dataset]()
    if dataset.startswith(PREFIX):
        return _load_of_hub(dataset, column, columns)
    path = make_absolute(dataset)
    if (dataset and path.is_dir()) or (path.is_file() and path.suffix.lower() == ".parquet"):
        check_whole(path)
        files = replace(find(path), columns=columns)
        if files.folders and columns != FIND:
            raise _explain_no_columns(str(path), columns)
        files.log_ignored()
        data = load_or_build(_SHELF, _mark("own", columns), path, files.names, lambda _: _read_own(files))
        if not part and not (data.labels != data.labels[0]).any():
            raise UserError(f"{path}: all {len(data.labels)} images are of one class; classification needs at least 2.")
        if column:
            holders = find_holders(str(path), column, read_column(files, column), len(data.labels))
            return replace(data, holders=holders)
        return data
    if path.suffix.lower() == ".parquet":
        raise UserError(f"dataset = {dataset!r}: there is no such file.")
    raise UserError(
        f"dataset = {dataset!r} is no image set; allowed are {', '.join(IMAGE_DATASETS)}, the path of a .parquet file, "
        "or of a folder with train.parquet or with a folder of images a class."
    )


def _explain_no_columns(source: str, columns: Columns) -> UserError:
    key, name = ("image-column", columns.image) if columns.image else ("label-column", columns.label)
    return UserError(f"{key}: got {name!r}, but {source} has no columns, allowed: .parquet files, or hf:OWNER/NAME.")


def _mark(name: str, columns: Columns) -> str:
    """Return the name in the cache of images of these columns."""
    return name if columns == FIND else f"{name}-{hashlib.sha256(repr(columns).encode()).hexdigest()[:8]}"


def _load_of_hub(dataset: str, column: str, columns: Columns) -> ImageSet:
    splits = load_splits(dataset)
    name = _mark(f"{dataset.replace(':', '-').replace('/', '-')}-{describe(splits)}", columns)

    def build(folder: Path) -> ImageSet:
        return _read_own(replace(write_splits(splits, folder), columns=columns))

    data = load_or_build(_SHELF, name, Path(), (), build)
    if not column:
        return data
    return replace(data, holders=find_holders(dataset, column, read_values(dataset, splits, column), len(data.labels)))


def scale(pixels: Tensor) -> Tensor:
    """Return pixels, bytes, as a network takes them: float32 in [-1, 1].

    The numbers are fixed: means and deviations of the data would be something that clients tell each other.
    """
    return pixels.float().div_(127.5).sub_(1)


def digits() -> ImageSet:
    """Return scikit-learn's 1,797 digits, 1 x 8 x 8, their 17 shades spread over 0 to 255; no test images."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(np.rint(pixels * 255 / 16).astype(np.uint8)).reshape(-1, 1, 8, 8)
    return ImageSet(images, torch.from_numpy(labels.astype(np.int64)), len(labels), 10)


def hub(name: str, repo: str, folder: str) -> Callable[[], ImageSet]:
    """Return the loader of a set of the Hugging Face hub; its files in `folder` there are kept as FEDSIEVE_DATA/name.

    The labels are numbered from 0 without gaps.
    """

    def download(root: Path) -> Path:
        """Fetch the two files plainly; `datasets` and `huggingface_hub` would write to the user's home."""
        from huggingface_hub import hf_hub_url

        for file in PARTS:
            remote = f"{folder}/{file.replace('.', '-00000-of-00001.')}"
            torch.hub.download_url_to_file(
                hf_hub_url(repo, remote, repo_type="dataset"), str(root / file), progress=False
            )
        return root

    def load() -> ImageSet:
        raw = raw_folder(name, name, PARTS, download)
        return load_or_build(_SHELF, name, raw, PARTS, lambda _: _close_gaps(_read_own(find(raw))))

    return load


IMAGE_DATASETS: dict[str, Callable[[], ImageSet]] = {
    "digits": digits,
    "mnist": hub("mnist", "ylecun/mnist", "mnist"),
    "cifar10": hub("cifar10", "uoft-cs/cifar10", "plain_text"),
    "fashion-mnist": hub("fashion-mnist", "zalando-datasets/fashion_mnist", "fashion_mnist"),
    "emnist": hub("emnist", "tanganke/emnist_letters", "emnist-letters"),
}


def _read_own(files: Files) -> ImageSet:
    held = read(files)
    images, labels = torch.from_numpy(held.images), torch.from_numpy(held.labels)
    return ImageSet(images, labels, held.num_train, held.num_classes, held.names, held.num_val)


def _close_gaps(data: ImageSet) -> ImageSet:
    classes, labels = torch.unique(data.labels, return_inverse=True)
    names = tuple(data.names[label] for label in classes.tolist() if label < len(data.names))
    return ImageSet(data.images, labels, data.num_train, len(classes), names, data.num_val)


def _save(data: ImageSet, path: Path) -> None:
    counts = torch.tensor([data.num_train, data.num_classes, -1 if data.num_val is None else data.num_val])
    tensors = {"images": data.images, "labels": data.labels, "counts": counts}
    save_file(tensors, path, {"names": json.dumps(data.names)})


def _load(path: Path) -> ImageSet:
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        names = tuple(json.loads(file.metadata()["names"]))
    num_train, num_classes, num_val = tensors["counts"].tolist()
    return ImageSet(
        tensors["images"], tensors["labels"], num_train, num_classes, names, None if num_val < 0 else num_val
    )


_SHELF: Shelf[ImageSet] = Shelf("images", ".safetensors", f"3 {PIL.__version__}", _save, _load)

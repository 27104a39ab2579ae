"""A torch Dataset of images and labels, or a mapping of splits of one, as a set of images."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from fedsieve.data.decoding import Pixels, to_pixels
from fedsieve.data.image_sets import ImageSet
from fedsieve.data.labels import MAX_CLASSES
from fedsieve.errors import UserError, one_line
from fedsieve.user_data import USES, is_graph, is_split


def read_dataset(source: str, given: Any) -> ImageSet:
    """Return the images of a `Dataset` whose items are (image, label), or of a mapping of its splits.

    An image is a picture of Pillow's, or an array or tensor of bytes, or of fractions from 0 to 1. A label is a whole
    number from 0 or a word. Classes have names where they are words, or the set has `classes`, as torchvision's do.

    Raises `UserError`, naming the item, for anything else.
    """
    splits = given if is_split(given) else {"train": given}
    ordered = sorted(splits.items(), key=lambda split: USES[str(split[0]).lower()])
    images: list[Pixels] = []
    labels: list[Any] = []
    counts = [0, 0, 0]
    for split, one in ordered:
        for where, image, label in _items(source if given is one else f"{source}[{split}]", one):
            images.append(_read_image(where, image))
            labels.append(_read_label(where, label))
            if images[-1].shape != images[0].shape:
                sizes = [" x ".join(map(str, pixels.shape)) for pixels in (images[-1], images[0])]
                raise UserError(f"{where} is {sizes[0]} and the first image {sizes[1]}; all must have one size.")
            counts[USES[str(split).lower()]] += 1
    if not counts[0]:
        raise UserError(f"{source}: there is no image for training in it.")
    numbers, names = _number(source, labels, [getattr(one, "classes", None) for _, one in ordered])
    has_val = any(USES[str(split).lower()] == 1 for split, _ in ordered)
    num_classes = max(len(names), int(numbers.max()) + 1)
    return ImageSet(
        torch.from_numpy(np.stack(images)), numbers, counts[0], num_classes, names, counts[1] if has_val else None
    )


def _items(source: str, given: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield each item's place, image and label."""
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise UserError(f"{source}: is a {type(given).__name__}, allowed: a torch Dataset with a length.")
    if is_graph(given):
        what = f"is a graph, a {type(given).__name__}"
        raise UserError(f"{source}: {what}, allowed: images; give a Data by itself, or a list of Data, one a client.")
    for number in range(_count(source, given)):
        try:
            item = given[number]
        except Exception as error:  # it is the user's own code
            words = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"{source}: item {number} cannot be read: {words}.") from error
        if isinstance(item, Mapping) and {"image", "label"} <= set(item):
            item = (item["image"], item["label"])
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(f"{source}: item {number} is a {type(item).__name__}, allowed: (image, label).")
        yield f"{source}: item {number}", *item


def _count(source: str, given: Any) -> int:
    try:
        return len(given)
    except Exception as error:  # as above
        raise UserError(f"{source}: is a {type(given).__name__} without a length, allowed: a torch Dataset.") from error


def _read_image(where: str, image: Any) -> Pixels:
    """Return an image, C x H x W."""
    if isinstance(image, Image.Image):
        return to_pixels(image)
    pixels = image.numpy(force=True) if isinstance(image, torch.Tensor) else np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] not in (1, 3) and pixels.shape[2] in (1, 3):
        pixels = pixels.transpose(2, 0, 1)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or pixels.dtype.kind not in "buif" or not pixels.size:
        raise UserError(
            f"{where} is {pixels.dtype} of shape {image.shape}, allowed: an image in grey or RGB, C x H x W."
        )
    top = 1 if pixels.dtype.kind in "bf" else 255
    if not (pixels.min() >= 0 and pixels.max() <= top):
        raise UserError(
            f"{where} has pixels from {pixels.min():g} to {pixels.max():g}, allowed: bytes, or fractions from 0 to 1: "
            "leave a normalisation out of the transform, pixels are scaled to [-1, 1] in any case."
        )
    return np.ascontiguousarray(np.rint(pixels * 255.0) if top == 1 else pixels, dtype=np.uint8)


def _read_label(where: str, label: Any) -> int | str:
    values = np.asarray(label)
    plain = values.item() if values.size == 1 and values.dtype.kind in "biuU" else label
    if isinstance(plain, str):
        return plain
    if isinstance(plain, int) and 0 <= plain < MAX_CLASSES:
        return int(plain)
    raise UserError(f"{where} has the label {label!r}, allowed: a whole number from 0 to {MAX_CLASSES - 1}, or a word.")


def _number(source: str, labels: list[Any], classes: list[Any]) -> tuple[torch.Tensor, tuple[str, ...]]:
    words = {label for label in labels if isinstance(label, str)}
    if words and not all(isinstance(label, str) for label in labels):
        raise UserError(f"{source}: its labels are words and numbers, allowed: one of both.")
    declared = next((tuple(map(str, names)) for names in classes if isinstance(names, list | tuple)), ())
    names = declared if words <= set(declared) else tuple(sorted(words))
    numbers = [names.index(label) for label in labels] if words else labels
    return torch.tensor(numbers, dtype=torch.int64), names

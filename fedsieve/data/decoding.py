"""Encoded images as arrays of bytes; they may come from anywhere, so only plain picture formats are opened."""

import io
import warnings
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image, ImageOps, UnidentifiedImageError

from fedsieve.errors import UserError, one_line

Pixels: TypeAlias = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow opens only these: for PostScript, say, it would start another program."""


def decode(count: int, encoded: Iterable[tuple[str, bytes]]) -> Pixels:
    """Return `count` encoded images, each with the place it comes from, as one array count x C x H x W.

    Alpha is dropped, 16 bits are cut to the upper 8, pictures are turned upright; one image in colour makes C 3.

    Raises `UserError` for an image that cannot be read or is too large, and for images of several sizes.
    """
    images: Pixels | None = None
    odd: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for i, (where, content) in enumerate(encoded):
            pixels = _read_pixels(where, content)
            if images is None:
                images = _find_room(where, (count, *pixels.shape))
            if pixels.shape[1:] != images.shape[2:]:
                odd.append(f"{where} is {_size(pixels)}")
                continue
            if len(pixels) > images.shape[1]:
                wider = _find_room(where, (count, len(pixels), *images.shape[2:]))
                wider[:] = images
                images = wider
            images[i] = pixels
    assert images is not None
    if odd:
        raise UserError(
            f"{odd[0]} while the first image is {_size(images)}, and so {len(odd)} of {count} images differ from it; "
            "all must have one size."
        )
    return images


def _read_pixels(where: str, content: bytes) -> Pixels:
    """Return one image, C x H x W."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return to_pixels(ImageOps.exif_transpose(image))
    except Exception as error:  # a damaged image can make Pillow raise anything
        unknown = isinstance(error, UnidentifiedImageError)
        why = "its format is unknown" if unknown else f"{type(error).__name__}: {one_line(error)}"
        raise UserError(
            f"{where} is not an image that can be read ({why}); allowed are {', '.join(FORMATS)}."
        ) from error


def to_pixels(image: Image.Image) -> Pixels:
    """Return a picture as its pixels, C x H x W."""
    pixels = np.asarray(_eight_bits(image))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return the image in mode L or RGB; Pillow itself would clip 16 bits at 255."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "F":
        raise ValueError("its pixels are fractions")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _find_room(where: str, shape: tuple[int, ...]) -> Pixels:
    needed, free = int(np.prod(shape, dtype=np.float64)), psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"{where}: {shape[0]} images as large as this, {shape[3]} x {shape[2]}, need {needed / 2**30:.1f} GiB; "
            f"{free / 2**30:.1f} GiB of memory are free."
        )
    return np.empty(shape, dtype=np.uint8)


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[-1]} x {pixels.shape[-2]}"

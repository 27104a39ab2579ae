import io
import struct
import zlib
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedsieve.data.decoding import decode
from fedsieve.data.image_sets import load_images
from fedsieve.errors import UserError


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(shade: int, size: tuple[int, int] = (3, 2)) -> bytes:
    return encoded(Image.new("L", size, shade))


def table(path: Path, **columns: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return str(path)


def own(tmp_path: Path, images: list[Any], labels: Any) -> str:
    return table(tmp_path / "own.parquet", image=images, label=labels)


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(grey(shade))


def shades(dataset: str | Path) -> list[int]:
    return [int(shade) for shade in load_images(str(dataset)).images[:, 0, 0, 0]]


def labels(dataset: str | Path) -> list[int]:
    return [int(label) for label in load_images(str(dataset)).labels]


def test_bytes_structs_and_hugging_faces_images_are_the_same_set(tmp_path: Path):
    raw = [grey(10), grey(20)]
    structs = [{"bytes": content, "path": "a.png"} for content in raw]
    features = datasets.Features({"img": datasets.Image(), "labels": datasets.ClassLabel(names=["a", "b", "c"])})
    marked = tmp_path / "marked.parquet"
    datasets.Dataset.from_dict({"img": structs, "labels": [0, 2]}, features=features).to_parquet(marked)
    files = [
        table(tmp_path / "raw.PARQUET", picture=raw, label=[0, 2], note=[1.0, 2.0]),
        table(tmp_path / "struct.parquet", x=structs, character=[0, 2], index=[7, 8]),
        marked,
    ]
    for file in files:
        data = load_images(str(file))
        assert data.images.shape == (2, 1, 2, 3)
        assert shades(file) == [10, 20]
        assert data.labels.tolist() == [0, 2]
        assert (data.num_train, data.num_classes) == (2, 3)


def test_the_names_of_classes_in_a_file_count_even_if_no_image_has_them(tmp_path: Path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=7)})
    rows = {"image": [{"bytes": grey(1), "path": None}] * 2, "label": [0, 2]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "own.parquet")
    assert load_images(str(tmp_path / "own.parquet")).num_classes == 7


@pytest.mark.parametrize("encode", [pa.array, lambda words: pa.array(words).dictionary_encode()])
def test_words_are_numbered_in_their_order_over_both_files(tmp_path: Path, encode: Any):
    table(tmp_path / "train.parquet", image=[grey(1)] * 3, label=encode(["dog", "ant", "dog"]))
    table(tmp_path / "test.parquet", image=[grey(2)] * 2, label=encode(["cat", "dog"]))
    data = load_images(str(tmp_path))
    assert data.labels.tolist() == [2, 0, 2, 1, 2]
    assert (data.num_train, data.num_classes) == (3, 3)


def test_a_folder_with_train_parquet_alone_has_no_test_images(tmp_path: Path):
    table(tmp_path / "train.parquet", image=[grey(1)] * 2, label=[0, 1])
    assert load_images(str(tmp_path)).num_train == 2


def test_folders_of_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    picture(tmp_path / "own" / "dog" / "b.png", 2)
    picture(tmp_path / "own" / "dog" / "a.PNG", 1)
    picture(tmp_path / "own" / "ant" / "c.png", 3)
    (tmp_path / "own" / "cat").mkdir()
    (tmp_path / "own" / "dog" / "notes.txt").touch()
    (tmp_path / "own" / "dog" / ".hidden").touch()
    data = load_images(str(tmp_path / "own"))
    assert caplog.messages == [f"{tmp_path / 'own' / 'dog'}: 1 entries ignored, notes.txt first"]
    assert shades(tmp_path / "own") == [3, 1, 2]
    assert data.labels.tolist() == [0, 2, 2]
    assert (data.num_train, data.num_classes) == (3, 3)


def test_folders_of_parts_and_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    picture(tmp_path / "own" / "train" / "b" / "1.png", 1)
    picture(tmp_path / "own" / "train" / "c" / "1.png", 2)
    picture(tmp_path / "own" / "test" / "a" / "1.png", 3)
    picture(tmp_path / "own" / "extra" / "a" / "1.png", 4)
    data = load_images(str(tmp_path / "own"))
    assert caplog.messages == [f"{tmp_path / 'own'}: 1 entries ignored, extra first"]
    assert (shades(tmp_path / "own"), labels(tmp_path / "own")) == ([1, 2, 3], [1, 2, 0])
    assert (data.num_train, data.num_classes) == (2, 3)


def test_a_changed_picture_is_read_again(tmp_path: Path):
    for name, shade in (("a", 1), ("b", 2)):
        picture(tmp_path / "own" / name / "1.png", shade)
    assert shades(tmp_path / "own") == [1, 2]
    picture(tmp_path / "own" / "a" / "1.png", 200)
    assert shades(tmp_path / "own") == [200, 2]
    picture(tmp_path / "own" / "a" / "2.png", 100)
    assert shades(tmp_path / "own") == [200, 100, 2]


def palette() -> Image.Image:
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    return image


@pytest.mark.parametrize(
    ("content", "pixel"),
    [
        (encoded(Image.new("1", (1, 1), 1)), [255]),
        (encoded(Image.new("LA", (1, 1), (77, 5))), [77]),
        (encoded(Image.new("RGBA", (1, 1), (1, 2, 3, 0))), [1, 2, 3]),
        (encoded(palette()), [9, 8, 7]),
        (encoded(palette(), transparency=bytes([0, 128])), [9, 8, 7]),
        (encoded(palette(), "GIF"), [9, 8, 7]),
        (encoded(Image.fromarray(np.array([[0xABCD]], dtype=np.uint16))), [0xAB]),
        (encoded(Image.fromarray(np.array([[0x1234]], dtype=np.int32)), "TIFF"), [0x12]),
        (encoded(Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "TIFF"), [255, 255, 255]),
    ],
)
def test_every_mode_becomes_grey_or_colour(content: bytes, pixel: list[int]):
    assert decode(1, [("here", content)]).tolist() == [[[[value]] for value in pixel]]


def test_one_image_in_colour_makes_all_so():
    colour = encoded(Image.new("RGB", (1, 1), (1, 2, 3)))
    pixels = decode(3, [("a", grey(9, (1, 1))), ("b", colour), ("c", grey(8, (1, 1)))])
    assert pixels.reshape(3, 3).tolist() == [[9, 9, 9], [1, 2, 3], [8, 8, 8]]


def test_a_photograph_is_turned_upright():
    image = Image.new("L", (2, 1))
    image.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    assert decode(1, [("here", encoded(image, exif=exif))]).tolist() == [[[[255], [0]]]]


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than it holds."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
        (b"IEND", b""),
    ]
    body = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "format is unknown"),
        (b"\x80\x04cos\nsystem\n", "format is unknown"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "format is unknown"),
        (encoded(Image.effect_noise((64, 64), 50))[:200], "truncated"),
        (png(20000, 20000), "decompression bomb"),
        (png(10000, 10000), "decompression bomb"),
        (encoded(Image.new("F", (1, 1)), "TIFF"), "fractions"),
    ],
)
def test_a_damaged_image_is_named(content: bytes, why: str, tmp_path: Path):
    file = own(tmp_path, [grey(1), content], [0, 1])
    with pytest.raises(
        UserError, match=rf"own\.parquet: row 1 is not an image that can be read .*{why}.*PNG"
    ) as caught:
        load_images(file)
    assert "\n" not in str(caught.value)
    for name in "ab":
        picture(tmp_path / "own" / name / "1.png", 1)
    (tmp_path / "own" / "b" / "1.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"own/b/1\.png is not an image that can be read .*{why}"):
        load_images(str(tmp_path / "own"))


def test_images_of_several_sizes_are_counted(tmp_path: Path):
    file = own(tmp_path, [grey(1), grey(2, (4, 5)), grey(3), grey(4, (1, 1))], [0, 1, 0, 1])
    with pytest.raises(UserError, match=r"row 1 is 4 x 5 while the first image is 3 x 2, and so 2 of 4 images differ"):
        load_images(file)


def test_a_set_too_large_for_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    memory = psutil.virtual_memory()._replace(available=10)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(UserError, match=r"row 0: 2 images as large as this, 3 x 2, need 0\.0 GiB"):
        load_images(own(tmp_path, [grey(1)] * 2, [0, 1]))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([0, -1], r"labels from -1 to 0; allowed are 0 to 99999"),
        ([0, 100_000], r"labels from 0 to 100000; allowed"),
        (pa.array([0, 2**64 - 1], pa.uint64()), r"labels from 0 to 18446744073709551615"),
        ([3, 3], r"all 2 images are of one class"),
        (["a", "a"], r"all 2 images are of one class"),
        ([0, None], r"1 rows have no label"),
        ([0.5, 1.0], r"label holds 1 labels that are not whole numbers; give classes from 0 on, or words"),
        ([float("nan"), 1.0], r"label holds 1 labels that are not whole numbers"),
        ([[1, 0], [0, 1]], r"the columns are image, label, and none could be the label"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(given: Any, sentence: str, tmp_path: Path):
    with pytest.raises(UserError, match=sentence):
        load_images(own(tmp_path, [grey(1)] * 2, given))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"label": [0, 1]}, "the columns are label, and 0 of them hold encoded images"),
        ({"a": [b"x"] * 2, "b": [b"y"] * 2, "label": [0, 1]}, "the columns are a, b, label, and 2 of them hold"),
        (
            {"image": [b"x"] * 2, "a": [0, 1], "b": [0, 1]},
            r"and a, b could be the label; .* or say which with label-col",
        ),
        ({"image": [b"x"] * 2, "label": [0, 1], "labels": [0, 1]}, "and label, labels could be the label"),
        ({"image": [b"x", None], "label": [0, 1]}, "row 0 is not an image"),
        ({"image": [None, b"x"], "label": [0, 1]}, "row 0 has no image"),
        (
            {"image": [{"bytes": None, "path": "/etc/passwd"}] * 2, "label": [0, 1]},
            "the columns are image, label, and 0",
        ),
        ({"image": [{"bytes": b"x", "path": None}, {"bytes": None, "path": "b.png"}], "label": [0, 1]}, "row 0 is not"),
        ({"image": ["a.png", "b.png"], "label": [0, 1]}, "the column image holds the paths of images, not their bytes"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "there is no image in it"),
    ],
)
def test_columns_that_are_missing_or_several_are_told(columns: dict[str, Any], sentence: str, tmp_path: Path):
    with pytest.raises(UserError, match=sentence):
        load_images(table(tmp_path / "own.parquet", **columns))


def test_words_beside_numbers_are_refused(tmp_path: Path):
    table(tmp_path / "train.parquet", image=[grey(1)] * 2, label=[0, 1])
    table(tmp_path / "test.parquet", image=[grey(1)] * 2, label=["a", "b"])
    with pytest.raises(UserError, match=r"test\.parquet: its labels are words and the training labels numbers"):
        load_images(str(tmp_path))


@pytest.mark.parametrize("cut", [0, 4, 100, -30])
def test_a_damaged_parquet_file_is_named(cut: int, tmp_path: Path):
    file = own(tmp_path, [grey(1)] * 2, [0, 1])
    Path(file).write_bytes(Path(file).read_bytes()[:cut])
    with pytest.raises(UserError, match=r"own\.parquet could not be read as parquet"):
        load_images(file)


def test_a_folder_without_images_is_told_the_layouts(tmp_path: Path):
    (tmp_path / "own" / "a").mkdir(parents=True)
    with pytest.raises(UserError, match=r"own: there is no parquet file and no image; it holds a; give folder/class/"):
        load_images(str(tmp_path / "own"))


def test_one_class_folder_is_too_few(tmp_path: Path):
    picture(tmp_path / "own" / "a" / "1.png", 1)
    with pytest.raises(UserError, match="all 1 images are of one class"):
        load_images(str(tmp_path / "own"))


def test_what_only_looks_like_a_picture_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name in ("a/1.png", "b/1.png"):
        picture(tmp_path / "set" / name, 7)
    (tmp_path / "set/a/2.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "set/b/2.png").mkdir()
    assert shades(tmp_path / "set") == [7, 7]
    assert caplog.text.count("1 entries ignored, 2.png first") == 2


@pytest.mark.parametrize("given", [[True, False], [1.0, 0.0]])
def test_labels_may_be_booleans_or_whole_floats(given: list[Any], tmp_path: Path):
    assert labels(own(tmp_path, [grey(1), grey(2)], given)) == [1, 0]


def test_a_row_that_only_names_a_file_is_told(tmp_path: Path):
    rows = [{"bytes": grey(1), "path": "a.png"}, {"bytes": None, "path": "/etc/passwd"}]
    with pytest.raises(UserError, match=r"row 1 has only the path '/etc/passwd'; each needs the bytes of an image"):
        load_images(own(tmp_path, rows, [0, 1]))


def shard(folder: Path, name: str, shade: int) -> str:
    return table(folder / f"{name}.parquet", image=[grey(shade)] * 2, label=[0, 1])


def test_shards_are_read_together_and_one_alone_is_refused(tmp_path: Path):
    one = shard(tmp_path / "hub" / "data", "train-00000-of-00002", 1)
    with pytest.raises(UserError, match=rf"{one}: is shard 1 of 2; give the folder {tmp_path / 'hub' / 'data'}, whose"):
        load_images(one)
    with pytest.raises(UserError, match=r"data: train-00001-of-00002.parquet is missing; all 2 shards are needed"):
        load_images(str(tmp_path / "hub"))
    shard(tmp_path / "hub" / "data", "train-00001-of-00002", 2)
    shard(tmp_path / "hub" / "data", "test-00000-of-00001", 3)
    for folder in (tmp_path / "hub", tmp_path / "hub" / "data"):
        assert shades(folder) == [1, 1, 2, 2, 3, 3]
        assert load_images(str(folder)).num_train == 4
    assert shades(shard(tmp_path, "train-00000-of-00001", 7)) == [7, 7]


@pytest.mark.parametrize(
    ("names", "expected", "num_train"),
    [
        (["part-0", "part-1"], [0, 0, 1, 1], 4),
        (["train/0000", "train/0001", "test/0000"], [0, 0, 1, 1, 2, 2], 4),
        (["train_images", "testing", "test_images"], [0, 0, 2, 2], 2),
    ],
)
def test_parquet_files_are_of_the_split_that_their_names_say(
    names: list[str], expected: list[int], num_train: int, tmp_path: Path
):
    for at, name in enumerate(names):
        shard(tmp_path / "own", name, at)
    assert shades(tmp_path / "own") == expected
    assert load_images(str(tmp_path / "own")).num_train == num_train


def test_parquet_files_of_another_split_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    shard(tmp_path, "train", 1)
    shard(tmp_path / "hub", "train-00000-of-00001", 1)
    shard(tmp_path / "hub", "validation-00000-of-00001", 2)
    assert shades(tmp_path / "hub") == [1, 1]
    assert caplog.messages == [f"{tmp_path / 'hub'}: 1 entries ignored, validation-00000-of-00001.parquet first"]


def test_files_for_testing_only_are_told(tmp_path: Path):
    shard(tmp_path, "test", 1)
    with pytest.raises(UserError, match=r"test.parquet is not for training; give train.parquet"):
        load_images(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["dataset_dict.json", "train/state.json"], "it was written by datasets' save_to_disk: write train.parquet"),
        (["processed/pre_filter.pt", "processed/data.pt"], "it holds processed/data.pt: give the path of that file"),
        (["ind.cora.x", "ind.cora.graph"], "it holds Planetoid's raw files: name cora, citeseer or pubmed"),
        (["a.csv", "b.csv", "c.csv", "d.csv"], "it holds a.csv, b.csv, c.csv, ...; give folder/class/image.png"),
        ([], "it is empty; give folder/class/image.png"),
    ],
)
def test_a_folder_of_something_else_is_told_what_it_is(files: list[str], sentence: str, tmp_path: Path):
    (tmp_path / "own").mkdir()
    for name in files:
        (tmp_path / "own" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "own" / name).touch()
    with pytest.raises(UserError, match=rf"own: there is no parquet file and no image; {sentence}"):
        load_images(str(tmp_path / "own"))


@pytest.mark.parametrize(("names", "where"), [(["1.png"], "own"), (["train/1.png", "test/1.png"], "own/test")])
def test_images_in_no_folder_of_a_class_are_told(names: list[str], where: str, tmp_path: Path):
    for name in names:
        picture(tmp_path / "own" / name, 1)
    with pytest.raises(UserError, match=rf"{where}: its images lie in no folder of a class; give folder/class/image"):
        load_images(str(tmp_path / "own"))

"""`fedsieve predict`: what is read, what is written, what is told."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from fedsieve import load_model
from fedsieve.data.image_sets import scale
from tests.helpers import fedsieve, simulated, write_graph

KEYS = {"num-clients": 2, "num-rounds": 3}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where `predictions.csv` may be written."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of pictures of `eight`, `one` and `zero`, and a run of fed-avg on them."""
    place = tmp_path_factory.mktemp("pictures")
    pixels, labels = load_digits(return_X_y=True)
    for digit, name in ((0, "zero"), (1, "one"), (8, "eight")):
        for number, image in enumerate(pixels[labels == digit][:40]):
            picture(place / "set" / name / f"{number:02}.png", image.reshape(8, 8) * 15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSIEVE_CACHE", str(place / "cache"))
        keys = KEYS | {"model": "mlp", "local-epochs": 5, "num-rounds": 2}
        run = simulated(place / "run", keys, algorithm="fed-avg", dataset=str(place / "set"), partition="iid")
    return place / "set", run


def picture(path: Path, pixels: Any, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels).astype(np.uint8)).convert(mode).save(path)
    return path


def table(path: Path = Path("predictions.csv")) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def graph_run(tmp_path: Path) -> tuple[Path, Path]:
    graph = write_graph(tmp_path / "own.npz")
    return graph, simulated(tmp_path / "run", KEYS, dataset=str(graph), hidden_dim=8, lr=0.05)


def says(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().err


def test_every_node_of_the_users_graph_is_in_the_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    _, run = graph_run(tmp_path)
    # nodes alone and two pairs: nothing is cut away
    pairs = np.array([[0, 1, 10, 11], [1, 0, 11, 10]])
    other = write_graph(tmp_path / "other.npz", per_class=10, seed=1, edge_index=pairs)
    assert fedsieve("predict", run, "--client", 1, other, "--probabilities") == 0
    with np.load(other) as arrays:
        x, edges, y = (torch.from_numpy(arrays[name]) for name in ("x", "edge_index", "y"))
    with torch.no_grad():
        expected: Tensor = load_model(run, 1)(x, edges).softmax(1)
    rows = table()
    assert list(rows[0]) == ["node", "predicted", "probability", "label", "p(0)", "p(1)", "p(2)"]
    assert [row["node"] for row in rows] == [str(node) for node in range(30)]
    assert [int(row["predicted"]) for row in rows] == expected.argmax(1).tolist()
    assert [int(row["label"]) for row in rows] == y.tolist()
    found = [[float(row[f"p({k})"]) for k in range(3)] for row in rows]
    assert torch.allclose(torch.tensor(found), expected, atol=2e-6)
    assert [row["probability"] for row in rows] == [row[f"p({row['predicted']})"] for row in rows]
    share = (expected.argmax(1) == y).double().mean()
    out = capfd.readouterr().out.splitlines()
    assert out == [
        "predictions.csv has a line for each of 30 nodes.",
        f"{100 * share:.1f} % are right of the 30 that have a label.",
    ]


@pytest.mark.parametrize(
    ("labels", "count"), [(None, 0), (np.array([2, -1, 1, 0, 9]), 3)], ids=["no labels", "some, and one unknown class"]
)
def test_labels_need_not_be_there(labels: Any, count: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    _, run = graph_run(tmp_path)
    x, edges = np.random.RandomState(0).normal(size=(5, 3)), np.array([[0, 1], [1, 0]])
    given = {"x": x, "edge_index": edges} | ({} if labels is None else {"y": labels})
    np.savez(tmp_path / "new.npz", **given)
    assert fedsieve("predict", run, "new.npz", "--client", 0) == 0
    rows, told = table(), capfd.readouterr()
    assert len(rows) == 5
    if labels is None:
        assert "label" not in rows[0]
        assert told.out.splitlines() == ["predictions.csv has a line for each of 5 nodes."]
    else:
        assert [row["label"] for row in rows] == ["2", "", "1", "0", ""]
        right = sum(row["label"] == row["predicted"] for row in rows)
        assert f"{100 * right / count:.1f} % are right of the 3 that have a label." in told.out
        assert "new.npz: 1 labels are none of the model's classes and do not count" in told.err


def test_a_table_is_not_replaced_unless_that_is_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    graph, run = graph_run(tmp_path)
    Path("mine.csv").write_text("mine")
    assert fedsieve("predict", run, graph, "--client", 0, "--out", "mine.csv") == 2
    assert says(capfd) == (
        "fedsieve: out: got mine.csv, which exists, allowed: another name, or --force to replace it.\n"
    )
    assert Path("mine.csv").read_text() == "mine"
    assert fedsieve("predict", run, graph, "--client", 0, "--out", "mine.csv", "--force", "--quiet") == 0
    out, err = capfd.readouterr()
    assert out.startswith("mine.csv has a line for each of 90 nodes.\n"), "--quiet hides progress, not the result"
    assert err == ""
    assert len(table(Path("mine.csv"))) == 90
    assert fedsieve("predict", run, graph, "--client", 0, "--out", "none/mine.csv") == 2
    assert says(capfd) == "fedsieve: out: none/mine.csv cannot be written: No such file or directory.\n"


def test_data_that_the_model_cannot_take_are_told(
    tmp_path: Path, pictures: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
):
    images, images_run = pictures
    graph, run = graph_run(tmp_path)
    wide = write_graph(tmp_path / "wide.npz", classes=4)
    picture(tmp_path / "large" / "a" / "0.png", np.zeros((9, 8)))
    picture(tmp_path / "colour" / "0.png", np.zeros((8, 8)), "RGB")
    cases: list[tuple[Path, Path | str, str]] = [
        (run, images, f"{images}: holds images, allowed: a graph, which is what the run's models take."),
        (images_run, graph, f"{graph}: holds a graph, allowed: images, which is what the run's models take."),
        (run, wide, f"{wide}: a node's features is of size 4, allowed: 3, which the run's models take."),
        (images_run, "large", "large: an image is of size 1 x 9 x 8, allowed: 1 x 8 x 8, which the run's models take."),
        (images_run, "colour", "colour: an image is of size 3 x 8 x 8, allowed: 1 x 8 x 8, which the run's models "),
        (run, "coraa", "coraa: there is no such file (did you mean cora?); allowed: one, or digits-knn, cora, "),
    ]
    for folder, data, sentence in cases:
        assert fedsieve("predict", folder, data, "--client", 0) == 2
        assert says(capfd).startswith(f"fedsieve: {sentence}"), data
    assert not Path("predictions.csv").exists()


def parquet(path: Path, files: list[Path], **columns: Any) -> Path:
    rows = {"image": [{"bytes": file.read_bytes(), "path": None} for file in files]}
    features = {"image": datasets.Image()}
    for name, (kind, values) in columns.items():
        rows[name], features[name] = values, kind
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).to_parquet(path)
    return path


WAYS: dict[str, Callable[[Path, list[Path]], Path]] = {
    "a folder of folders, of which one is no class": lambda to, files: (
        [
            picture(to / "new" / name / file.name, Image.open(file))
            for name, file in zip(["zero", "one", "sketch"], files, strict=True)
        ]
        and to / "new"
    ),
    "numbers": lambda to, files: parquet(to / "a.parquet", files, label=(datasets.Value("int64"), [2, 1, -1])),
    "names in another order": lambda to, files: parquet(
        to / "a.parquet", files, label=(datasets.ClassLabel(names=["one", "zero", "two"]), [1, 0, 2])
    ),
    "words": lambda to, files: parquet(to / "a.parquet", files, label=(datasets.Value("string"), ["zero", "one", ""])),
}


@pytest.mark.parametrize("way", WAYS)
def test_labels_of_images_are_the_models_classes_by_name_or_number(
    way: str, pictures: tuple[Path, Path], tmp_path: Path
):
    images, run = pictures
    files = [images / "zero" / "00.png", images / "one" / "01.png", images / "eight" / "02.png"]
    assert fedsieve("predict", run, WAYS[way](tmp_path, files), "--client", 1) == 0
    rows = table()
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(file))) for file in files])[:, None]
    with torch.no_grad():
        predicted = load_model(run, 1)(scale(pixels)).argmax(1)
    by_label = {row["label"]: row["predicted"] for row in rows}
    names = ["eight", "one", "zero"]
    assert by_label == dict(zip(["zero", "one", ""], [names[k] for k in predicted], strict=True))
    folders = "folder" in way
    assert [row["image"] for row in rows] == (
        ["one/01.png", "sketch/02.png", "zero/00.png"] if folders else ["0", "1", "2"]
    )


def test_images_without_labels_are_named_by_their_files(pictures: tuple[Path, Path], tmp_path: Path):
    images, run = pictures
    for name in ("b.png", "a.png"):
        (tmp_path / "loose").mkdir(exist_ok=True)
        (tmp_path / "loose" / name).write_bytes((images / "zero" / "00.png").read_bytes())
    assert fedsieve("predict", run, "loose") == 0  # fed-avg: no --client, the model that all share
    assert [row["image"] for row in table()] == ["a.png", "b.png"]
    assert "label" not in table()[0]
    assert table()[0]["predicted"] in ("eight", "one", "zero")
    bare = parquet(tmp_path / "bare.parquet", [images / "one" / "00.png"], id=(datasets.Value("int64"), [7]))
    assert fedsieve("predict", run, bare, "--out", "bare.csv") == 0
    assert [list(row)[:3] for row in table(Path("bare.csv"))] == [["image", "predicted", "probability"]]
    assert table(Path("bare.csv"))[0]["image"] == "0"


def test_grey_images_are_repeated_for_a_network_of_colour(tmp_path: Path):
    for name, colour in (("red", (1, 0, 0)), ("blue", (0, 0, 1))):
        for number in range(12):
            pixels = np.full((8, 8, 3), colour) * (200 + number)
            picture(tmp_path / "set" / name / f"{number}.png", pixels, "RGB")
    run = simulated(tmp_path / "run", KEYS, dataset=str(tmp_path / "set"), model="mlp", algorithm="fed-avg")
    picture(tmp_path / "grey" / "0.png", np.full((8, 8), 77))
    assert fedsieve("predict", run, "grey", "--probabilities") == 0
    with torch.no_grad():
        expected = load_model(run)(scale(torch.full((1, 3, 8, 8), 77))).softmax(1)[0]
    found = [float(table()[0][f"p({name})"]) for name in ("blue", "red")]
    assert found == pytest.approx(expected.tolist(), abs=2e-6)


def test_a_set_known_by_name_is_predicted_whole(tmp_path: Path):
    run = simulated(tmp_path / "run", KEYS, dataset="digits", algorithm="fed-avg", examples_per_client=50)
    assert fedsieve("predict", run, "digits", "--client", 0) == 0
    assert len(table()) == 1797
    assert [row["label"] for row in table()[:3]] == ["0", "1", "2"]


OWN = """
from torch import nn

def make(shape, num_classes):
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), norm, nn.Linear(8, num_classes))
"""


def test_an_own_network_that_fails_is_one_sentence(
    pictures: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "nets_that_predict.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    keys = KEYS | {"model": "nets_that_predict:make", "num-rounds": 1, "batch-size": 7}
    run = simulated(tmp_path / "run", keys, algorithm="fed-avg", dataset=str(pictures[0]), partition="iid")
    one = picture(tmp_path / "one" / "a.png", np.zeros((8, 8)))
    assert fedsieve("predict", run, one.parent) == 2
    told = "model: got 'nets_that_predict:make', but it fails for 1 image: ValueError: there is 1 image, and the"
    assert told in says(capfd)
    monkeypatch.setattr("fedsieve.predictions.EVALUATED_AT_ONCE", 2)
    for name in ("b", "c"):
        picture(tmp_path / "one" / f"{name}.png", np.zeros((8, 8)))
    assert fedsieve("predict", run, one.parent) == 0
    assert len(table()) == 3

"""What Ditto is to do: a step by hand, and what it has in common with FedAvg and with training alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fedsieve.config import parse
from fedsieve.contract import Evaluation, TrainResult
from fedsieve.simulations import simulate
from fedsieve.testing import write_graph
from safetensors.torch import load_file
from torch import Tensor, nn

from fedsieve_ditto.client import DittoTrainer


class Line:
    """A task whose loss is x·v with x = (1, 2): wherever v is, its gradient is (1, 2)."""

    num_examples = num_batches = 1

    def batches(self) -> Iterator[Tensor]:
        yield torch.tensor([1.0, 2.0])

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return torch.as_tensor(model(batch)).sum()

    def evaluate(self, model: nn.Linear) -> Evaluation:
        first, second = model.weight[0].tolist()
        return Evaluation(first, 1, second, 1, 0.0)

    def functional_embedding(self, model: nn.Module) -> Tensor:
        raise NotImplementedError


def trained(trainer: DittoTrainer, w: list[float], state: dict[str, Tensor]) -> TrainResult:
    return trainer.train(Line(), {"weight": torch.tensor([w])}, state)


def test_two_rounds_by_hand() -> None:
    keys = {"optimizer": "sgd", "lr": 0.5, "weight-decay": 0.0, "ditto.lam": 0.4}
    run = parse({"algorithm": "ditto"} | keys)
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[1.0, 1.0]])  # the run's initial weights, and so the first v
    trainer = DittoTrainer(run, run.settings, model)

    first = trained(trainer, [2.0, 6.0], {})
    assert first.arrays["weight"].tolist() == [[1.5, 5.0]]  # w_k = w - 0.5 · (1, 2)
    # v = (1, 1) - 0.5 · ((1, 2) + 0.4 · ((1, 1) - (2, 6)))
    v = [1 - 0.5 * (1 - 0.4), 1 - 0.5 * (2 - 2.0)]
    assert trainer.personal_model(first.state)["weight"][0].tolist() == pytest.approx(v)
    assert first.metrics["received-val-accuracy"] == 2.0, "w, as it was sent"
    assert first.metrics["val-accuracy"] == pytest.approx(v[0]), "v after the step"

    trained(trainer, [9.0, 9.0], {})  # another client in between
    second = trained(trainer, [0.0, 0.0], {name: tensor.clone() for name, tensor in first.state.items()})
    # v = v - 0.5 · ((1, 2) + 0.4 · v)
    v = [0.8 * v[0] - 0.5, 0.8 * v[1] - 1]
    assert trainer.personal_model(second.state)["weight"][0].tolist() == pytest.approx(v)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Any]:
    # Without dropout no draw depends on how much was trained before.
    graph = str(write_graph(tmp_path / "graph.npz", per_class=12))
    tiny = {"num-clients": 4, "num-rounds": 3, "fraction-train": 0.75, "hidden-dim": 4, "dropout": 0.0}
    return tiny | {"dataset": graph, "partition": "random", "train-ratio": 0.4, "val-ratio": 0.3}


def played(folder: Path, keys: dict[str, Any], **others: Any) -> tuple[Path, list[dict[str, str]]]:
    simulate(parse(keys | others | {"out": str(folder)}), quiet=True)
    head, *rows = [line.split(",") for line in (folder / "clients.csv").read_text().splitlines()]
    return folder / "model", [dict(zip(head, row, strict=True)) for row in rows]


def column(rows: list[dict[str, str]], name: str) -> list[str]:
    return [row[name] for row in rows]


def test_w_is_fed_avgs(keys: dict[str, Any], tmp_path: Path) -> None:
    ours, rows = played(tmp_path / "ditto", keys, algorithm="ditto")
    theirs, expected = played(tmp_path / "fed-avg", keys, algorithm="fed-avg")
    assert (ours / "global.safetensors").read_bytes() == (theirs / "global.safetensors").read_bytes()
    for name in ("test_accuracy_received", "uplink_bytes", "downlink_bytes"):
        assert column(rows, name) == column(expected, name)


def test_without_lambda_v_is_trained_alone(keys: dict[str, Any], tmp_path: Path) -> None:
    ours, rows = played(tmp_path / "ditto", keys | {"ditto.lam": 0.0}, algorithm="ditto")
    alone, expected = played(tmp_path / "local", keys, algorithm="local")
    for client in range(4):
        v, own = (load_file(models / f"client-{client}.safetensors") for models in (ours, alone))
        assert all(torch.equal(v[name], own[name]) for name in own)
    for name in ("train_loss", "val_accuracy", "test_accuracy", "test_macro_f1"):
        assert column(rows, name) == column(expected, name), "the client's accuracy is that of v"


def test_the_larger_lambda_the_nearer_v_is_to_w(keys: dict[str, Any], tmp_path: Path) -> None:
    distances = []
    for lam in (0.0, 1.0, 10.0):
        models, _ = played(tmp_path / f"{lam}", keys | {"ditto.lam": lam, "num-rounds": 15}, algorithm="ditto")
        w, v = (load_file(models / f"{name}.safetensors") for name in ("global", "client-0"))
        distances.append(sum(float((v[name] - w[name]).square().sum()) for name in w))
    assert distances == sorted(distances, reverse=True)

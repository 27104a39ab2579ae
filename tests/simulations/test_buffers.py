"""Runs of networks with buffers that training changes, under every algorithm."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message
from safetensors import safe_open

from fedsieve import load_model
from fedsieve.client.app.holdings import deal_simulated
from fedsieve.config import parse, read
from fedsieve.data.image_sets import scale
from fedsieve.simulations.grid import App
from fedsieve.testing.compare import client_rows, difference
from fedsieve.testing.runs import Between, Clients, Run, play, play_on_devices
from fedsieve.testing.runs import resume as resume_played
from fedsieve.testing.trial import round_of
from tests.helpers import ALGORITHMS, assert_same_run, config, rounds_of, simulated

KEYS: dict[str, Any] = {
    "dataset": "digits", "partition": "iid", "num-clients": 3, "num-rounds": 2, "examples-per-client": 31,
    "batch-size": 10, "local-epochs": 1, "lr": 0.05,
}  # fmt: skip
"""Of a client's 23 images for training, 3 are the last batch."""

NORM = "tests.networks:batch_norm"
NORMALISED = "tests.networks:normalised"
RESNET = "tests.networks:resnet18"


def tensors(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return what a model's file holds, and which of it are buffers."""
    with safe_open(path, "numpy") as file:
        names = json.loads(file.metadata()["fedsieve"]).get("buffers", [])
        return {name: file.get_tensor(name) for name in file.keys()}, names  # noqa: SIM118


def model(run: Path, client: int | None) -> dict[str, np.ndarray]:
    return tensors(run / "model" / f"{'global' if client is None else f'client-{client}'}.safetensors")[0]


@pytest.mark.parametrize("buffers", ["personal", "averaged"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_resnet_with_batch_norm_runs_and_goes_on_under_every_algorithm(algorithm: str, buffers: str, tmp_path: Path):
    keys = KEYS | {"algorithm": algorithm, "buffers": buffers, "model": RESNET, "fraction-train": 0.67}
    once = play(config(keys, out=str(tmp_path / "once")))
    assert all(line["rejected"] == {} for line in rounds_of(once.folder))
    for path in (once.folder / "model").iterdir():
        arrays, names = tensors(path)
        assert len(names) == 60, "three of each of twenty batch norms"
        assert np.isfinite(arrays["layer4.1.bn2.running_var"]).all()
        assert arrays["bn1.running_mean"].any()

    def deliver(_: int, message: Message) -> bool:
        if round_of(message) == 2:
            raise KeyboardInterrupt
        return True

    halted = config(keys, out=str(tmp_path / "halted"))
    with pytest.raises(KeyboardInterrupt):
        play(halted, Between(deliver=deliver))
    resume_played(Run(halted, []), Clients())
    parts = ("rounds.jsonl", "clients.csv", "model/*", "checkpoint/*.safetensors")
    assert difference(Path(halted.out), once.folder, parts) is None


@pytest.mark.parametrize("buffers", ["personal", "averaged"])
@pytest.mark.parametrize("algorithm", ["fed-pub", "lottery-fl"])
def test_clients_of_one_process_have_the_buffers_that_they_have_in_processes_of_their_own(
    algorithm: str, buffers: str, tmp_path: Path
):
    keys = KEYS | {"algorithm": algorithm, "buffers": buffers, "model": NORM}
    together = play(config(keys, out=str(tmp_path / "together")))
    apart = play_on_devices(config(keys, out=str(tmp_path / "apart")), tmp_path / "disk")
    assert difference(apart.folder, together.folder, ("rounds.jsonl", "clients.csv", "model/*")) is None


@pytest.mark.xdist_group("ray")
def test_ray_gives_the_numbers_of_inline(tmp_path: Path):
    keys = KEYS | {"algorithm": "fed-pub", "buffers": "averaged", "model": RESNET, "fraction-train": 0.67}
    ray = simulated(tmp_path / "ray", keys, engine="ray", num_workers=2)
    assert_same_run(ray, simulated(tmp_path / "inline", keys))


def test_averaged_buffers_are_the_weighted_mean_and_count_in_bytes(tmp_path: Path):
    keys = KEYS | {"algorithm": "fed-avg", "model": NORM, "num-rounds": 1}
    keys |= {"partition": "dirichlet", "examples-per-client": 0, "batch-size": 100}
    averaged = simulated(tmp_path / "averaged", keys, buffers="averaged")
    personal = simulated(tmp_path / "personal", keys)
    counts = np.array([int(row["num_examples"]) for row in client_rows(averaged)])
    assert len(set(counts)) > 1
    for name in ("2.running_mean", "2.running_var"):
        of_clients = np.stack([model(averaged, client)[name] for client in range(3)])
        mean = counts @ of_clients / counts.sum()
        assert model(averaged, None)[name] == pytest.approx(mean, rel=1e-5)
        assert model(personal, None)[name] == pytest.approx(mean, rel=1e-5)
    batches = [int(model(averaged, client)["2.num_batches_tracked"]) for client in range(3)]
    assert int(model(averaged, None)["2.num_batches_tracked"]) == round(counts @ batches / counts.sum())
    for column in ("uplink_payload_bytes", "downlink_payload_bytes"):
        more, less = (sum(int(row[column]) for row in client_rows(run)) for run in (averaged, personal))
        assert more - less == 3 * (2 * 6 * 4 + 8), "float32 means and variances of six units, and a count"


def test_personal_buffers_stay_a_clients_own(tmp_path: Path):
    run = simulated(tmp_path / "run", KEYS, algorithm="fed-avg", model=NORM)
    alone = simulated(tmp_path / "alone", KEYS, algorithm="local", model=NORM)
    means = [model(run, client)["2.running_mean"].tolist() for client in range(3)]
    assert len({tuple(mean) for mean in means}) == 3
    steps = [int(model(run, client)["2.num_batches_tracked"]) for client in range(3)]
    assert steps == [int(model(alone, client)["2.num_batches_tracked"]) for client in range(3)] == [6, 6, 6]


@pytest.mark.parametrize("algorithm", ["fed-pub", "fed-pm"])
def test_evaluation_changes_no_buffer(algorithm: str, tmp_path: Path):
    run = simulated(tmp_path / "run", KEYS, algorithm=algorithm, model="tests.networks:counting")
    assert [int(model(run, client)["calls"]) for client in range(3)] == [6, 6, 6], "two rounds of three batches"


@pytest.mark.parametrize("buffers", ["personal", "averaged"])
def test_a_client_that_fails_when_it_has_trained_keeps_its_old_buffers(buffers: str, tmp_path: Path):
    def answer(app: App, message: Message, context: Context) -> Message:
        reply = app(message, context)
        if round_of(message) == 2 and context.node_config["partition-id"] == 1:
            raise ArithmeticError("it fails when it has trained")
        return reply

    keys = KEYS | {"algorithm": "local", "model": NORM, "buffers": buffers}
    run = play(config(keys, out=str(tmp_path / "run")), Between(answer=answer)).folder
    steps = [int(model(run, client)["2.num_batches_tracked"]) for client in range(3)]
    assert steps == [6, 3, 6]


def test_what_diverges_is_no_ones_buffer(tmp_path: Path):
    keys = KEYS | {"algorithm": "local", "model": NORM, "optimizer": "sgd", "num-rounds": 1}
    with pytest.raises(Exception, match="not finite"):
        play(config(keys | {"lr": 1e30}, out=str(tmp_path / "run")))


@pytest.mark.parametrize(
    ("algorithm", "buffers", "network"),
    [
        ("fed-avg", "personal", NORM),
        ("hide-n-seek", "averaged", NORM),
        ("fed-avg", "averaged", NORMALISED),
        ("fed-pub", "personal", NORMALISED),
        ("fed-pm", "personal", NORMALISED),
        ("hide-n-seek", "personal", NORMALISED),
    ],
)
def test_a_loaded_model_has_the_buffers_of_its_run(algorithm: str, buffers: str, network: str, tmp_path: Path):
    prunes_any = {"hide-n-seek.pruner": "erk"} if algorithm == "hide-n-seek" else {}
    out = simulated(tmp_path / "run", KEYS | prunes_any, algorithm=algorithm, model=network, buffers=buffers)
    run = parse(read(out / "config.toml"))
    last = {int(row["client"]): row for row in client_rows(out)}
    for client, held in enumerate(deal_simulated(run)):
        loaded = load_model(out, client)
        chosen = torch.from_numpy(held.part.test)  # type: ignore[attr-defined]
        data = held.data  # type: ignore[attr-defined]
        with torch.no_grad():
            hits = loaded(scale(data.images[chosen])).argmax(1) == data.labels[chosen]
        assert float(hits.double().mean()) == pytest.approx(float(last[client]["test_accuracy"]))
        assert not any(module.training for module in loaded.modules())
        written, names = tensors(out / "model" / f"client-{client}.safetensors")
        assert names
        assert all(np.array_equal(written[name], dict(loaded.named_buffers())[name]) for name in names)


def test_a_client_with_one_image_does_not_fail_where_the_network_takes_two(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    keys = KEYS | {"algorithm": "fed-avg", "model": NORM, "num-rounds": 1}
    few = simulated(tmp_path / "few", keys | {"examples-per-client": 2, "train-ratio": 0.4, "val-ratio": 0.4})
    assert [row["num_examples"] for row in client_rows(few)] == ["0", "0", "0"]
    assert rounds_of(few)[0]["rejected"] == {}
    assert "client 0 does not train: it has one example, and the network fails for less than 2 in training" in (
        caplog.text
    )
    last = simulated(tmp_path / "last", keys | {"batch-size": 11})
    assert [row["num_examples"] for row in client_rows(last)] == ["23", "23", "23"]
    assert rounds_of(last)[0]["rejected"] == {}

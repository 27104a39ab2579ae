"""Runs from start to end on small images and on the embedded graph."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, Message, RecordDict
from safetensors.torch import load_file

from fedsieve.client import hide_n_seek
from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.holdings import deal_simulated as holdings
from fedsieve.client.app.state import DiskStore
from fedsieve.config import RunConfig, parse, read
from fedsieve.errors import RunFailedError
from fedsieve.inputs import run_network
from fedsieve.masks.attach import weights
from fedsieve.models import build
from fedsieve.server.app import make_server_app
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.inline import RUN_ID, InlineGrid
from tests.helpers import ALGORITHMS, config, rounds_of, simulated, summary_of

GLOBAL = {"flwr:FedAdam", "fed-avg", "fed-prox", "fed-mask", "fed-pm", "hide-n-seek", "lottery-fl"}
"""Algorithms that have one model which all clients share."""

IMAGES: dict[str, Any] = {
    "dataset": "digits", "model": "mlp", "partition": "iid", "num-clients": 4, "num-rounds": 2,
    "examples-per-client": 100, "local-epochs": 2, "lr": 0.01,
}  # fmt: skip
GRAPH: dict[str, Any] = {"num-clients": 4, "num-rounds": 2, "hidden-dim": 8, "local-epochs": 2, "lr": 0.01}
KINDS = {"images": IMAGES, "graph": GRAPH}


def pooled_accuracy(run: RunConfig, folder: Path) -> float:
    """Return the accuracy of the folder's global model over all clients' test data together."""
    held = holdings(run)
    model = build(run, held[0].shape)
    values = load_file(folder / "model" / "global.safetensors")
    parameters = weights(model)
    assert {name: tensor.shape for name, tensor in values.items()} == {n: p.shape for n, p in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data = values[name]
    model.eval()
    hits = count = 0
    with torch.no_grad():
        for holding in held:
            if run.dataset == "digits":
                chosen = torch.from_numpy(holding.part.test)  # type: ignore[attr-defined]
                data = holding.data  # type: ignore[attr-defined]
                logits, labels = model(data.images[chosen].float() / 127.5 - 1), data.labels[chosen]
            else:
                graph = holding.graph  # type: ignore[attr-defined]
                task = holding.task(run, holding.proxy(run.seed, torch.device("cpu")), torch.device("cpu"))
                logits, labels = run_network(model, task.graph)[graph.test_mask], graph.y[graph.test_mask]
            hits += int((logits.argmax(1) == labels).sum())
            count += len(labels)
    return hits / count


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_that_have_one_model_for_all_write_it(algorithm: str, tmp_path: Path):
    folder = simulated(tmp_path / "run", GRAPH | {"num-rounds": 1}, algorithm=algorithm)
    assert (folder / "model" / "global.safetensors").exists() == (algorithm in GLOBAL)
    assert (summary_of(folder)["test_accuracy_global"] is not None) == (algorithm in GLOBAL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["fed-avg", "hide-n-seek"])
def test_the_global_models_accuracy_is_that_on_all_clients_test_data(algorithm: str, kind: str, tmp_path: Path):
    folder = simulated(tmp_path / "run", KINDS[kind], algorithm=algorithm)
    found = pooled_accuracy(parse(read(folder / "config.toml")), folder)
    assert summary_of(folder)["test_accuracy_global"] == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_of_hide_n_seek_keeps_and_sends_signs_alone(kind: str, tmp_path: Path):
    folder = simulated(tmp_path / "run", KINDS[kind] | {"hide-n-seek.density": 0.2}, algorithm="hide-n-seek")
    model = load_file(folder / "model" / "client-0.safetensors")
    matrices = {name: tensor for name, tensor in model.items() if tensor.dim() > 1}
    total = sum(tensor.numel() for tensor in matrices.values())
    kept = sum(int((tensor != 0).sum()) for tensor in matrices.values())
    assert kept == round(0.2 * total)
    state = load_file(folder / "checkpoint" / "client-0-2.safetensors")
    bits = {name: 8 * tensor.numel() for name, tensor in state.items()}
    assert set(bits) == {"keep", "signs"}
    assert total <= bits["keep"] < total + 8
    assert kept <= bits["signs"] < kept + 8
    summary = summary_of(folder)
    # at most a bit a surviving weight and a frame
    assert 0 < summary["uplink_payload_bytes_per_client_round"] <= kept / 8 + 12
    # a byte a surviving weight, and in the first of two rounds the keep-mask
    assert summary["downlink_payload_bytes_per_client_round"] == kept + -(-total // 8) / 2
    assert summary["mask_sparsity"] == pytest.approx(1 - kept / total)


def deployed(run: RunConfig, open_store: Callable[[str], DiskStore], before: Callable[[Message], None]) -> None:
    """Run the apps so that each message finds a device just started, as after a loss of power, with its disk alone."""

    def just_started(message: Message, context: Context) -> Message:
        before(message)
        return make_client_app(open_store)(message, context)

    grid = InlineGrid(just_started, run.num_clients, run.flat())
    app = make_server_app(engine="deployed", export=True, quiet=True)
    app(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))


def test_a_device_that_lost_its_disk_misses_one_round_and_gets_the_keep_mask_again(tmp_path: Path):
    lost: list[int] = []

    def losing(message: Message) -> None:
        training = message.metadata.message_type == "train"
        if training and message.content["config"]["round"] == 2 and not lost:
            lost.append(2)
            shutil.rmtree(tmp_path / "disk" / "client-0")

    run = config(IMAGES | {"algorithm": "hide-n-seek", "num-rounds": 3}, out=str(tmp_path / "run"))
    deployed(run, lambda _: DiskStore(tmp_path / "disk"), losing)
    told = [line["rejected"] for line in rounds_of(tmp_path / "run")]
    assert [list(rejected) for rejected in told] == [[], ["0"], []]
    assert "this node has lost the keep-mask" in told[1]["0"]
    assert summary_of(tmp_path / "run")["lost_states"] == 1, "in round 3, with the keep-mask, it starts over"
    assert (tmp_path / "run" / "clients.csv").read_text().count(',"ok, started over: its state was missing",') == 1


@pytest.mark.parametrize("algorithm", ["fed-avg", "hide-n-seek"])
def test_images_are_learnt(algorithm: str, tmp_path: Path):
    keys = IMAGES | {"algorithm": algorithm, "num-rounds": 6, "local-epochs": 5, "examples-per-client": 0}
    summary = summary_of(simulated(tmp_path / "run", keys))
    assert summary["test_accuracy"] > 0.6  # chance: 0.1


def test_an_own_network_runs_from_start_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "nets_that_mask.py").write_text(
        "from torch import nn\n"
        "def make(shape, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for algorithm in ("fed-pub", "hide-n-seek"):
        folder = simulated(tmp_path / algorithm, IMAGES | {"model": "nets_that_mask:make"}, algorithm=algorithm)
        assert summary_of(folder)["rejected_replies"] == 0
        assert set(load_file(folder / "model" / "client-0.safetensors")) == {
            "1.weight", "1.bias", "3.weight", "3.bias",
        }  # fmt: skip


def test_a_mask_of_a_training_that_diverged_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hide_n_seek, "fit", lambda *_, **__: float("nan"))
    with pytest.raises(RunFailedError, match="training diverged: train-loss is not finite; a smaller lr may help"):
        simulated(tmp_path / "run", IMAGES | {"num-rounds": 1}, algorithm="hide-n-seek")
    assert not list((tmp_path / "run" / "checkpoint").glob("client-*"))

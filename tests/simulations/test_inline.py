from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import recorddict_to_proto
from safetensors.torch import load_file

from fedsieve.errors import RunFailedError
from fedsieve.protocols.fed_pub import EMBEDDING
from fedsieve.simulations import inline
from fedsieve.simulations.inline import FIRST_NODE_ID, InlineGrid
from tests.helpers import rounds_of, simulated, summary_of, write_graph

SMALL = {"num-clients": 4, "num-rounds": 4, "hidden-dim": 8, "fraction-train": 0.5}


def results(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "rounds.jsonl").read_bytes(), (folder / "clients.csv").read_bytes()


def test_the_embedded_graph_gives_the_same_bytes_twice_and_learns(tmp_path: Path):
    keys = {"num-rounds": 4, "fraction-train": 0.5, "hidden-dim": 16}
    first = results(simulated(tmp_path / "one", keys))
    assert results(simulated(tmp_path / "two", keys)) == first
    assert results(simulated(tmp_path / "other", keys, seed=1)) != first
    assert summary_of(tmp_path / "one")["test_accuracy"] > 0.3  # chance: 0.1


def test_a_run_leaves_the_global_generator_as_it_was(graph_file: Path, tmp_path: Path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    simulated(tmp_path / "run", SMALL, dataset=str(graph_file))
    assert torch.equal(torch.get_rng_state(), before)


class Recorder:
    """Stands between the grid and the ClientApp: keeps replies, and fails for one client."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fails: int | None = None, first_round: int = 1) -> None:
        self.trained: list[Message] = []
        real = inline.make_client_app

        def make(open_store: Any) -> Any:
            app = real(open_store)

            def call(message: Message, context: Any) -> Message:
                if message.metadata.message_type == "train":
                    client = context.node_config["partition-id"]
                    if client == fails and message.content["config"]["round"] >= first_round:
                        raise ArithmeticError("boom\nboom")
                    self.trained.append(app(message, context))
                    return self.trained[-1]
                return app(message, context)

            return call

        monkeypatch.setattr(inline, "make_client_app", make)


def test_a_client_uploads_weights_and_embedding_and_nothing_else(
    graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = Recorder(monkeypatch)
    keys = {"num-clients": 2, "num-rounds": 2, "dataset": str(graph_file), "hidden-dim": 128}
    simulated(tmp_path / "run", keys)
    features, hidden, classes = 3, 128, 3
    weights = features * hidden + hidden + hidden * hidden + hidden + hidden * classes + classes
    assert len(seen.trained) == 4
    for reply in seen.trained:
        assert set(reply.content) == {"arrays", "metrics"}
        names = set(reply.content["arrays"])
        assert names == {EMBEDDING} | {f"{m}.{p}" for m in ("conv1", "conv2", "classifier") for p in ("weight", "bias")}
        sent = recorddict_to_proto(reply.content).SerializeToString()
        values = 4 * (weights + hidden)
        assert values < len(sent) < values + 2000
        assert b"mask/" not in sent
    summary = summary_of(tmp_path / "run")
    assert summary["uplink_payload_bytes_per_client_round"] == 4 * (weights + hidden)
    sizes = [recorddict_to_proto(reply.content).ByteSize() for reply in seen.trained]
    assert summary["uplink_bytes_per_client_round"] == sum(sizes) / 4


def test_a_client_that_raises_is_rejected_and_the_run_goes_on(
    graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Recorder(monkeypatch, fails=1, first_round=2)
    simulated(tmp_path / "run", num_clients=3, num_rounds=3, hidden_dim=4, dataset=str(graph_file))
    told = [line["rejected"] for line in rounds_of(tmp_path / "run")]
    assert [list(rejected) for rejected in told] == [[], ["1"], ["1"]]
    assert "ArithmeticError: boom boom" in told[1]["1"]
    assert summary_of(tmp_path / "run")["rejected_replies"] == 2


def test_a_client_that_raises_from_the_start_is_rejected_and_the_run_goes_on(
    graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Recorder(monkeypatch, fails=1)
    simulated(tmp_path / "run", num_clients=3, num_rounds=3, hidden_dim=4, dataset=str(graph_file))
    assert [list(line["rejected"]) for line in rounds_of(tmp_path / "run")] == [["1"]] * 3
    assert set(summary_of(tmp_path / "run")["test_accuracy_per_client"]) == {"0", "2"}


def test_a_run_without_any_usable_reply_fails_and_its_folder_is_complete(
    drawn: None, graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Recorder(monkeypatch, fails=0)
    with pytest.raises(RunFailedError, match="round 1: none of 1 clients"):
        simulated(tmp_path / "run", num_clients=1, num_rounds=3, dataset=str(graph_file))
    assert summary_of(tmp_path / "run")["rejected_replies"] == 1
    assert summary_of(tmp_path / "run")["ended"].startswith("failed: round 1: none of 1 clients")
    assert "This run has failed: round 1: none of 1 clients" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("algorithm", ["fed-pub", "fed-avg", "fed-prox", "local"])
def test_personal_models_and_states_are_exported(algorithm: str, graph_file: Path, tmp_path: Path):
    run = simulated(tmp_path / "run", SMALL, dataset=str(graph_file), algorithm=algorithm)
    for client in range(4):
        model = load_file(run / "model" / f"client-{client}.safetensors")
        assert {name: tuple(tensor.shape) for name, tensor in model.items()} == {
            "conv1.weight": (3, 8),
            "conv1.bias": (8,),
            "conv2.weight": (8, 8),
            "conv2.bias": (8,),
            "classifier.weight": (3, 8),
            "classifier.bias": (3,),
        }
    states = list((run / "checkpoint").glob("client-*.safetensors"))
    assert states
    for path in states:
        state = load_file(path)
        assert any(name.startswith("optimizer/") for name in state)
        assert ("mask/conv1.weight" in state) == (algorithm == "fed-pub")


SIZE = 90


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        pytest.param({"x": None}, {}, id="no features"),
        pytest.param({"edge_index": [[], []]}, {}, id="no edges"),
        pytest.param({"edge_index": [[0, 1, 50, 51], [1, 0, 51, 50]]}, {}, id="isolated nodes"),
        pytest.param({"edge_index": [[*range(89)], [*range(1, 90)]]}, {}, id="directed"),
        pytest.param({}, {"partition": "louvain"}, id="louvain"),
        pytest.param({}, {"partition": "random"}, id="random"),
        pytest.param({}, {"partition": "metis-overlapping", "clients-per-part": 2}, id="overlapping"),
        pytest.param({}, {"num-clients": SIZE, "num-rounds": 1}, id="one node a client"),
        pytest.param({}, {"num-clients": 1}, id="one client"),
    ],
)
@pytest.mark.parametrize("algorithm", ["fed-pub", "local"])
def test_an_odd_graph_still_gives_a_sensible_run(
    algorithm: str, changes: dict[str, Any], keys: dict[str, Any], tmp_path: Path
):
    import numpy as np

    changes = {name: None if value is None else np.array(value, dtype=np.int64) for name, value in changes.items()}
    path = write_graph(tmp_path / "own.npz", **changes)
    plain = {"num-clients": 4, "num-rounds": 2, "hidden-dim": 4, "algorithm": algorithm, "dataset": str(path)}
    summary = summary_of(simulated(tmp_path / "run", plain | keys))
    assert summary["rejected_replies"] == 0
    assert 0 <= summary["test_accuracy"] <= 1
    assert len(summary["test_accuracy_per_client"]) == (plain | keys)["num-clients"]


@pytest.mark.parametrize("algorithm", ["fed-pub", "fed-avg"])
def test_a_client_without_training_nodes_takes_part_without_being_mixed_in(algorithm: str, tmp_path: Path):
    import numpy as np

    # two cliques apart; every training node is in the first
    nodes = np.arange(20)
    sources, targets = (index.ravel() for index in np.meshgrid(nodes, nodes))
    joined = (sources != targets) & (sources // 10 == targets // 10)
    masks = {"train_mask": nodes < 4, "val_mask": nodes % 10 > 6, "test_mask": (nodes % 10 > 3) & (nodes % 10 < 7)}
    path = tmp_path / "cliques.npz"
    x, y = np.eye(20, dtype=np.float32), nodes % 2
    np.savez(path, x=x, y=y, edge_index=np.stack([sources[joined], targets[joined]]), **masks)
    keys = {"num-clients": 2, "num-rounds": 3, "hidden-dim": 4, "dataset": str(path), "algorithm": algorithm}
    run = simulated(tmp_path / "run", keys)
    rows = [line.split(",") for line in (run / "clients.csv").read_text().splitlines()[1:]]
    assert {row[3] for row in rows} == {"0", "4"}
    assert all(row[2] == "ok" for row in rows)
    assert summary_of(run)["rejected_replies"] == 0


def grid_of(app: Any, nodes: int = 2) -> InlineGrid:
    return InlineGrid(app, nodes, {"seed": 1})


def answering(message: Message, context: Any) -> Message:
    kept = context.state.setdefault("count", ConfigRecord({"calls": 0}))
    kept["calls"] += 1
    facts = {"client": context.node_config["partition-id"], "calls": kept["calls"], "seed": context.run_config["seed"]}
    return Message(RecordDict({"facts": ConfigRecord(facts)}), reply_to=message)


def to(node: int) -> Message:
    return Message(RecordDict({"arrays": ArrayRecord()}), node, "train")


def facts(reply: Message) -> tuple[Any, ...]:
    return tuple(reply.content["facts"].values())


def test_the_grid_keeps_a_context_for_each_node():
    grid = grid_of(answering)
    assert list(grid.get_node_ids()) == [FIRST_NODE_ID, FIRST_NODE_ID + 1]
    assert FIRST_NODE_ID == 2
    replies = list(grid.send_and_receive([to(3), to(2), to(3)]))
    assert [facts(reply) for reply in replies] == [(1, 1, 1), (0, 1, 1), (1, 2, 1)]
    assert [reply.metadata.src_node_id for reply in replies] == [3, 2, 3]


def test_the_grid_takes_one_message_at_a_time():
    grid, log = grid_of(answering), []

    def messages() -> Any:
        for node in (2, 3):
            log.append(f"ask {node}")
            yield to(node)

    for reply in grid.send_and_receive(messages()):
        log.append(f"reply {reply.metadata.src_node_id}")
    assert log == ["ask 2", "reply 2", "ask 3", "reply 3"]


def test_pushed_messages_can_be_pulled_once():
    grid = grid_of(answering)
    ids = list(grid.push_messages([to(2), to(3)]))
    assert len(set(ids)) == 2
    (second,) = grid.pull_messages(ids[1:])
    assert facts(second)[0] == 1
    assert second.metadata.reply_to_message_id == ids[1]
    assert list(grid.pull_messages([ids[1], "none"])) == []
    assert [facts(reply)[0] for reply in grid.pull_messages(ids)] == [0]


def test_what_an_app_raises_and_a_node_that_is_not_there_become_errors():
    def raising(*_: object) -> Message:
        raise ValueError("no")

    grid = grid_of(raising)
    raised, absent = grid.send_and_receive([to(2), to(9)])
    assert (raised.error.code, raised.error.reason) == (2, "ValueError: no")
    assert raised.metadata.src_node_id == 2
    assert absent.has_error()
    assert absent.metadata.src_node_id == 9


def test_ctrl_c_is_not_a_clients_error():
    def interrupted(*_: object) -> Message:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(grid_of(interrupted).send_and_receive([to(2)]))

"""A run that is resumed, whatever ended it, in this process, and what a user may do wrong."""

import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict

from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.state import DiskStore
from fedsieve.errors import RunFailedError, UserError
from fedsieve.server.app import make_server_app
from fedsieve.server.checkpoints import Checkpoints
from fedsieve.server.loop import RoundLoop
from fedsieve.simulations import resume
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.inline import InlineGrid
from tests.helpers import ALGORITHMS, assert_same_run, config, fedsieve, rounds_of, simulated, summary_of, write_graph
from tests.simulations.test_inline import Recorder

KEYS: dict[str, Any] = {"num-clients": 5, "num-rounds": 6, "fraction-train": 0.4, "hidden-dim": 4, "local-epochs": 2}


@pytest.fixture
def keys(graph_file: Path) -> dict[str, Any]:
    return KEYS | {"dataset": str(graph_file), "partition": "random"}


def interrupted(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
    /,
    before: int = 4,
    error: type[BaseException] = KeyboardInterrupt,
    **others: Any,
) -> Path:
    """Run until `error` is raised in mid-round, when the first client has answered and nothing is combined yet."""
    screen = RoundLoop._screen

    def interrupt(self: Any, number: int, replies: Any, hold: Any) -> None:
        if number == before:
            next(iter(replies))
            raise error
        screen(self, number, replies, hold)

    with monkeypatch.context() as patch:
        patch.setattr(RoundLoop, "_screen", interrupt)
        with pytest.raises(error):
            simulated(folder, keys, **others)
    return folder


@pytest.mark.parametrize("every", [0, 1, 2])
@pytest.mark.parametrize("algorithm", ["fed-pub", "hide-n-seek"])
def test_a_run_goes_on_as_if_it_had_not_been_interrupted(
    algorithm: str, every: int, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys |= {"algorithm": algorithm, "checkpoint-every": every}
    run = interrupted(tmp_path / "run", monkeypatch, keys)
    assert summary_of(run)["num_rounds"] == 3
    assert resume(run, quiet=True)
    assert_same_run(
        run, simulated(tmp_path / "once", keys), folders=("model", "checkpoint") if every == 1 else ("model",)
    )


def test_models_and_states_on_disk_go_on_too(keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = interrupted(tmp_path / "run", monkeypatch, keys, state_memory_mb=0)
    assert resume(run, quiet=True)
    assert_same_run(run, simulated(tmp_path / "once", keys))


def test_a_client_left_out_goes_on_from_its_last_usable_reply(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Recorder(monkeypatch, fails=1, first_round=2)
    keys |= {"algorithm": "hide-n-seek", "fraction-train": 1.0}
    run = interrupted(tmp_path / "run", monkeypatch, keys)
    assert resume(run, quiet=True)
    assert_same_run(run, simulated(tmp_path / "once", keys))


def test_patience_goes_on_and_a_run_stopped_by_it_stays_stopped(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys |= {"num-rounds": 40, "patience": 3, "fraction-train": 1.0}
    once = simulated(tmp_path / "once", keys)
    last = summary_of(once)["num_rounds"]
    assert 3 < last < 40
    run = interrupted(tmp_path / "run", monkeypatch, keys, before=last)
    assert resume(run, quiet=True)
    assert_same_run(run, once)
    assert not resume(run, quiet=True)


def test_a_run_killed_between_its_last_round_and_its_end_only_ends(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys |= {"patience": 2, "num-rounds": 40, "fraction-train": 1.0}
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "finish", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            simulated(tmp_path / "run", keys)
    rounds = (tmp_path / "run" / "rounds.jsonl").read_bytes()
    assert resume(tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "rounds.jsonl").read_bytes() == rounds
    assert not resume(tmp_path / "run", quiet=True)


def test_a_failed_run_tries_its_last_round_again(keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keys |= {"num-clients": 1}
    with monkeypatch.context() as patch:
        Recorder(patch, fails=0, first_round=3)
        with pytest.raises(RunFailedError, match="round 3: none of 1 clients"):
            simulated(tmp_path / "run", keys)
    assert [line["rejected"] != {} for line in rounds_of(tmp_path / "run")] == [False, False, True]
    assert resume(tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "run", simulated(tmp_path / "once", keys))


@pytest.mark.parametrize(("clients", "min_clients", "told"), [(1, 1, "none of 1 clients"), (5, 5, "4 of 5 clients")])
def test_a_run_that_failed_in_its_first_round_starts_from_nothing(
    clients: int, min_clients: int, told: str, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys |= {"num-clients": clients, "min-clients": min_clients, "fraction-train": 1.0, "num-rounds": 2}
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        Recorder(patch, fails=0)
        with pytest.raises(RunFailedError, match=f"round 1: {told}"):
            simulated(run, keys)
        with pytest.raises(RunFailedError, match=f"round 1: {told}"):
            resume(run, quiet=True)
    assert resume(run, quiet=True)
    assert_same_run(run, simulated(tmp_path / "once", keys))
    shutil.rmtree(run / "checkpoint")
    with pytest.raises(UserError, match="holds no checkpoint to resume from"):
        resume(run, quiet=True)


@pytest.mark.parametrize("every", [0, 1])
def test_a_round_with_too_few_usable_replies_is_tried_again_from_before_it(
    every: int, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    keys |= {"min-clients": 5, "fraction-train": 1.0, "checkpoint-every": every}
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        Recorder(patch, fails=2, first_round=4)
        with pytest.raises(RunFailedError, match="round 4: 4 of 5 clients"):
            simulated(run, keys)
    assert resume(run, quiet=True)
    folders = ("model", "checkpoint") if every == 1 else ("model",)
    assert_same_run(run, simulated(tmp_path / "once", keys), folders)


def test_a_run_killed_before_its_first_checkpoint_starts_from_nothing(keys: dict[str, Any], tmp_path: Path):
    once = simulated(tmp_path / "once", keys)
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(once / "config.toml", run)
    (run / "clients.csv").write_text("round,cli")
    assert resume(run, quiet=True)
    assert_same_run(run, once)


def test_a_run_killed_while_it_wrote_what_its_data_are_has_that_when_resumed(keys: dict[str, Any], tmp_path: Path):
    expected, run = simulated(tmp_path / "once", keys), tmp_path / "killed"
    run.mkdir()
    shutil.copy(expected / "config.toml", run)
    (run / ".data.json.partial").write_text('{"form')
    assert resume(run, quiet=True)
    assert (run / "data.json").read_bytes() == (expected / "data.json").read_bytes()
    assert not list(run.glob("*.partial"))


def test_more_rounds_can_be_added_to_a_run_that_has_ended(keys: dict[str, Any], tmp_path: Path):
    run = simulated(tmp_path / "run", keys | {"num-rounds": 3})
    config = run / "config.toml"
    config.write_text(config.read_text().replace("num-rounds = 3", "num-rounds = 6"))
    assert resume(run, quiet=True)
    assert_same_run(run, simulated(tmp_path / "once", keys))


def damaged(run: Path, name: str, damage: str) -> None:
    path = run / "checkpoint" / name
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("damage", ["missing", "cut off", "empty", "altered"])
@pytest.mark.parametrize("name", ["manifest-3.json", "server-3.safetensors", "client-*-3.safetensors"])
def test_a_broken_checkpoint_is_passed_over_for_the_one_before(
    name: str, damage: str, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    run = interrupted(tmp_path / "run", monkeypatch, keys)
    damaged(run, min(path.name for path in (run / "checkpoint").glob(name)), damage)
    caplog.clear()
    assert resume(run, quiet=True)
    told = [record.message for record in caplog.records if "is skipped" in record.message]
    assert len(told) == (0 if (name, damage) == ("manifest-3.json", "missing") else 1)
    assert_same_run(run, simulated(tmp_path / "once", keys))


def test_where_none_is_whole_it_is_one_sentence_and_nothing_is_changed(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    run = interrupted(tmp_path / "run", monkeypatch, keys)
    for at in (2, 3):
        damaged(run, f"server-{at}.safetensors", "altered")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert fedsieve("resume", run, "--quiet") == 2
    fault = "manifest-3.json: server-3.safetensors is cut off or altered"
    told = f"{run}/checkpoint: holds no checkpoint that is whole ({fault})."
    assert capfd.readouterr() == ("", f"fedsieve: {told}\n")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_records_that_are_not_the_runs_are_one_sentence(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = interrupted(tmp_path / "run", monkeypatch, keys)
    (run / "clients.csv").write_text((run / "clients.csv").read_text().replace("ok", "no"))
    with pytest.raises(UserError, match=r"clients.csv: is not what the run has written"):
        resume(run, quiet=True)


@pytest.mark.parametrize(("key", "value"), [("lr", "0.5"), ("seed", "1"), ("fraction-train", "1.0")])
def test_another_configuration_is_one_sentence(
    key: str, value: str, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = interrupted(tmp_path / "run", monkeypatch, keys)
    lines = (run / "config.toml").read_text().splitlines()
    changed = [f"{key} = {value}" if line.startswith(f"{key} = ") else line for line in lines]
    (run / "config.toml").write_text("\n".join(changed))
    with pytest.raises(UserError, match=f"^{key}: got {value}, allowed: .*, with which the run began"):
        resume(run, quiet=True)


def test_data_that_have_changed_are_one_sentence(
    keys: dict[str, Any], graph_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    link = tmp_path / "link.npz"
    link.symlink_to(graph_file.rename(tmp_path / "blob"))
    run = interrupted(tmp_path / "run", monkeypatch, keys | {"dataset": str(link)})
    before = link.read_bytes()
    write_graph(link, seed=7)
    with pytest.raises(UserError, match=rf"^{link}: has changed since the run in {run} began, allowed: the data"):
        resume(run, quiet=True)
    moved = tmp_path / "moved.npz"
    moved.write_bytes(before)
    (run / "config.toml").write_text((run / "config.toml").read_text().replace(str(link), str(moved)))
    assert resume(run, quiet=True)


def test_a_folder_that_cannot_be_written_is_told_before_data_are_loaded(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = interrupted(tmp_path / "run", monkeypatch, keys)

    def read_only(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("fedsieve.runs.folder.TemporaryFile", read_only)
    monkeypatch.setattr("fedsieve.simulations._run", lambda *_: pytest.fail("the run began"))
    with pytest.raises(UserError, match=rf"^out: {run} cannot be written: {run}: Read-only file system"):
        resume(run, quiet=True)
    with pytest.raises(UserError, match=r"^out: .*again cannot be written: .*: Read-only file system"):
        simulated(tmp_path / "again", keys)


def test_what_holds_no_run_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    for folder in (tmp_path / "nowhere", tmp_path):
        assert fedsieve("resume", folder) == 2
        told = f"fedsieve: {folder}: holds no config.toml; allowed: the folder of a run.\n"
        assert capfd.readouterr() == ("", told)


def test_a_run_that_has_ended_says_so_and_stays_as_it_is(
    keys: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    run = simulated(tmp_path / "run", keys | {"num-rounds": 1})
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert fedsieve("resume", run) == 0
    out, _ = capfd.readouterr()
    assert out.startswith("The run has finished: there is nothing to resume.\n")
    assert fedsieve("resume", run, "--json") == 0
    assert json.loads(capfd.readouterr().out) == summary_of(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_of_flowers_engine_is_one_sentence(
    keys: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    run = simulated(tmp_path / "run", keys | {"num-rounds": 1})
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace('engine = "inline"', 'engine = "flower"'))
    assert fedsieve("resume", run) == 2
    assert (
        capfd.readouterr().err == f"fedsieve: {run}: got a run of the engine flower, allowed: one of inline or ray.\n"
    )


@pytest.mark.parametrize("name", ["client-*-3.safetensors", "manifest-3.json", "rounds.jsonl"])
def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_survives(
    name: str, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    once, run, fsync, opened = simulated(tmp_path / "once", keys), tmp_path / "run", os.fsync, Path.open

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().match(f".{name}.partial"):
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    def full_too(path: Path, mode: str = "r", **others: Any) -> Any:
        if path.name == name and mode != "r" and (run / "checkpoint" / "manifest-2.json").exists():
            raise OSError(28, "No space left on device")
        return opened(path, mode, **others)

    with monkeypatch.context() as patch:
        patch.setattr("fedsieve.files.os.fsync", full)
        patch.setattr(Path, "open", full_too)
        settings = [f"-s{key}={value}" for key, value in keys.items()]
        assert fedsieve("run", "--quiet", "--out", run, *settings) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert err.startswith("fedsieve: ")
    assert err.endswith(" cannot be written: No space left on device.\n")
    assert not list(run.rglob("*.partial"))
    assert resume(run, quiet=True)
    assert_same_run(run, once)


def test_a_run_that_is_being_run_is_not_resumed(keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    sample = RoundLoop.sample

    def resumed_meanwhile(self: Any, number: int) -> tuple[int, ...]:
        with pytest.raises(UserError) as caught:
            resume(tmp_path / "run", quiet=True)
        told.append(str(caught.value))
        return sample(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(RoundLoop, "sample", resumed_meanwhile)
        run = interrupted(tmp_path / "run", patch, keys, before=2)
    assert set(told) == {f"{run}: is being run by another process; it can be resumed when that has ended."}
    assert resume(run, quiet=True)
    assert_same_run(run, simulated(tmp_path / "once", keys))


class Deployment:
    """The apps as on devices: each message finds a process just started, with its disk alone; the server's may die."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.disks, self.folder = tmp_path / "disks", tmp_path / "run"
        self.starts, self.disk_of = 0, lambda token: DiskStore(self.disks / token)
        self._monkeypatch = monkeypatch

    def start(self, keys: dict[str, Any], dies_in: int = 0) -> None:
        """Start the ServerApp, which dies, if it does, when a client has answered in a round."""
        run = config(keys, out=str(self.folder))
        self.starts += 1

        def answering(message: Message, context: Context) -> Message:
            if message.metadata.message_type == "train" and message.content["config"]["round"] == dies_in + 1 > 1:
                raise SystemExit
            return make_client_app(self.disk_of)(message, context)

        grid = InlineGrid(answering, run.num_clients, run.flat())
        with self._monkeypatch.context() as patch:
            if dies_in:
                patch.setattr(Checkpoints, "make_last", lambda _: sys.exit())
            app = make_server_app(engine="deployed", export=False, quiet=True)
            app(grid, Context(self.starts, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    return Deployment(tmp_path, monkeypatch)


@pytest.mark.parametrize("algorithm", ["fed-pub", "hide-n-seek", "lottery-fl", "local"])
def test_a_deployments_server_that_is_started_again_goes_on_with_its_devices_states(
    algorithm: str, keys: dict[str, Any], deployment: Deployment, tmp_path: Path
):
    keys |= {"algorithm": algorithm, "checkpoint-every": 0}
    for dies_in in (2, 3, 5):
        with pytest.raises(SystemExit):
            deployment.start(keys, dies_in)
    deployment.start(keys)
    once = simulated(tmp_path / "once", keys)
    for name in ("rounds.jsonl", "clients.csv"):
        assert (deployment.folder / name).read_bytes() == (once / name).read_bytes()
    assert summary_of(deployment.folder)["lost_states"] == 0
    assert len(list(deployment.disks.iterdir())) == 1, "the token is the same each time"
    assert not list((deployment.folder / "checkpoint").glob("client-*"))
    before = (deployment.folder / "summary.json").read_bytes()
    deployment.start(keys)
    assert (deployment.folder / "summary.json").read_bytes() == before, "there was nothing to do"


def test_a_deployments_devices_have_the_state_of_the_checkpoint_before_a_broken_one(
    keys: dict[str, Any], deployment: Deployment, tmp_path: Path
):
    keys |= {"fraction-train": 1.0}
    with pytest.raises(SystemExit):
        deployment.start(keys, 4)
    damaged(deployment.folder, "server-4.safetensors", "cut off")
    deployment.start(keys)
    assert summary_of(deployment.folder)["lost_states"] == 0
    assert (deployment.folder / "clients.csv").read_bytes() == (
        simulated(tmp_path / "once", keys) / "clients.csv"
    ).read_bytes()


def test_a_device_whose_disk_was_replaced_begins_anew_and_it_is_told(
    keys: dict[str, Any], deployment: Deployment, caplog: pytest.LogCaptureFixture
):
    keys |= {"fraction-train": 1.0}
    with pytest.raises(SystemExit):
        deployment.start(keys, 4)
    (disk,) = deployment.disks.glob("*/client-1")
    shutil.rmtree(disk)
    deployment.start(keys)
    assert summary_of(deployment.folder)["lost_states"] == 1
    assert "round 5: client 1 starts from nothing: its state was not there" in caplog.text
    rows = (deployment.folder / "clients.csv").read_text().splitlines()
    told = [row for row in rows if "started over" in row]
    assert [row.split(",")[:2] for row in told] == [["5", "1"]]


def test_a_deployments_folder_of_another_run_is_one_sentence(keys: dict[str, Any], deployment: Deployment):
    with pytest.raises(SystemExit):
        deployment.start(keys, 4)
    with pytest.raises(UserError, match=r"^seed: got 1, allowed: 42, with which the run began\.$"):
        deployment.start(keys | {"seed": 1})


def test_a_deployed_run_is_not_simulated_on(keys: dict[str, Any], deployment: Deployment):
    with pytest.raises(SystemExit):
        deployment.start(keys, 4)
    with pytest.raises(UserError, match="whose clients' states are on their devices"):
        resume(deployment.folder, quiet=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_the_server_keeps_for_a_client_changes_only_when_it_takes_part(
    algorithm: str, keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[set[int], dict[int, dict[str, bytes]]]] = []
    finished = Checkpoints.round_finished

    def look(self: Any, round_: Any) -> None:
        clients = {client: self._loop.strategy.state_of(client) for client in range(5)}
        arrays = {client: {k: a.tobytes() for k, a in kept.items()} for client, kept in clients.items()}
        seen.append((set(round_.participants), arrays))
        finished(self, round_)

    monkeypatch.setattr(Checkpoints, "round_finished", look)
    simulated(tmp_path / "run", keys, algorithm=algorithm)
    for (_, before), (participants, after) in itertools.pairwise(seen):
        changed = {client for client in range(5) if before[client] != after[client]}
        assert changed <= participants


def test_a_strategy_that_does_not_say_how_it_goes_on_is_one_sentence(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = interrupted(tmp_path / "run", monkeypatch, keys, algorithm="fed-avg")
    monkeypatch.delattr("fedsieve.strategies.fed_avg.FedAvg.load_state")
    with pytest.raises(UserError, match=r"^algorithm: the strategy FedAvg has no load_state, so no run can"):
        resume(run, quiet=True)


def test_a_key_that_the_partition_does_not_read_is_no_reason_not_to_resume(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = interrupted(tmp_path / "run", monkeypatch, keys, alpha=0.3)
    assert fedsieve("resume", run, "--quiet") == 0

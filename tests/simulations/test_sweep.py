"""Sweeps as a user runs them: from a file, with processes, interrupted and killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from fedsieve.simulations import sweep as sweeping
from tests.e2e.killing import SECONDS, lines
from tests.helpers import assert_same_run, fedsieve, rounds_of, simulated, summary_of

ROUNDS = 150

DOCUMENT = Path(__file__).parents[2] / "docs" / "experiments.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(dataset: Path, keys: str = "num-rounds = 3", seeds: str = "[1, 2]") -> None:
    Path("mine.toml").write_text(
        f"seeds = {seeds}\ndataset = '{dataset}'\nalgorithm = 'fed-avg'\nnum-clients = 3\nhidden-dim = 4\n{keys}\n"
    )


def test_the_documented_example_runs_all_but_what_fails_and_is_the_same_as_single_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    text = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
    assert text.count("seeds = [42, 43, 44]") == text.count("num-rounds = 50") == 1
    text = text.replace("seeds = [42, 43, 44]", "seeds = [42]").replace("num-rounds = 50", "num-rounds = 2")
    text = text.replace("[3.0, 10.0]", "[10.0]")
    Path("my-experiment.toml").write_text(text + "\n[[runs]]\nlabel = 'bad'\npartition = 'metris'\n")
    assert fedsieve("sweep", "my-experiment.toml", "--jobs", 2) == 1
    out, err = capfd.readouterr()
    told = "fedsieve: 1 of 3 runs failed: bad,seed=42: partition = 'metris' is unknown"
    assert [line.startswith(told) for line in err.splitlines()].count(True) == 1
    assert "Traceback" not in err
    common: dict[str, Any] = {"dataset": "digits-knn", "partition": "metis-overlapping", "num-clients": 20}
    cells = []
    for name, keys in {
        "local,seed=42": {"algorithm": "local"},
        "fed-pub,fed-pub.tau=10.0,seed=42": {"fed-pub.tau": 10.0},
    }.items():
        once = simulated(tmp_path / "once" / name, common | keys, num_rounds=2)
        assert_same_run(Path("runs/my-experiment") / name, once, folders=("model",))
        cells.append(f"{100 * summary_of(once)['test_accuracy']:.1f}")
    rows = Path("runs/my-experiment/table.md").read_text().splitlines()[-3:]
    assert [row.split(" | ")[3] for row in rows] == [*cells, "missing"]
    assert all(cell in out for cell in cells)
    assert "1 of 3 runs are missing" in out


def test_a_run_that_fails_at_once_is_tried_again_and_fails_for_the_same_reason(
    graph_file: Path, capfd: pytest.CaptureFixture[str]
):
    write(graph_file, "num-rounds = 2\nlr = 1e30", seeds="[1]")
    told = []
    for _ in range(2):
        assert fedsieve("sweep", "mine.toml", "--quiet") == 1
        told.append(capfd.readouterr().err.splitlines()[-1])
    assert told[0].startswith("fedsieve: 1 of 1 runs failed: seed=1: round 1: none of 3 clients gave a usable reply")
    assert told[0] == told[1]


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def workers(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes of a sweep's runs."""
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def interrupt_when(holds: Callable[[], bool], seen: list[psutil.Process]) -> None:
    wait_until(holds)
    seen += workers(psutil.Process())
    os.kill(os.getpid(), signal.SIGINT)


def test_a_sweep_that_is_interrupted_and_then_killed_ends_as_if_nothing_had_happened(
    graph_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    write(graph_file, f"num-rounds = {ROUNDS}\ncheckpoint-every = 10")
    keys = {"dataset": str(graph_file), "algorithm": "fed-avg", "num-clients": 3, "hidden-dim": 4}
    done = simulated(Path("runs/mine/seed=1"), keys, num_rounds=ROUNDS, checkpoint_every=10, seed=1)
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    folder = Path("runs/mine/seed=2")

    seen: list[psutil.Process] = []
    watch = Thread(target=interrupt_when, args=(lambda: lines(folder) >= 3, seen))
    watch.start()
    assert fedsieve("sweep", "mine.toml") == 130
    watch.join()
    assert "interrupted; the same command resumes the sweep" in capfd.readouterr().err
    assert [process.is_running() for process in seen] == [False]
    reached = lines(folder)
    assert reached == summary_of(folder)["num_rounds"] < ROUNDS

    process = subprocess.Popen([sys.executable, "-P", "-m", "fedsieve", "sweep", "mine.toml", "--quiet"])
    wait_until(lambda: lines(folder) >= reached + 3)
    (run,) = workers(psutil.Process(process.pid))
    process.kill()
    process.wait()
    wait_until(lambda: not run.is_running() or run.status() == psutil.STATUS_ZOMBIE)
    assert reached + 3 <= lines(folder) < ROUNDS

    assert fedsieve("sweep", "mine.toml", "--quiet") == 0
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before
    once = simulated(tmp_path / "once", keys, num_rounds=ROUNDS, checkpoint_every=0, seed=2)
    assert_same_run(folder, once, folders=("model",))
    assert "missing" not in Path("runs/mine/table.md").read_text()


@pytest.fixture
def half_done(graph_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment of two runs, of which the first has ended; nothing more may be run."""
    write(graph_file)
    keys = {"dataset": str(graph_file), "algorithm": "fed-avg", "num-clients": 3, "hidden-dim": 4, "num-rounds": 3}
    monkeypatch.setattr(sweeping, "_start", lambda *_: pytest.fail("a run was started"))
    return simulated(Path("runs/mine/seed=1"), keys, seed=1)


def test_a_dry_run_says_how_far_each_run_is_and_runs_nothing(half_done: Path, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("sweep", "mine.toml", "--dry-run") == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == ["runs/mine/seed=1: done", "runs/mine/seed=2: not begun"]
    assert err == ""
    (half_done / "checkpoint" / "manifest-3.json").unlink()
    assert fedsieve("sweep", "mine.toml", "--dry-run") == 0
    assert capfd.readouterr().out.splitlines()[0] == "runs/mine/seed=1: unfinished"
    assert sorted(path.name for path in Path("runs/mine").iterdir()) == ["seed=1"]


def test_a_table_of_what_has_ended_says_what_is_missing(half_done: Path, capfd: pytest.CaptureFixture[str]):
    assert fedsieve("sweep", "mine.toml", "--table") == 0
    reached = f"{100 * summary_of(half_done)['test_accuracy']:.1f} [1 of 2]"
    out = capfd.readouterr().out
    assert reached in out
    assert "The table is in runs/mine/table.md and runs/mine/table.csv; 1 of 2 runs are missing." in out
    text = Path("runs/mine/table.md").read_text()
    assert text.startswith("`fedsieve sweep mine.toml`, ")
    best = rounds_of(half_done)[summary_of(half_done)["best_round"] - 1]
    assert f"| fed-avg | {100 * best['val_accuracy']:.1f} [1 of 2] | {reached} |" in text


def test_what_is_done_is_not_run_again(half_done: Path, graph_file: Path):
    write(graph_file, seeds="[1]\nnum-rounds = 3", keys="")
    before = {path: path.stat().st_mtime_ns for path in half_done.rglob("*")}
    assert fedsieve("sweep", "mine.toml", "--quiet") == 0
    assert {path: path.stat().st_mtime_ns for path in half_done.rglob("*")} == before


@pytest.mark.parametrize("keys", ["num-rounds = 4", "num-rounds = 3\nlr = 0.5"])
def test_a_folder_of_another_run_is_one_sentence_and_nothing_is_run(
    keys: str, half_done: Path, graph_file: Path, capfd: pytest.CaptureFixture[str]
):
    write(graph_file, keys)
    assert fedsieve("sweep", "mine.toml") == 2
    key, value = keys.splitlines()[-1].split(" = ")
    was = {"num-rounds": 3, "lr": 0.01}[key]
    told = f"fedsieve: {half_done}: holds a run with {key} = {was} where the experiment has {value}; remove it, or "
    assert capfd.readouterr().err == f"{told}choose another --out.\n"
    assert sorted(path.name for path in Path("runs/mine").iterdir()) == ["seed=1"]


def test_a_run_on_data_that_have_changed_is_one_sentence_and_moved_data_are_the_same(
    half_done: Path, graph_file: Path, capfd: pytest.CaptureFixture[str]
):
    moved = graph_file.rename(graph_file.with_name("moved.npz"))
    write(moved)
    assert fedsieve("sweep", "mine.toml", "--dry-run") == 0
    assert capfd.readouterr().out.splitlines()[0] == f"{half_done}: done"
    moved.write_bytes(moved.read_bytes() + b"more")
    assert fedsieve("sweep", "mine.toml") == 2
    assert f"{moved}: has changed since the run in {half_done} began" in capfd.readouterr().err


def test_keys_that_change_no_number_may_differ(half_done: Path, graph_file: Path, capfd: pytest.CaptureFixture[str]):
    write(graph_file, "num-rounds = 3\ncheckpoint-every = 2\nstate-memory-mb = 7")
    assert fedsieve("sweep", "mine.toml", "--dry-run") == 0
    assert capfd.readouterr().out.splitlines()[0] == f"{half_done}: done"


def test_a_key_that_the_partition_does_not_read_may_differ(half_done: Path, capfd: pytest.CaptureFixture[str]):
    config = half_done / "config.toml"
    config.write_text(config.read_text().replace("alpha = 0.5", "alpha = 0.3"))
    assert fedsieve("sweep", "mine.toml", "--dry-run") == 0
    assert capfd.readouterr().out.splitlines()[0] == f"{half_done}: done"


def test_a_dry_run_lists_a_folder_of_another_run(half_done: Path, graph_file: Path, capfd: pytest.CaptureFixture[str]):
    write(graph_file, "num-rounds = 3\nlr = 0.5")
    assert fedsieve("sweep", "mine.toml", "--dry-run") == 0
    assert capfd.readouterr().out.splitlines() == [f"{half_done}: another run", "runs/mine/seed=2: not begun"]


@pytest.mark.parametrize("name", ["table.md", "table.csv"])
def test_a_table_of_the_users_own_is_left_alone(name: str, half_done: Path, capfd: pytest.CaptureFixture[str]):
    own = half_done.parent / name
    own.write_text("mine")
    assert fedsieve("sweep", "mine.toml") == 2
    assert f"{own}: is not a table of fedsieve sweep" in capfd.readouterr().err
    assert own.read_text() == "mine"


def test_a_folder_that_holds_something_else_is_left_alone(graph_file: Path, capfd: pytest.CaptureFixture[str]):
    write(graph_file)
    Path("runs/mine/seed=2").mkdir(parents=True)
    Path("runs/mine/seed=2/notes").write_text("mine")
    assert fedsieve("sweep", "mine.toml") == 2
    assert "seed=2, which is not empty" in capfd.readouterr().err
    assert [path.name for path in Path("runs/mine").rglob("*")] == ["seed=2", "notes"]


def test_a_run_that_is_killed_is_named(graph_file: Path, monkeypatch: pytest.MonkeyPatch):
    write(graph_file, seeds="[1]")
    start = sweeping._start

    def killed(*arguments: Any) -> Any:
        job = start(*arguments)
        os.kill(job.process.pid, signal.SIGKILL)
        return job

    monkeypatch.setattr(sweeping, "_start", killed)
    from fedsieve.simulations.combinations import expand_experiment
    from fedsieve.simulations.experiment import read_experiment

    points = expand_experiment(read_experiment(Path("mine.toml")), Path("mine.toml"))
    assert sweeping.sweep(points, Path("out"), quiet=True) == {"seed=1": "its process ended with exit code -9"}

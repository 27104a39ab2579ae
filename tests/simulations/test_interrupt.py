import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import using

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="fs"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("engine", "number"),
    [("inline", signal.SIGINT), ("ray", signal.SIGINT), ("flower", signal.SIGINT), ("ray", signal.SIGTERM)],
)
def test_ctrl_c_or_sigterm_leaves_what_was_reached_and_exit_code_130(
    engine: str, number: signal.Signals, graph_file: Path, tmp_path: Path, temporary: Path
):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "fedsieve", "run", "--dataset", str(graph_file), "--num-clients", "3"]
    command += ["--num-rounds", "100000", "-s", "hidden-dim=8", "--out", str(out), "--engine", engine]
    command += ["-s", "state-memory-mb=0"]
    if engine != "inline":
        command += ["--num-workers", "2"]
    # A shell starts background jobs with SIGINT ignored, and a test runner may be one: begin as on a terminal, where
    # Ctrl-C goes to all processes of a group.
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        rounds = out / "rounds.jsonl"
        until = time.monotonic() + 120
        while time.monotonic() < until and run.poll() is None:
            if rounds.exists() and rounds.read_bytes().count(b"\n") >= 3:
                break
            time.sleep(0.02)
        (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
        told, err = run.communicate(timeout=120)
        left = using(temporary)
    finally:
        for process in using(temporary):
            process.kill()
    assert run.returncode == 130, err
    assert "Traceback" not in err
    assert "\nfedsieve: interrupted; resume it with: fedsieve resume " in err
    assert told == ""
    lines = [json.loads(line) for line in rounds.read_text().splitlines()]
    assert len(lines) >= 3
    summary = json.loads((out / "summary.json").read_text())
    assert summary["num_rounds"] == len(lines)
    assert summary["test_accuracy"] is not None
    assert summary["ended"] == "interrupted"
    assert f"This run was interrupted after {len(lines)} of 100000 rounds." in (out / "report.html").read_text()
    assert {path.name for path in (out / "model").iterdir()} == {f"client-{k}.safetensors" for k in range(3)}
    assert left == []
    assert list(temporary.iterdir()) == []

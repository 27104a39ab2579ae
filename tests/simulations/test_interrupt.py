import json
import signal
import subprocess
import sys
import time
from pathlib import Path


def test_ctrl_c_leaves_what_was_reached_and_exit_code_130(graph_file: Path, tmp_path: Path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "fedsieve", "run", "--dataset", str(graph_file), "--num-clients", "3"]
    command += ["--num-rounds", "100000", "-s", "hidden-dim=8", "-s", "state-memory-mb=0", "--out", str(out)]
    # A shell starts background jobs with SIGINT ignored, and a test runner may be one: begin as on a terminal.
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        rounds = out / "rounds.jsonl"
        until = time.monotonic() + 60
        while time.monotonic() < until and run.poll() is None:
            if rounds.exists() and rounds.read_bytes().count(b"\n") >= 3:
                break
            time.sleep(0.02)
        assert any((out / "states").iterdir())
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130, err
    assert "Traceback" not in err
    lines = [json.loads(line) for line in rounds.read_text().splitlines()]
    assert len(lines) >= 3
    summary = json.loads((out / "summary.json").read_text())
    assert summary["num_rounds"] == len(lines)
    assert summary["test_accuracy"] is not None
    assert (out / "report.html").exists()
    assert (out / "model" / "client-0.safetensors").exists()
    assert not (out / "states").exists()

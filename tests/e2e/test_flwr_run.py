"""`flwr run .` runs the same apps, with the same keys, and gives the same numbers as the inline engine."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.xdist_group("flwr-run")  # two local SuperLinks at once get into each other's way

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
KEYS = {"num-clients": 3, "num-rounds": 3, "fraction-train": 0.7, "seed": 7}
CASES: list[dict[str, object]] = [
    {"algorithm": "fed-pub", "fed-pub.tau": 4.0},
    {"algorithm": "hide-n-seek", "dataset": "digits", "local-epochs": 2},
]


@pytest.fixture
def flower_home(tmp_path: Path) -> Iterator[Path]:
    """Flower's home in a temporary folder; ends the SuperLink that `flwr run` leaves running."""
    home = tmp_path / "flwr"
    yield home
    started = [process for process in psutil.process_iter() if _mentions(process, home)]
    for process in started:
        process.terminate()
    for process in psutil.wait_procs(started, timeout=20)[1]:
        process.kill()


def _mentions(process: psutil.Process, home: Path) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get("FLWR_HOME") == str(home)
    except psutil.Error:
        return False


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def environment_of(flower_home: Path) -> dict[str, str]:
    """Return the environment of a `flwr run` that installs nothing and stays in its folder."""
    return os.environ | {
        "FLWR_HOME": str(flower_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": free_port(),
        "FLWR_LOCAL_CONTROL_API_PORT": free_port(),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.mark.parametrize(
    "case", [CASES[0], pytest.param(CASES[1], marks=pytest.mark.slow)], ids=lambda case: case["algorithm"]
)
def test_flwr_run_writes_the_same_history_as_the_inline_engine(
    case: dict[str, object], tmp_path: Path, flower_home: Path
) -> None:
    keys = KEYS | case
    environment = environment_of(flower_home) | {"FEDSIEVE_STATE": str(tmp_path / "state")}
    flower, inline = tmp_path / "flower", tmp_path / "inline"
    settings = " ".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + f" out='{flower}'"
    command = [
        BIN / "flwr",
        "run",
        ROOT,
        "--federation-config",
        "num-supernodes=3",
        "--run-config",
        settings,
        "--stream",
    ]
    for _ in range(3):
        ran = subprocess.run(command, env=environment, timeout=200, capture_output=True, text=True, check=False)
        if "Failed to start local SuperLink" not in ran.stderr:  # Flower waits 15 s, too short on a busy machine
            break
    assert ran.returncode == 0, ran.stderr
    subprocess.run(
        [BIN / "fedsieve", "run", "--quiet", "--out", inline, *(f"-s{key}={value}" for key, value in keys.items())],
        env=environment,
        check=True,
        timeout=100,
    )
    for name in ("rounds.jsonl", "clients.csv"):
        assert (flower / name).read_bytes() == (inline / name).read_bytes()
    assert (flower / "report.html").read_text().count(
        "<svg"
    ) >= 6  # made from the bundle, which takes few kinds of files
    assert len(list((tmp_path / "state").glob("run-*/client-*/*.safetensors"))) >= 3
    assert not (flower / "model").exists(), "personal models leave their devices in simulations of ours only"

"""The example app, a stock app of Flower's with FED-PUB for its strategy, on Flower's own runtime."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from tests.e2e.test_flwr_run import BIN, environment_of, flower_home  # noqa: F401 - a fixture

pytestmark = pytest.mark.xdist_group("flwr-run")

APP = Path(__file__).parents[2] / "examples" / "flower_app"


def test_the_app_runs_and_leaves_its_model(tmp_path: Path, flower_home: Path):  # noqa: F811
    environment = environment_of(flower_home) | {"OMP_NUM_THREADS": "1"}
    model = tmp_path / "final_model.pt"
    command = [BIN / "flwr", "run", APP, "--federation-config", "num-supernodes=3", "--stream"]
    command += ["--run-config", f"num-server-rounds=2 model='{model}'"]
    for _ in range(3):
        ran = subprocess.run(command, env=environment, timeout=300, capture_output=True, text=True, check=False)
        if "Failed to start local SuperLink" not in ran.stderr:  # Flower waits 15 s, too short on a busy machine
            break
    assert ran.returncode == 0, ran.stderr
    printed = ran.stdout + ran.stderr
    accuracies = [float(found) for found in re.findall(r"'eval_acc': ([\d.]+)", printed)]
    assert len(accuracies) >= 2, printed[-3000:]
    assert accuracies[-1] > 0.5, printed[-3000:]
    assert "mask-sparsity" in printed
    state = torch.load(model, weights_only=True)
    assert state["classifier.weight"].shape == (10, 64)
    assert state["features.1.num_batches_tracked"].dtype == torch.int64


def test_what_the_readme_changes_is_what_the_app_has_and_is_ten_lines_at_most():
    page = (APP / "README.md").read_text(encoding="utf-8")
    (diff,) = re.findall(r"```diff\n(.*?)```", page, re.DOTALL)
    added = [line[1:] for line in diff.splitlines() if line.startswith("+") and line[1:].strip()]
    code = "".join(
        (APP / "digits_app" / name).read_text(encoding="utf-8") for name in ("client_app.py", "server_app.py")
    )
    assert 0 < len(added) <= 10
    assert [line for line in added if line not in code.splitlines()] == []

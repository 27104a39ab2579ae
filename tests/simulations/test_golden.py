"""A short real run whose accuracies are kept; `python -m tests.simulations.test_golden` keeps new ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import rounds_of, simulated, summary_of

KEPT = Path(__file__).parents[1] / "golden" / "cora-metis-10.json"
RUN = {"dataset": "cora", "partition": "metis", "num-clients": 10, "num-rounds": 30, "seed": 42}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "fed-pub": {"fed-pub.sparsity": "none"},
    "fed-avg": {},
    "local": {},
}
TOLERANCE = 0.015
"""Other builds of BLAS and of torch round otherwise."""

ABOVE_CHANCE = 0.5
"""The largest of Cora's 7 classes holds 30 % of the papers."""


def figures(folder: Path, algorithm: str) -> dict[str, Any]:
    simulated(folder, RUN | {"algorithm": algorithm} | ALGORITHMS[algorithm])
    summary, lines = summary_of(folder), rounds_of(folder)
    last = {f"{key} at the end": lines[-1][key] for key in ("val_accuracy", "test_accuracy", "test_accuracy_received")}
    return {"test_accuracy": summary["test_accuracy"]} | last | {"train_loss": [line["train_loss"] for line in lines]}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_short_run_on_cora_is_as_it_was(algorithm: str, tmp_path: Path, real_data: Path):
    kept, found = json.loads(KEPT.read_text())[algorithm], figures(tmp_path / "run", algorithm)
    assert found.pop("train_loss") == pytest.approx(kept.pop("train_loss"), rel=0.02)
    assert found == pytest.approx(kept, abs=TOLERANCE)
    assert found["test_accuracy"] > ABOVE_CHANCE


if __name__ == "__main__":
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDSIEVE_CACHE"] = folder
        found = {algorithm: figures(Path(folder) / algorithm, algorithm) for algorithm in ALGORITHMS}
    KEPT.write_text(json.dumps(found, indent=1) + "\n")

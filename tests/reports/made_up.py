"""Run folders written by hand."""

import json
from pathlib import Path
from typing import Any

SUMMARY: dict[str, Any] = {
    "algorithm": "fed-avg",
    "dataset": "cora",
    "partition": "metis",
    "engine": "inline",
    "seed": 42,
    "num_clients": 0,
    "num_rounds": 2,
    "best_round": 2,
    "test_accuracy": 0.5,
    "test_accuracy_std": 0.1,
    "test_accuracy_per_client": None,
    "ended": "finished",
}

COLUMNS = (
    "round,client,status,num_examples,train_loss,val_accuracy,test_accuracy,mask_sparsity,uplink_bytes,val_count,"
    "test_count"
)


def write_run(folder: Path, clients: int, rounds: int = 2, **changes: Any) -> Path:
    """Write a run in which client k has accuracy (k + round) / (clients + rounds), all in all rounds."""
    folder.mkdir()
    accuracy = {(k, r): (k + r) / (clients + rounds) for k in range(clients) for r in range(1, rounds + 1)}
    last = {str(k): accuracy[k, rounds] for k in range(clients)} if rounds else None
    counts = {"num_clients": clients, "num_rounds": rounds, "best_round": rounds, "test_accuracy_per_client": last}
    (folder / "summary.json").write_text(json.dumps(SUMMARY | counts | changes))
    rows = [f"{r},{k},ok,1,{2 / r},{a},{a},,10,1,1" for (k, r), a in accuracy.items()]
    (folder / "clients.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    lines = []
    for r in range(1, rounds + 1):
        mean = sum(accuracy[k, r] for k in range(clients)) / clients
        line = {"round": r, "train_loss": 2 / r, "val_accuracy": mean, "test_accuracy": mean}
        lines.append(line | {"test_accuracy_received": None, "uplink_bytes": 10 * clients, "downlink_bytes": 1000})
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder

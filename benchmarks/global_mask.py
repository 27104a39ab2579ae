"""What mends HideNseek's one shared mask: `python benchmarks/global_mask.py`.

MNIST, LeNet, 2 classes a client, seed 42; 100 clients of at most 125 images, 5 local epochs, 50 rounds, which is the
prototype's setting.
"""

from runs import heading, row, run

COMMON = {"algorithm": "hide-n-seek", "dataset": "mnist", "partition": "pathological", "num-clients": 100,
          "num-rounds": 50, "local-epochs": 5, "examples-per-client": 125, "seed": 42}  # fmt: skip
CASES: dict[str, dict[str, object]] = {
    "memory 0": {"hide-n-seek.memory": 0.0},
    "memory 0.5": {"hide-n-seek.memory": 0.5},
    "memory 0.7, the default": {},
    "memory 0.9": {"hide-n-seek.memory": 0.9},
    "memory 0.7, own-share 0": {"hide-n-seek.own-share": 0.0},
    "vote": {"hide-n-seek.aggregate": "vote"},
    "memory 0.7, 30 clients a round": {"fraction-train": 0.3},
}


def main() -> None:
    heading("python benchmarks/global_mask.py")
    row("what", "validation %", "personal test %", "as received %", "global model %", "payload up, bytes")
    row(*["---"] * 6)
    for name, keys in CASES.items():
        found = run(f"global-mask/{name}", COMMON | {"fraction-train": 0.1} | keys)
        accuracies = ("val_accuracy", "test_accuracy", "test_accuracy_received", "test_accuracy_global")
        payload = f"{found['uplink_payload_bytes_per_client_round']:,.0f}"
        row(name, *(f"{100 * found[key]:.1f}" for key in accuracies), payload)


if __name__ == "__main__":
    main()

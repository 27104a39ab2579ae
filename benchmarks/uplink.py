"""Bytes a client sends in a round, serialised and payload, against FedAvg's: `python benchmarks/uplink.py`.

100 clients of two classes, 10 a round, 20 rounds, five local epochs over at most 125 images, which is the prototype's
setting; seed 42; Adam, and SGD too for the sign mask of the MLP, with which the prototype trained it. Serialised is
Flower's whole record, payload the arrays or codes alone.
"""

from runs import heading, row, run

COMMON = {"partition": "pathological", "num-clients": 100, "fraction-train": 0.1, "num-rounds": 20,
          "local-epochs": 5, "examples-per-client": 125, "seed": 42}  # fmt: skip
NETWORKS: dict[str, dict[str, object]] = {
    "lenet, cifar10": {"model": "lenet", "dataset": "cifar10"},
    "mlp, mnist": {"model": "mlp", "dataset": "mnist"},
}
SGD = {"optimizer": "sgd", "lr": 1.0, "momentum": 0.9}
METHODS: dict[str, dict[str, object]] = {
    "fed-avg": {"lr": 0.003},
    "fed-mask": {"lr": 0.01},
    "fed-pm": {"lr": 0.1},
    "hide-n-seek": {"lr": 0.01},
}


def main() -> None:
    heading("python benchmarks/uplink.py")
    row("network", "algorithm", "serialised up", "FedAvg's / this", "payload up", "this / fed-mask's",
        "this / fed-pm's", "serialised down", "personal test %")  # fmt: skip
    row(*["---"] * 9)
    for network, keys in NETWORKS.items():
        methods = METHODS | ({"hide-n-seek, SGD 1": {"algorithm": "hide-n-seek"} | SGD} if "mlp" in network else {})
        found = {}
        for method, own in methods.items():
            found[method] = run(f"uplink/{network}-{method}", COMMON | keys | {"algorithm": method} | own)
        dense = found["fed-avg"]["uplink_bytes_per_client_round"]
        others = [found[method]["uplink_payload_bytes_per_client_round"] for method in ("fed-mask", "fed-pm")]
        for method, summary in found.items():
            up, payload = summary["uplink_bytes_per_client_round"], summary["uplink_payload_bytes_per_client_round"]
            down, accuracy = summary["downlink_bytes_per_client_round"], summary["test_accuracy"]
            row(network, method, f"{up:,.0f}", f"{dense / up:.1f}", f"{payload:,.0f}",
                *(f"{payload / other:.3f}" for other in others), f"{down:,.0f}", f"{100 * accuracy:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()

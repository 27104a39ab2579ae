"""What HideNseek's own choices are worth: `python benchmarks/ablation.py`.

CIFAR-10, LeNet, 100 clients, 10 a round, 30 rounds, on the seed that learning rates were chosen with; fed-mask beside.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

from images import COMMON, METHODS, SETTINGS
from images_tuning import SEED
from runs import heading, row, run

CHOICES: dict[str, dict[str, object]] = {
    "as it is by default": {},
    "init kaiming-normal": {"hide-n-seek.init": "kaiming-normal"},
    "average-last 0": {"hide-n-seek.average-last": 0.0},
    "own-share 0": {"hide-n-seek.own-share": 0.0},
    "own-share 0.5": {"hide-n-seek.own-share": 0.5},
    "none of init, average-last and own-share": {
        "hide-n-seek.init": "kaiming-normal", "hide-n-seek.average-last": 0.0, "hide-n-seek.own-share": 0.0,
    },
    "fed-mask": {"algorithm": "fed-mask"},
    "fed-mask, init signed-constant": {"algorithm": "fed-mask", "fed-mask.init": "signed-constant"},
}  # fmt: skip
SETTING_NAMES = [name for name in SETTINGS if name.startswith("cifar10")]


def main() -> None:
    def one(case: tuple[str, str]) -> list[str]:
        setting, choice = case
        keys = COMMON | {"num-rounds": 30, "seed": SEED, "algorithm": "hide-n-seek"} | SETTINGS[setting]
        own = CHOICES[choice]
        keys |= METHODS[str(own.get("algorithm", "hide-n-seek"))] | own
        found = run(f"ablation/{setting}/{choice}", keys)
        figures = (found["val_accuracy"], found["test_accuracy"], found["test_accuracy_received"])
        return [*(f"{100 * figure:.1f}" for figure in figures),
                f"{found['uplink_payload_bytes_per_client_round']:,.0f}"]  # fmt: skip

    cases = list(product(SETTING_NAMES, CHOICES))
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(cases, pool.map(one, cases), strict=True))
    heading("python benchmarks/ablation.py")
    for setting in SETTING_NAMES:
        print(f"\n{setting}\n")
        row("hide-n-seek", "validation %", "personal test %", "as received %", "payload up, bytes")
        row(*["---"] * 5)
        for choice in CHOICES:
            row(choice, *found[setting, choice])


if __name__ == "__main__":
    main()

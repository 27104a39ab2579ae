"""Clients trained in one tensor program, against one after the other: `python benchmarks/batched.py
[--only images|graphs] [--seeds 42 ...]`.

One process, one thread. Images: K clients with 200 images each (digits: 80), one local epoch in batches of 20, of a
dense step or of hide-n-seek's. Graphs: FED-PUB's whole client step, its state taken in and handed out client by client,
in groups of K. Both ways take turns; a ratio is CPU seconds one after the other / CPU seconds in one program, above 1
where batching is faster, the median over seeds and turns.

In float64 both must give the same to 1e-5, else this fails. In float32, as FedSieve trains, the largest difference
between weights, latents or masks is in the last columns: Adam makes a whole step of a gradient that is rounding error.
"""

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import torch

from batched_fed_pub import Trial
from batched_nets import Net, grouped, lenet, mlp, one_by_one, unfolded, vmapped
from batched_steps import Clients, clients, in_one_program, one_after_the_other
from fedsieve import seeds
from fedsieve.client.app.holdings import deal_simulated
from fedsieve.config import parse
from fedsieve.contract import Tensors
from runs import SEEDS, heading, row

NUMBERS = (2, 5, 10, 20)
STEPS = {"Adam": {"optimizer": "adam", "lr": 0.003}, "SGD": {"optimizer": "sgd", "lr": 0.1},
         "sign mask, Adam": {"optimizer": "adam", "lr": 0.01}}  # fmt: skip
NETS: dict[str, dict[str, Callable[[torch.nn.Module], Net]]] = {
    "mlp": {"torch.func": vmapped, "batched products": lambda _: mlp},
    "lenet": {
        "torch.func": vmapped,
        "grouped convolutions": lambda _: lenet(grouped),
        "patches, batched products": lambda _: lenet(unfolded),
        "convolutions one by one": lambda _: lenet(one_by_one),
    },
}
IMAGES = (("mlp", "digits"), ("mlp", "mnist"), ("lenet", "mnist"), ("lenet", "cifar10"))
GRAPHS = (
    ("digits-knn", "metis", 10),
    ("digits-knn", "metis-overlapping", 20),
    ("cora", "metis", 10),
    ("cora", "metis-overlapping", 30),
    ("computers", "metis-overlapping", 30),
)
GROUPS = (2, 5, 10)
TURNS, ROUNDS = 2, 5
TOLERANCE = 1e-5


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    done = work()
    return time.process_time() - began, done


def apart(one: Tensors, other: Tensors) -> float:
    """Return the largest difference between the tensors of `one` and those of `other` of the same names."""
    return float(torch.stack([(value - other[name]).abs().max() for name, value in one.items()]).max())


def same(difference: float, what: str) -> None:
    if not difference <= TOLERANCE:
        raise SystemExit(f"{what}: batched clients are {difference:.1e} apart from those one after the other")


def images(model: str, dataset: str, step: str, seeds_: list[int]) -> None:
    def given(seed: int, dtype: torch.dtype) -> Clients:
        run = parse({"algorithm": "fed-avg", "dataset": dataset, "model": model, "seed": seed} | STEPS[step])
        return clients(run, max(NUMBERS), signs="sign" in step, dtype=dtype)

    exact = given(seeds_[0], torch.float64)
    exact.model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    expected = one_after_the_other(exact)(3)
    for name, make in NETS[model].items():
        found = in_one_program(exact, 3, make(copy.deepcopy(exact.model)))()
        same(apart(expected, found), f"{model} on {dataset}, {step}, {name}")
    alone: list[float] = []
    ratios: dict[tuple[str, int], list[float]] = {(name, k): [] for name in NETS[model] for k in NUMBERS}
    worst = dict.fromkeys(NETS[model], 0.0)
    for seed in seeds_:
        single = given(seed, torch.float32)
        programs = {
            (name, k): in_one_program(single, k, make(copy.deepcopy(single.model)))
            for (name, make), k in product(NETS[model].items(), NUMBERS)
        }
        epoch = one_after_the_other(single)
        for _, k in product(range(TURNS), NUMBERS):
            seconds, expected = timed(partial(epoch, k))
            alone.append(seconds / k / single.tasks[0].num_batches * 1e3)
            for name in NETS[model]:
                batched, found = timed(programs[name, k])
                ratios[name, k].append(seconds / batched)
                worst[name] = max(worst[name], apart(expected, found))
    for name in NETS[model]:
        cells = [f"{median(ratios[name, k]):.2f}" for k in NUMBERS]
        row(model, dataset, step, name, f"{median(alone):.2f}", *cells, f"{worst[name]:.0e}")


def filled(dataset: str) -> float:
    """Return the share of steps that some client needs, where ten clients take as many as the largest of them.

    100 clients under Dirichlet 0.3, three seeds; every draw of ten counts alike.
    """
    shares: list[float] = []
    for seed in SEEDS:
        run = parse({"dataset": dataset, "partition": "dirichlet", "alpha": 0.3, "num-clients": 100, "seed": seed})
        held: list[Any] = deal_simulated(run)
        steps = np.array([-(-len(each.part.train) // run.batch_size) for each in held])
        random = seeds.random_state(seed, "batched")
        drawn = np.stack([random.choice(steps, 10, replace=False) for _ in range(1000)])
        shares.append(float((drawn.sum(1) / (10 * drawn.max(1))).mean()))
    return median(shares)


def graphs(dataset: str, partition: str, number: int, sparsity: str, seeds_: list[int]) -> None:
    keys = {"dataset": dataset, "partition": partition, "num-clients": number, "fed-pub.sparsity": sparsity}
    sizes = sorted({*GROUPS, number})
    run = parse(keys | {"seed": seeds_[0]})
    expected = Trial(run, 0, torch.float64).play()
    for k in sizes:
        found = Trial(run, k, torch.float64).play()
        same(max(map(apart, found, expected)), f"fed-pub on {dataset}, groups of {k}")
    alone: list[float] = []
    ratios: dict[int, list[float]] = {k: [] for k in sizes}
    worst = [0.0, 0.0]
    for seed in seeds_:
        run = parse(keys | {"seed": seed})
        single, batched = Trial(run, 0, torch.float32), {k: Trial(run, k, torch.float32) for k in sizes}
        for round_ in range(ROUNDS):
            seconds, expected = timed(single.play)
            expected = [{name: value.clone() for name, value in each.items()} for each in expected]
            single.settle()
            alone.append(seconds / number * 1e3)
            for k, trial in batched.items():
                spent, found = timed(trial.play)
                trial.settle()
                ratios[k].append(seconds / spent)
                kept = [{n: v for n, v in each.items() if not n.startswith("optimizer/")} for each in found]
                now = max(map(apart, kept, expected))
                for place in [0, 1] if round_ == 0 else [1]:
                    worst[place] = max(worst[place], now)
    cells = [f"{median(ratios[k]):.2f}" for k in (*GROUPS, number)]
    row(dataset, number, sparsity, f"{median(alone):.2f}", *cells, f"{worst[0]:.0e}", f"{worst[1]:.0e}")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--only", choices=("images", "graphs"))
    arguments.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    chosen = arguments.parse_args()
    only, seeds_ = chosen.only, chosen.seeds
    torch.set_num_threads(1)
    heading("python benchmarks/batched.py")
    if only != "graphs":
        row("network", "data", "step", "in one program", "one after the other, CPU ms a step",
            *(f"ratio, {k} clients" for k in NUMBERS), "float32, apart after the epoch")  # fmt: skip
        row(*["---"] * (6 + len(NUMBERS)))
        for model, dataset in IMAGES:
            for step in STEPS:
                images(model, dataset, step, seeds_)
        told = ", ".join(f"{dataset} {filled(dataset):.0%}" for dataset in ("mnist", "cifar10"))
        print(f"\nSteps that ten clients of Dirichlet 0.3 need, of ten times the largest's: {told}\n")
    if only != "images":
        row("data", "clients", "fed-pub.sparsity", "one after the other, CPU ms a client",
            *(f"ratio, groups of {k}" for k in GROUPS), "all", "float32, apart after a round",
            f"{ROUNDS} rounds")  # fmt: skip
        row(*["---"] * (7 + len(GROUPS)))
        for dataset, partition, number in GRAPHS:
            for sparsity in ("none", "proximal"):
                graphs(dataset, partition, number, sparsity, seeds_)


if __name__ == "__main__":
    main()

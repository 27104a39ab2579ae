"""What a mask family can learn without any federation: `python benchmarks/mask_capacity.py`.

LeNet on 5,000 CIFAR-10 images, latents that start at +0.1, Adam, batches of 20, seeds 42-44: accuracy on 2,000 other
images after 25, 250 and 600 steps, at the learning rate that is best on them then.
"""

from statistics import fmean

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedsieve.contract import Shape
from fedsieve.data.image_sets import load_images
from fedsieve.masks.attach import weights
from fedsieve.masks.families import Binary
from fedsieve.masks.family import attach_family
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.pruning import prune
from fedsieve.masks.signs import SignMask
from fedsieve.models import make_ones
from fedsieve.models.lenet import LeNet
from fedsieve.seeds import random_state, torch_stream
from runs import SEEDS, heading, row

SHAPE = Shape((3, 32, 32), 10)
POINTS = (25, 250, 600)
RATES = (0.003, 0.01)
FAMILIES = (
    "weights, dense",
    "{0,1}, dense",
    "{0,1}, density 0.2",
    "{-1,+1}, dense",
    "{-1,+1}, density 0.2",
    "{-1,+1} of signed constants, density 0.2",
)


def made(family: str, lr: float, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a network and an optimiser of what is trained of it."""
    with torch_stream(seed, "capacity"):
        model = LeNet((3, 32, 32), 10)
    if family.startswith("weights"):
        return model, torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    freeze_(model, "signed-constant" if "constants" in family else "kaiming-normal", seed)
    density = 0.2 if family.endswith("0.2") else 1.0
    keep = prune("synflow", model, make_ones(SHAPE, torch.float64), density, random_state(seed, "pruning"))
    drawn = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    if family.startswith("{0,1}"):
        for name, weight in model.named_parameters():
            weight.data *= keep.get(name, 1)
        latents = list(attach_family(model, Binary()).values())
        for latent in latents:
            latent.data += 0.1
        return model, torch.optim.Adam(latents, lr=lr, fused=True)
    mask = SignMask(weights(model))
    mask.keep_(drawn, keep)
    mask.load_(torch.full_like(mask.latent, 0.1))
    optimizer = torch.optim.Adam([mask.latent], lr=lr, fused=True)
    mask.follow(optimizer)
    return model, optimizer


def learnt(family: str, lr: float, seed: int) -> list[float]:
    """Return the accuracy at each of POINTS."""
    data = load_images("cifar10")
    order = torch.from_numpy(random_state(seed, "capacity").permutation(data.num_train)[:7000])
    x, y = data.images[order].float().div(127.5).sub(1), data.labels[order]
    model, optimizer = made(family, lr, seed)
    found, step = [], 0
    while step < POINTS[-1]:
        for chosen in torch.split(torch.from_numpy(random_state(seed, "order", round_=step).permutation(5000)), 20):
            model.train()
            optimizer.zero_grad()
            cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            step += 1
            if step in POINTS:
                model.eval()
                with torch.no_grad():
                    found.append(float((model(x[5000:]).argmax(1) == y[5000:]).float().mean()))
            if step == POINTS[-1]:
                break
    return found


def main() -> None:
    torch.set_num_threads(1)
    heading("python benchmarks/mask_capacity.py")
    row("trained", *(f"after {point} steps, %" for point in POINTS))
    row(*["---"] * (1 + len(POINTS)))
    for family in FAMILIES:
        curves = {lr: [learnt(family, lr, seed) for seed in SEEDS] for lr in RATES}
        cells = []
        for index in range(len(POINTS)):
            means = {lr: fmean(curve[index] for curve in found) for lr, found in curves.items()}
            best = max(means, key=means.__getitem__)
            cells.append(f"{100 * means[best]:.1f} (lr {best:g})")
        row(family, *cells)


if __name__ == "__main__":
    main()

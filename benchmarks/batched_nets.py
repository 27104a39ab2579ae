"""FedSieve's image networks over stacked weights: what benchmarks/batched.py measures on images.

Each takes weights K x their shape by plain name and images K x B x C x H x W, and returns logits K x B x classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import conv2d, elu, relu, unfold

from fedsieve.contract import Tensors
from fedsieve.models.lenet import UNPADDED_FROM, Pool

Net = Callable[[Tensors, Tensor], Tensor]
Convolution = Callable[[Tensor, Tensor, Tensor, int], Tensor]
pool = Pool()


def vmapped(model: nn.Module) -> Net:
    """Return `model` under torch.func; it cannot lay out channels last there, so max pooling is torch's own."""
    for module in model.modules():
        if isinstance(module, Pool):
            module.forward = lambda images: nn.functional.max_pool2d(images, 2)  # type: ignore[method-assign]
    return vmap(lambda weights, images: functional_call(model, weights, (images,)))


def mlp(weights: Tensors, images: Tensor) -> Tensor:
    hidden = relu(_linear(weights, "hidden.1", images.flatten(2)))
    return _linear(weights, "classifier", relu(_linear(weights, "hidden.3", hidden)))


def lenet(convolution: Convolution) -> Net:
    """Return LeNet, its linear layers batched products, its convolutions as `convolution` does them."""

    def net(weights: Tensors, images: Tensor) -> Tensor:
        hidden, padding = images, 0 if images.shape[-1] >= UNPADDED_FROM else 2
        for name, pad in (("hidden.0", padding), ("hidden.3", 0)):
            maps = convolution(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"], pad)
            hidden = elu(pool(maps.flatten(0, 1))).unflatten(0, maps.shape[:2])
        hidden = elu(_linear(weights, "hidden.7", hidden.flatten(2)))
        return _linear(weights, "classifier", elu(_linear(weights, "hidden.9", hidden)))

    return net


def grouped(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """One convolution of K groups, the clients' channels side by side."""
    k, side_by_side = len(images), images.transpose(0, 1).flatten(1, 2)
    maps = conv2d(side_by_side, weight.flatten(0, 1), bias.flatten(), padding=padding, groups=k)
    return maps.unflatten(1, (k, -1)).transpose(0, 1)


def unfolded(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """A batched product with all patches of the images."""
    patches = unfold(images.flatten(0, 1), weight.shape[-2:], padding=padding).unflatten(0, images.shape[:2])
    maps = weight.flatten(2).unsqueeze(1) @ patches + bias[:, None, :, None]
    return maps.unflatten(3, tuple(side + 2 * padding + 1 - weight.shape[-1] for side in images.shape[-2:]))


def one_by_one(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """A convolution for each client: only what stands around it is batched."""
    each = zip(images.unbind(), weight.unbind(), bias.unbind(), strict=True)
    return torch.stack([conv2d(*one, padding=padding) for one in each])


def _linear(weights: Tensors, name: str, hidden: Tensor) -> Tensor:
    return torch.baddbmm(weights[f"{name}.bias"].unsqueeze(1), hidden, weights[f"{name}.weight"].transpose(1, 2))

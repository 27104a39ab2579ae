"""Masks as torch parametrizations: any torch or PyG module gets one without a copy of its class.

Parameters keep their plain names here (`conv1.weight`), whether or not a mask sits on them: a parametrised module
files its weight as `conv1.parametrizations.weight.original`, and PyG's `Linear` cannot load such a `state_dict`.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils import parametrize

MATRIX_DIM = 2
"""Parameters of at least this many dimensions carry a mask; biases and norms do not."""

_OURS = "_fedsieve_mask"
"""The attribute of a parametrization that is a mask, and not a network's own, such as torch's spectral norm."""


def attach_masks(model: nn.Module, make: Callable[[Tensor], nn.Module]) -> dict[str, nn.Module]:
    """Register `make(weight)` as the parametrization of every weight matrix and return the masks by plain name."""
    masks: dict[str, nn.Module] = {}
    for prefix, module in list(model.named_modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.dim() >= MATRIX_DIM:
                mask = make(parameter)
                parametrize.register_parametrization(module, name, mask, unsafe=True)
                setattr(module.parametrizations[name], _OURS, True)
                masks[f"{prefix}.{name}" if prefix else name] = mask
        if isinstance(module, nn.RNNBase):
            module.register_forward_pre_hook(_take_masked)
    return masks


def _take_masked(module: nn.RNNBase, _: object) -> None:
    """Let a recurrent layer use its masked weights: it holds its weights in a list too, which masks do not reach."""
    module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


def find_transposed(model: nn.Module) -> set[str]:
    """Return the plain names of weight matrices that are in x out, as those of torch's transposed convolutions are.

    PyG's attention vectors, 1 x heads x channels, count among them: each head is an output. To be asked before masks
    are attached.
    """
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() >= MATRIX_DIM and (getattr(module, "transposed", False) or _is_attention(module, parameter))
    }


def _is_attention(module: nn.Module, parameter: Tensor) -> bool:
    """Return whether a parameter is 1 x heads x channels, and not a convolution's kernel for one output."""
    convolves = isinstance(module, nn.modules.conv._ConvNd)
    return not convolves and parameter.dim() == 3 and parameter.shape[0] == 1


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the model's own parameters by plain name, without those of masks on them.

    Matrices come in the order in which they come without masks: module by module.
    """
    masked = {path for path, module in model.named_modules() if getattr(module, _OURS, False)}
    parameters: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        owner, _, last = name.rpartition(".")
        if owner in masked and last == "original":
            before, _, plain = owner.rpartition("parametrizations.")
            parameters[before + plain] = parameter
        elif not any(owner == path or owner.startswith(f"{path}.") for path in masked):
            parameters[name] = parameter
    # torch lists what a mask sits on after the layers inside the same module, as those of an attention layer
    place = {prefix: number for number, (prefix, _) in enumerate(model.named_modules())}
    return dict(sorted(parameters.items(), key=lambda item: place[item[0].rpartition(".")[0]]))

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fedsieve.contract import Shape
from fedsieve.data.proxy import random_proxy_graph, random_proxy_images
from fedsieve.errors import UserError
from fedsieve.masks.attach import attach_masks
from fedsieve.masks.personal import PersonalMask
from fedsieve.models import MODELS, build, graph_of, make_ones
from fedsieve.models.embedding import LastLayer, embed, embedding_dim, find_last_layer
from tests.helpers import config

SHAPES = {"graph": ("digits-knn", Shape((5,), 3)), "images": ("digits", Shape((1, 16, 16), 3))}


def own() -> nn.Sequential:
    """Hidden units (x + y, y - x) with a ReLU, and three logits."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 3))
    model[1].weight.data = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    return model


INPUTS = torch.tensor([[[1.0], [2.0]], [[3.0], [-1.0]]])


def test_of_an_own_network_it_is_the_mean_input_of_the_last_linear_layer():
    model = own()
    # hidden units (3, 1) and (2, -4 -> 0)
    assert embed(model, INPUTS).tolist() == [2.5, 0.5]
    assert embedding_dim(model, INPUTS) == 2


def test_it_leaves_nothing_behind_on_the_network():
    model = own()
    embed(model, INPUTS)
    assert not model[3]._forward_pre_hooks
    assert not embed(model, INPUTS).requires_grad


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        raise ArithmeticError("broken")


def test_a_network_that_raises_is_left_as_it_was():
    model = Broken()
    with pytest.raises(ArithmeticError):
        embed(model, INPUTS)
    assert not model.last._forward_pre_hooks


def test_inputs_of_the_last_layer_with_further_dimensions_are_averaged_too():
    model = nn.Sequential(nn.Linear(1, 2))
    # the layer is given 2 x 2 x 1: the mean over (1, 2, 3, -1)
    assert embed(model, INPUTS).tolist() == [1.25]


class Embeds(nn.Module):
    """Has a layer called `embed`, which is no method."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.last = nn.Linear(1, 1), nn.Linear(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(10 * x)


def test_a_layer_called_embed_is_not_taken_for_the_method():
    assert embed(Embeds(), torch.tensor([[1.0], [2.0]])).tolist() == [15.0]


class Heads(nn.Module):
    """Has hidden units x and the layers `head`, 2 -> 3, and, declared last, `aux`; tests give it its forward."""

    def __init__(self, forward: Callable[["Heads", Tensor], Tensor]) -> None:
        super().__init__()
        self.head, self.square, self.aux = nn.Linear(2, 3), nn.Linear(2, 2), nn.Linear(7, 3)
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)
        self.conv, self.scale = nn.Conv1d(2, 3, 1), nn.Parameter(torch.ones(1, 3))
        nn.init.eye_(self.square.weight)
        nn.init.zeros_(self.square.bias)
        self._forward = forward

    def forward(self, inputs: Tensor) -> Tensor:
        return self._forward(self, inputs)

    def embed(self, inputs: Tensor) -> Tensor:
        """Return something else than FedSieve's networks do."""
        return inputs.T


X = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
MEAN = [2.0, 0.5]


def after_use(net: Heads, x: Tensor) -> Tensor:
    logits = net.head(x)
    net.square(x)
    return logits


def with_attention(net: Heads, x: Tensor) -> Tensor:
    net.attention(x[:, None], x[:, None], x[:, None])
    return net.head(x)


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda net, x: net.head(x), MEAN),
        (lambda net, x: nn.functional.linear(x, net.head.weight), MEAN),
        (lambda net, x: nn.functional.linear(input=x, weight=net.head.weight, bias=net.head.bias), MEAN),
        (lambda net, x: net.head(2 * net.square(net.square(x))), [4.0, 1.0]),
        (lambda net, x: net.head(x).log_softmax(1) * net.scale, MEAN),
        (lambda net, x: net.head(x) + net.head(3 * x), [4.0, 1.0]),
        (lambda net, x: net.head(x) + net.conv(x[:, :, None])[:, :, 0], MEAN),
        (lambda net, x: net.head(torch.stack([x, 3 * x], 1)).mean(1), [4.0, 1.0]),
        (after_use, MEAN),
        (with_attention, MEAN),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_it_is_of_the_linear_call_that_gives_the_logits(forward, expected: list[float], frozen: bool):
    model = Heads(forward).eval().requires_grad_(not frozen)
    assert embed(model, X).tolist() == expected
    assert all(parameter.requires_grad != frozen for parameter in model.parameters())


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.conv(net.square(x)[:, :, None]).mean(2),
        lambda net, x: net.square(x) @ net.head.weight.T,
        lambda net, x: net.attention(net.square(x)[:, None], x[:, None], x[:, None])[0][:, 0],
        lambda net, x: x,
    ],
)
def test_logits_that_no_linear_layer_gives_are_one_sentence(forward):
    with pytest.raises(UserError, match=r"^model: the logits of Heads are not those of a torch.nn.Linear, .*\.$"):
        embed(Heads(forward), X)


def test_a_layer_that_runs_more_often_for_more_inputs_is_one_sentence():
    model = Heads(lambda net, x: torch.stack([net.head(row) for row in x]))
    assert embed(model, X).tolist() == MEAN
    with pytest.raises(UserError, match=r"^model: Heads runs 1 linear layers for some input and 2 for another, .*\.$"):
        embed(model, X[:1])


def test_it_is_found_once_and_then_under_masks():
    model = Heads(lambda net, x: net.head(net.square(x)))
    assert find_last_layer(model, X) == LastLayer((1,), 2)
    attach_masks(model, lambda weight: PersonalMask(weight, 0.1))
    model.square.parametrizations.weight[0].mask.data.mul_(2)
    with parametrize.cached(), torch.no_grad():
        model(X)
        assert embed(copy.deepcopy(model), X).tolist() == [4.0, 1.0]


def test_a_network_that_fails_for_the_inputs_compared_on_is_one_sentence():
    with pytest.raises(UserError, match=r"^model: Broken fails for the inputs .*: ArithmeticError: broken\.$"):
        embedding_dim(Broken(), INPUTS)


def test_a_network_without_a_linear_layer_is_one_sentence():
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten())
    told = r"^model: the logits of Sequential are not those of a torch.nn.Linear, whose input .* layer is one\.$"
    with pytest.raises(UserError, match=told):
        embed(model, torch.zeros(1, 1, 2, 2))
    with pytest.raises(UserError, match=told):
        embedding_dim(model, torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("name", MODELS)
def test_embedding_dim_is_the_length_of_every_networks_embedding(name: str):
    dataset, shape = SHAPES[MODELS[name].kind]
    model = build(config(dataset=dataset, model=name, hidden_dim=7), shape).eval()
    is_graph = MODELS[name].kind == "graph"
    inputs = graph_of(random_proxy_graph(5, 1)) if is_graph else random_proxy_images(shape.input, 1)[:3]
    embedding = embed(model, inputs)
    assert embedding.shape == (embedding_dim(model, make_ones(shape)),)
    assert embedding.std() > 0
    assert torch.equal(embed(model, inputs), embedding)

import pytest
import torch
from torch import Tensor, nn

from fedsieve.data.proxy import random_proxy_graph, random_proxy_images
from fedsieve.errors import UserError
from fedsieve.models import MODELS, Shape, build, ones
from fedsieve.models.embedding import embed, embedding_dim
from fedsieve.models.gcn import propagation
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
    if name == "gcn":
        random = random_proxy_graph(5, 1)
        inputs = propagation(random.x, random.edge_index)
    else:
        inputs = random_proxy_images(shape.input, 1)[:3]
    embedding = embed(model, inputs)
    assert embedding.shape == (embedding_dim(model, ones(shape)),)
    assert embedding.std() > 0
    assert torch.equal(embed(model, inputs), embedding)

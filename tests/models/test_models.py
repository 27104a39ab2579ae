import pytest
import torch

from fedsieve.errors import UserError
from fedsieve.models import Shape, build, initial_weights
from tests.helpers import config

SHAPE = Shape((4,), 3)


def test_every_party_draws_the_same_initial_weights_whatever_was_drawn_before():
    first = initial_weights(config(), SHAPE)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = initial_weights(config(), SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = initial_weights(config(seed=43), SHAPE)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_the_network_has_the_shape_of_the_data_and_the_width_asked_for():
    found = {name: tuple(tensor.shape) for name, tensor in initial_weights(config(hidden_dim=5), SHAPE).items()}
    assert found == {
        "conv1.weight": (4, 5),
        "conv1.bias": (5,),
        "conv2.weight": (5, 5),
        "conv2.bias": (5,),
        "classifier.weight": (3, 5),
        "classifier.bias": (3,),
    }


def test_an_unknown_model_is_one_sentence():
    with pytest.raises(UserError, match=r"^model: got 'gat', allowed for graph data: gcn"):
        build(config(model="gat"), SHAPE)

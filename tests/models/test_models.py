import json
from pathlib import Path

import pytest
import torch

from fedsieve.errors import UserError
from fedsieve.models import Shape, build, initial_weights, ones
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


IMAGES = Shape((1, 8, 8), 10)

OWN = """
import torch
from torch import nn

class Tuple(nn.Linear):
    def forward(self, inputs):
        return (super().forward(inputs.flatten(1)),)

class Averaged(nn.Linear):
    def forward(self, graph):
        return super().forward(graph.a_hat_x @ torch.eye(graph.a_hat_x.shape[1]))

class NotAModule:
    def __call__(self, inputs):
        return inputs.flatten(1)[:, :10]

def make(shape, num_classes):
    assert shape == (1, 8, 8) and num_classes == 10
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, num_classes))

def by_node(shape, num_classes):
    return Averaged(*shape, num_classes)

def convolutions(norm):
    return lambda shape, num_classes: nn.Sequential(
        nn.Conv2d(shape[0], 4, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

batch_norm = convolutions(nn.BatchNorm2d(4))


def still_batch_norm_1d(input_shape, num_classes):
    norm = nn.BatchNorm1d(32, track_running_stats=False)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), norm, nn.Linear(32, num_classes))


still_batch_norm = convolutions(nn.BatchNorm2d(4, track_running_stats=False))
group_norm = convolutions(nn.GroupNorm(2, 4))
too_few = lambda shape, num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes - 1))
no_weights = lambda shape, num_classes: nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(num_classes))
wrong_size = lambda shape, num_classes: nn.Sequential(nn.Flatten(), nn.Linear(63, num_classes))
a_tuple = lambda shape, num_classes: Tuple(64, num_classes)
no_module = lambda shape, num_classes: NotAModule()

def raising(shape, num_classes):
    raise KeyError("width")

def raising_two_lines(shape, num_classes):
    raise ArithmeticError("width\\nheight")

not_callable = 3


def tied(input_shape, num_classes):
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, second, nn.Linear(64, num_classes))
"""


@pytest.fixture
def own_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_nets.py").write_text(OWN)
    (tmp_path / "my_unreadable_nets.py").write_text("def make(:")
    (tmp_path / "my_broken_nets.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own_nets")
@pytest.mark.parametrize("name", ["make", "group_norm", "still_batch_norm", "still_batch_norm_1d"])
def test_a_users_own_network_is_built_from_the_runs_seed(name: str):
    run = config(dataset="digits", model=f"my_own_nets:{name}")
    first, again = build(run, IMAGES), build(run, IMAGES)
    assert first(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    other = build(config(dataset="digits", model=f"my_own_nets:{name}", seed=7), IMAGES)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert list(initial_weights(run, IMAGES)) == [name for name, _ in first.named_parameters()]


@pytest.mark.usefixtures("own_nets")
def test_an_own_network_for_graphs_is_given_the_products_of_the_graph():
    model = build(config(model="my_own_nets:by_node"), SHAPE)
    assert model(ones(SHAPE)).shape == (1, 3)


@pytest.mark.usefixtures("own_nets")
@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("no_such_nets:make", "it cannot be imported: No module named 'no_such_nets'"),
        ("my_own_nets:none", "it cannot be imported: module 'my_own_nets' has no attribute 'none' ('my_own_nets' is "),
        ("sys:make", "it cannot be imported: module 'sys' has no attribute 'make' ('sys' is built in)"),
        ("json.nets:make", f"it cannot be imported: No module named 'json.nets' ('json' is {json.__file__})"),
        ("my_own_nets:", "it cannot be imported: "),
        (":make", "it cannot be imported: "),
        ("my_own_nets:not_callable", "it fails for an input of shape (1, 8, 8) and 10 classes: TypeError"),
        ("my_own_nets:raising", "it fails for an input of shape (1, 8, 8) and 10 classes: KeyError: 'width'"),
        ("my_own_nets:wrong_size", "it fails for an input of shape (1, 8, 8) and 10 classes: RuntimeError"),
        ("my_own_nets:too_few", "it does not return a torch module whose logits are N x 10"),
        ("my_own_nets:no_module", "it does not return a torch module whose logits are N x 10"),
        ("my_own_nets:no_weights", "it has no weight matrix to train"),
        ("my_own_nets:tied", "two of its layers share one weight"),
        ("my_own_nets:a_tuple", "it does not return a torch module whose logits"),
        ("my_own_nets:raising_two_lines", "it fails for an input of shape (1, 8, 8)"),
        ("my_unreadable_nets:make", "it cannot be imported: "),
        ("my_broken_nets:make", "it cannot be imported: "),
        (".my_own_nets:make", "it cannot be imported: "),
        ("my_own_nets:batch_norm", "1.running_mean changes in training and is no parameter"),
    ],
)
def test_an_own_network_of_no_use_is_one_sentence(model: str, told: str):
    with pytest.raises(UserError) as caught:
        build(config(dataset="digits", model=model), IMAGES)
    assert str(caught.value).startswith(f"model: got {model!r}, but {told}")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_a_network_for_the_other_kind_of_data_is_one_sentence():
    with pytest.raises(UserError, match=r"^model: got 'gcn', allowed for image data: lenet, conv2, conv4, mlp"):
        build(config(dataset="digits", model="gcn"), IMAGES)
    with pytest.raises(UserError, match=r"^model: got 'lenet', allowed for graph data: gcn, or your own, as my_pack"):
        build(config(model="lenet"), SHAPE)


def test_images_too_small_for_a_network_are_one_sentence():
    told = r"^model: got 'lenet', but its images need sides of 12 pixels or more, got 8 x 8\.$"
    with pytest.raises(UserError, match=told):
        build(config(dataset="digits", model="lenet"), IMAGES)


def test_an_input_of_ones_is_one_image_or_a_graph_of_one_node():
    assert torch.equal(ones(IMAGES), torch.ones(1, 1, 8, 8))
    assert ones(IMAGES, torch.float64).dtype == torch.float64
    graph = ones(SHAPE)
    # the node's own loop is all there is: Â = 1
    assert (graph.a_hat_x @ torch.eye(4)).tolist() == [[1, 1, 1, 1]]
    assert build(config(hidden_dim=2), SHAPE).eval()(graph).shape == (1, 3)

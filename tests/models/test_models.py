import copy
import importlib
import json
from pathlib import Path

import pytest
import torch

from fedsieve import seeds
from fedsieve.contract import Shape
from fedsieve.errors import UserError
from fedsieve.inputs import run_network
from fedsieve.models import build, initial_buffers, initial_weights, make_ones
from fedsieve.models.gcn import find_products
from fedsieve.models.trial import smallest_batch
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
    with pytest.raises(UserError, match=r"^model: got 'sagee' \(did you mean sage\?\), allowed: gcn, sage, gat"):
        build(config(model="sagee"), SHAPE)


IMAGES = Shape((1, 8, 8), 10)

OWN = """
import numpy as np
import torch
import torch.nn.utils.prune
from torch import nn

class Tuple(nn.Linear):
    def forward(self, inputs):
        return (super().forward(inputs.flatten(1)),)

class Averaged(nn.Linear):
    def forward(self, x, edge_index):
        return super().forward(x)

class NotAModule:
    def __call__(self, inputs):
        return inputs.flatten(1)[:, :10]

def make(shape, num_classes):
    assert shape == (1, 8, 8) and num_classes == 10
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, num_classes))

def by_node(in_channels, out_channels):
    return Averaged(in_channels, out_channels)

def convolutions(norm):
    return lambda shape, num_classes: nn.Sequential(
        nn.Conv2d(shape[0], 4, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

batch_norm = convolutions(nn.BatchNorm2d(4))
batch_norm_1d = lambda shape, num_classes: nn.Sequential(
    nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))
lazy_batch_norm = convolutions(nn.LazyBatchNorm2d())


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


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, num_classes)

    def forward(self, images):
        return self.last(torch.tanh(self.first(images.flatten(1))))


def network(forward=Net.forward, change=lambda net: None):
    '''Return a function that makes a `Net` with another forward, or something changed.'''
    def make(input_shape, num_classes):
        net = type("Changed", (Net,), {"forward": forward})(num_classes)
        change(net)
        return net
    return make


def in_evaluation(net, images):
    return Net.forward(net, images if net.training else images.sub_(1))

def through_data(net, images):
    images.data.mul_(2)
    return Net.forward(net, images)

adds = network(lambda net, images: Net.forward(net, images.add_(1)))
first_relu = network(lambda net, images: Net.forward(net, torch.relu_(images)))
adds_in_evaluation = network(in_evaluation)
adds_through_data = network(through_data)


class AddsToGraph(Averaged):
    def forward(self, x, edge_index):
        edge_index.add_(0)
        return super().forward(x, edge_index)

adds_to_graph = AddsToGraph


def counts(net, images):
    net.steps += 1
    return Net.forward(net, images)

def follows(net, images):
    if net.training:
        net.mean = 0.9 * net.mean + 0.1 * images.detach().mean()
    return Net.forward(net, images - net.mean)

def aliased(net):
    net.register_buffer("view", net.last.weight.detach())

def grows(net, images):
    net.seen = torch.cat([net.seen, images.flatten(1)[:, 0]])
    return Net.forward(net, images)

def turns(net, images):
    net.steps = net.steps + 0.5
    return Net.forward(net, images)

def appears(net, images):
    net.calls += 1
    if net.training and net.calls > 1:
        net.mean = images.mean()
    return Net.forward(net, images)

def drops(net, images):
    net.calls += 1
    net.mean = None if net.training and net.calls > 1 else net.mean
    return Net.forward(net, images)

def calling(mean):
    return lambda net: setattr(net, "calls", 0) or net.register_buffer("mean", mean)

growing = network(grows, lambda net: net.register_buffer("seen", torch.empty(0)))
turning = network(turns, lambda net: net.register_buffer("steps", torch.tensor(0)))
sparing, dropping = network(appears, calling(None)), network(drops, calling(torch.zeros(2)))
rough = network(counts, lambda net: net.register_buffer("steps", torch.zeros((), dtype=torch.bfloat16)))
counter = network(counts, lambda net: net.register_buffer("steps", torch.tensor(0), persistent=False))
follower = network(follows, lambda net: net.register_buffer("mean", torch.tensor(0.0)))
plain_follower = network(follows, lambda net: setattr(net, "mean", torch.tensor(0.0)))
noisy = network(lambda net, images: Net.forward(net, images + float(np.random.standard_normal())))
view = network(change=aliased)

new, old = nn.utils.parametrizations, nn.utils
weight_norm = network(change=lambda net: new.weight_norm(net.first))
orthogonal = network(change=lambda net: new.orthogonal(net.last))
spectral_norm = network(change=lambda net: new.spectral_norm(net.first))
old_weight_norm = network(change=lambda net: old.weight_norm(net.first))
old_spectral_norm = network(change=lambda net: old.spectral_norm(net.first))
pruned = network(change=lambda net: old.prune.l1_unstructured(net.first, "weight", 3))

half = network(lambda net, images: Net.forward(net, images.half()).float(), lambda net: net.half())
complex_ = network(lambda net, images: Net.forward(net, images.cfloat()).abs(), lambda net: net.to(torch.cfloat))
sparse = lambda *_: nn.Sequential(Whole(), nn.Embedding(9, 10, sparse=True), Middle())
never_run = network(change=lambda net: setattr(net, "more", nn.LazyLinear(3)))
no_gradient = network(torch.no_grad()(Net.forward))
frozen = network(change=lambda net: net.requires_grad_(False))
view_of_one = network(change=lambda net: setattr(net, "more", nn.Linear(64, 8)) or setattr(
    net.more, "weight", nn.Parameter(net.first.weight.data)))
from_a_list = network(lambda net, images: nn.functional.linear(images.flatten(1), net.weights[0]),
    lambda net: setattr(net, "last", nn.Linear(64, 10)) or setattr(net, "weights", [net.last.weight]))
in_a_list = network(lambda net, images: net.last(torch.tanh(net.layers[0](images.flatten(1)))),
    lambda net: setattr(net, "layers", [nn.Linear(64, 8)]))
one_in_training = network(lambda net, images: Net.forward(net, images) if not net.training else 3)


class Whole(nn.Module):
    def forward(self, images):
        return ((images + 1) * 4).long().clamp(0, 8).flatten(1)

class Middle(nn.Module):
    def forward(self, embedded):
        return embedded.mean(1)


def recurrent(input_shape, num_classes):
    return Recurrent(num_classes)

class Recurrent(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.rnn, self.last = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, num_classes)

    def forward(self, images):
        return self.last(self.rnn(images[:, 0])[0].mean(1))

lazy = lambda shape, num_classes: nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(num_classes))
embedded = lambda *_: nn.Sequential(Whole(), nn.Embedding(9, 10), Middle())
part_frozen = network(change=lambda net: net.first.requires_grad_(False))
unused = network(change=lambda net: setattr(net, "aux", nn.Linear(3, 3)))
keeps_its_logits = network(lambda net, images: setattr(net, "seen", Net.forward(net, images)) or net.seen)
transformer = lambda shape, num_classes: nn.Sequential(nn.Flatten(1, 2), nn.TransformerEncoder(
    nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 1), nn.Flatten(), nn.Linear(64, num_classes))


class Still(nn.Module):
    '''A batch norm of somebody's, whose statistics never change.'''

    def __init__(self, num_classes):
        super().__init__()
        self.last, self.norm = nn.Linear(64, num_classes), nn.BatchNorm2d(1)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, images):
        return self.last(self.norm(images).flatten(1))

still = lambda shape, num_classes: Still(num_classes)
"""


@pytest.fixture
def own_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_nets.py").write_text(OWN)
    (tmp_path / "my_unreadable_nets.py").write_text("def make(:")
    (tmp_path / "my_broken_nets.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


WORKING = ["make", "group_norm", "still_batch_norm", "still_batch_norm_1d", "recurrent", "lazy", "embedded"]
WORKING += ["batch_norm", "batch_norm_1d", "lazy_batch_norm", "counter", "follower"]
WORKING += ["spectral_norm", "old_spectral_norm"]
WORKING += ["part_frozen", "unused", "keeps_its_logits", "transformer", "still"]


@pytest.mark.usefixtures("own_nets")
@pytest.mark.parametrize("name", WORKING)
def test_a_users_own_network_is_built_from_the_runs_seed(name: str):
    run = config(dataset="digits", model=f"my_own_nets:{name}")
    first, again = build(run, IMAGES), build(run, IMAGES)
    assert first(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    other = build(config(dataset="digits", model=f"my_own_nets:{name}", seed=7), IMAGES)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert list(initial_weights(run, IMAGES)) == [name for name, _ in first.named_parameters()]


@pytest.mark.usefixtures("own_nets")
def test_an_own_network_for_graphs_is_made_of_two_widths_and_given_the_graph():
    model = build(config(model="my_own_nets:by_node"), SHAPE)
    assert run_network(model, make_ones(SHAPE)).shape == (1, 3)


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
        ("my_own_nets:adds", "its forward writes into its input"),
        ("my_own_nets:first_relu", "its forward writes into its input"),
        ("my_own_nets:adds_in_evaluation", "its forward writes into its input"),
        ("my_own_nets:adds_through_data", "its forward writes into its input"),
        ("my_own_nets:view", "its buffer view is a view of a weight, which clients replace, allowed: a clone"),
        ("my_own_nets:growing", "its buffer seen changes from torch.float32 (0,) to torch.float32 (2,), allowed: buf"),
        ("my_own_nets:turning", "its buffer steps changes from torch.int64 () to torch.float32 (), allowed: buffers"),
        ("my_own_nets:sparing", "its buffer mean appears when the network runs, allowed: registered in __init__"),
        ("my_own_nets:dropping", "its buffer mean goes when the network runs, allowed: registered in __init__"),
        ("my_own_nets:rough", "its buffer steps changes and is torch.bfloat16, allowed: torch.float32, torch.float64"),
        ("my_own_nets:plain_follower", "it gives other logits for the same input and weights the second time"),
        ("my_own_nets:noisy", "it gives other logits for the same input and weights the second time"),
        ("my_own_nets:orthogonal", "its layer last has a parametrization on its weight, Orthogonal"),
        (
            "my_own_nets:weight_norm",
            "its layer first has a parametrization on its weight, WeightNorm, where masks would",
        ),
        ("my_own_nets:old_weight_norm", "its layer first has a weight that torch.nn.utils computes again"),
        ("my_own_nets:pruned", "its layer first has a weight that torch.nn.utils computes again"),
        ("my_own_nets:half", "its first.weight is torch.float16, allowed: torch.float32"),
        ("my_own_nets:complex_", "its first.weight is torch.complex64, allowed: torch.float32"),
        ("my_own_nets:sparse", "its 1.weight has a sparse gradient"),
        ("my_own_nets:never_run", "its layer of more.weight is lazy and was not run"),
        ("my_own_nets:no_gradient", "its logits have no gradient"),
        ("my_own_nets:frozen", "its logits have no gradient"),
        ("my_own_nets:view_of_one", "two of its layers share one weight"),
        ("my_own_nets:in_a_list", "it uses a weight of shape (8,"),
        ("my_own_nets:from_a_list", "it takes a weight from elsewhere than its layer"),
        ("my_own_nets:one_in_training", "it does not return a torch module whose logits"),
    ],
)
def test_an_own_network_of_no_use_is_one_sentence(model: str, told: str):
    with pytest.raises(UserError) as caught:
        build(config(dataset="digits", model=model), IMAGES)
    assert str(caught.value).startswith(f"model: got {model!r}, but {told}")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("own_nets")
def test_a_graph_that_is_written_into_is_one_sentence():
    with pytest.raises(UserError, match=r"^model: got 'my_own_nets:adds_to_graph', but its forward writes into its in"):
        build(config(model="my_own_nets:adds_to_graph"), SHAPE)


@pytest.mark.usefixtures("own_nets")
def test_the_trial_leaves_a_network_as_it_was_made():
    run, torch_state = config(dataset="digits", model="my_own_nets:keeps_its_logits"), torch.get_rng_state()
    tried = build(run, IMAGES)
    assert tried.training
    assert torch.equal(torch.get_rng_state(), torch_state)
    with seeds.torch_stream(run.seed, "initial weights"):
        made = importlib.import_module("my_own_nets").keeps_its_logits((1, 8, 8), 10)
    assert all(torch.equal(a, b) for a, b in zip(tried.parameters(), made.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in tried.parameters())
    copy.deepcopy(tried)  # as SynFlow does: what the forward keeps has no gradient


@pytest.mark.usefixtures("own_nets")
@pytest.mark.parametrize(
    ("name", "changing"),
    [
        ("batch_norm", ["1.running_mean", "1.running_var", "1.num_batches_tracked"]),
        ("lazy_batch_norm", ["1.running_mean", "1.running_var", "1.num_batches_tracked"]),
        ("counter", ["steps"]),
        ("follower", ["mean"]),
        ("spectral_norm", ["first.parametrizations.weight.0._u", "first.parametrizations.weight.0._v"]),
        ("old_spectral_norm", ["first.weight_u", "first.weight_v"]),
    ],
)
def test_the_trial_notes_which_buffers_training_changes_and_leaves_them(name: str, changing: list[str]):
    run = config(dataset="digits", model=f"my_own_nets:{name}")
    noted = initial_buffers(run, IMAGES)
    assert list(noted) == changing
    with seeds.torch_stream(run.seed, "initial weights"):
        made = dict(getattr(importlib.import_module("my_own_nets"), name)((1, 8, 8), 10).named_buffers())
    for one, buffer in noted.items():
        is_lazy = name.startswith("lazy")
        assert (
            buffer.tolist() == ([1.0] * 4 if one.endswith("_var") else [0.0] * 4 if "mean" in one else 0)
            if is_lazy
            else (torch.equal(buffer, made[one]))
        )
    assert dict(build(run, IMAGES).named_buffers()).keys() == set(changing)


@pytest.mark.usefixtures("own_nets")
def test_a_network_that_fails_for_one_image_needs_batches_of_two():
    run = config(dataset="digits", model="my_own_nets:still_batch_norm_1d")
    assert smallest_batch(build(run, IMAGES)) == (2, 2)
    for name, smallest in {"still_batch_norm": (1, 1), "batch_norm_1d": (2, 1)}.items():
        assert smallest_batch(build(config(run.flat() | {"model": f"my_own_nets:{name}"}), IMAGES)) == smallest
    with pytest.raises(UserError, match=r"^batch-size: got 1 with model = .*, allowed: 2 or more\.$"):
        build(config(run.flat() | {"batch-size": 1}), IMAGES)


def test_a_network_for_the_other_kind_of_data_is_one_sentence():
    with pytest.raises(UserError, match=r"^model: got 'gcn', allowed for image data: lenet, conv2, conv4, mlp"):
        build(config(dataset="digits", model="gcn"), IMAGES)
    with pytest.raises(UserError, match=r"^model: got 'lenet', allowed for graph data: gcn, sage, gat, gin, app"):
        build(config(model="lenet"), SHAPE)


def test_images_too_small_for_a_network_are_one_sentence():
    told = r"^model: got 'lenet', but its images need sides of 12 pixels or more, got 8 x 8\.$"
    with pytest.raises(UserError, match=told):
        build(config(dataset="digits", model="lenet"), IMAGES)


def test_an_input_of_ones_is_one_image_or_a_graph_of_one_node():
    assert torch.equal(make_ones(IMAGES), torch.ones(1, 1, 8, 8))
    assert make_ones(IMAGES, torch.float64).dtype == torch.float64
    graph = make_ones(SHAPE)
    assert graph.x.tolist() == [[1, 1, 1, 1]]
    assert graph.edge_index.tolist() == [[0], [0]]
    products = find_products(graph.x, graph.edge_index)
    assert (products.a_hat_x @ torch.eye(4)).tolist() == [[1, 1, 1, 1]]
    assert run_network(build(config(hidden_dim=2), SHAPE).eval(), graph).shape == (1, 3)
    assert make_ones(Shape((4,), 3, 2), torch.float64).edge_attr.tolist() == [[1, 1]]

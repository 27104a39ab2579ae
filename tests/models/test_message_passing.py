"""The built-in graph networks, those of PyG and a user's own, called as PyG's are."""

import copy
import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE

from fedsieve.contract import Shape
from fedsieve.errors import UserError
from fedsieve.inputs import Graph, run_network
from fedsieve.masks.attach import attach_masks, find_transposed
from fedsieve.masks.personal import PersonalMask
from fedsieve.models import GRAPH_MODELS, build
from fedsieve.models.embedding import embed, embedding_dim, find_last_layer
from fedsieve.models.gcn import _KNOWN, find_products
from fedsieve.trained import _convert_to_pyg
from tests.helpers import config

SHAPE, WITH_ATTRIBUTES = Shape((5,), 3), Shape((5,), 3, 2)


@pytest.fixture
def graph() -> Graph:
    """A graph with a self-loop, a repeated and a one-way edge, whose edges have weights and attributes."""
    random = torch.Generator().manual_seed(1)
    edges = torch.tensor([[0, 1, 2, 2, 3, 0, 0], [1, 0, 2, 3, 2, 3, 3]])
    weight, attr = torch.rand(7, generator=random), torch.randn(7, 2, generator=random)
    return Graph(torch.randn(6, 5, generator=random), edges, weight, attr)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_gcn_is_pygs(graph: Graph, num_layers: int, weighted: bool):
    model = build(config(hidden_dim=7, num_layers=num_layers), SHAPE).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    theirs = _convert_to_pyg(model).eval()  # type: ignore[arg-type]
    given = (graph.x, graph.edge_index, *([graph.edge_weight] if weighted else []))
    torch.testing.assert_close(model(*given), theirs(*given), rtol=1e-5, atol=1e-5)
    hidden: list[Tensor] = []
    theirs.convs[-1].register_forward_hook(lambda _module, _given, result: hidden.append(result))
    theirs(*given)
    torch.testing.assert_close(model.embed(*given), hidden[0].mean(0), rtol=1e-5, atol=1e-5)


def test_gcn_finds_its_products_by_the_very_tensors_and_lets_them_go_with_these(graph: Graph):
    gc.collect()
    before = len(_KNOWN)
    x, edges, weight = graph.x.clone(), graph.edge_index.clone(), torch.ones(7)
    first = find_products(x, edges)
    assert find_products(x, edges) is first
    assert find_products(x, edges.clone()) is not first
    weighted = find_products(x, edges, weight)
    assert find_products(x, edges, weight) is weighted
    x.mul_(2)
    assert find_products(x, edges, weight) is not weighted
    assert len(_KNOWN) == before + 1
    del x
    gc.collect()
    assert len(_KNOWN) == before


@pytest.mark.parametrize("name", GRAPH_MODELS)
def test_what_keys_say_of_a_network(name: str, graph: Graph):
    model = build(config(model=name, hidden_dim=12, num_layers=3, dropout=0.5), SHAPE)
    logits = run_network(model.eval(), Graph(graph.x, graph.edge_index))
    assert (logits.shape, logits.dtype) == ((6, 3), torch.float32)
    assert torch.equal(run_network(model, Graph(graph.x, graph.edge_index)), logits)
    again = build(config(model=name, hidden_dim=12, num_layers=3), SHAPE)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    noisy = run_network(model.train(), Graph(graph.x, graph.edge_index))
    assert torch.equal(noisy, logits) == (name == "sgc")  # it has no hidden layer to drop anything of


def test_they_are_pygs_own():
    kinds = {name: type(build(config(model=name), SHAPE)) for name in ("sage", "gat", "gin")}
    assert kinds == {"sage": GraphSAGE, "gat": GAT, "gin": GIN}


@pytest.mark.parametrize(("hidden_dim", "heads"), [(16, 8), (12, 4), (7, 1)])
def test_the_heads_of_gat_divide_its_width(hidden_dim: int, heads: int):
    model = build(config(model="gat", hidden_dim=hidden_dim), SHAPE)
    assert {tuple(conv.att_src.shape[:2]) for conv in model.convs} == {(1, heads)}  # type: ignore[union-attr]
    assert "convs.0.att_src" in find_transposed(model)


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [(name, "edge_weight", name in ("gcn", "appnp", "sgc")) for name in GRAPH_MODELS]
    + [(name, "edge_attr", name == "gat") for name in GRAPH_MODELS],
)
def test_what_edges_carry_counts_in_the_networks_that_take_it(name: str, changed: str, expected: bool, graph: Graph):
    model = build(config(model=name, hidden_dim=8), WITH_ATTRIBUTES).eval()
    other = Graph(**{**vars(graph), changed: 2 * getattr(graph, changed).flip(0)})
    assert torch.equal(run_network(model, graph), run_network(model, other)) != expected


@pytest.mark.parametrize("name", GRAPH_MODELS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_an_embedding_depends_on_the_network_and_is_as_long_on_any_graph(name: str, num_layers: int, graph: Graph):
    run = config(model=name, hidden_dim=8, num_layers=num_layers)
    one, other = (build(config(run.flat() | {"seed": seed}), SHAPE).eval() for seed in (1, 2))
    bare = Graph(graph.x, graph.edge_index)
    assert embedding_dim(one, bare) == embed(one, Graph(torch.ones(1, 5), torch.zeros(2, 1, dtype=torch.int64))).numel()
    assert not torch.equal(embed(one, bare), embed(other, bare))


@pytest.mark.parametrize("name", ["sage", "gat"])
def test_the_embedding_is_the_mean_input_of_the_last_convolution(name: str, graph: Graph):
    model = build(config(model=name, hidden_dim=8), SHAPE).eval()
    given: list[Tensor] = []
    model.convs[1].register_forward_pre_hook(lambda _, args: given.append(args[0]))  # type: ignore[union-attr]
    run_network(model, graph)
    torch.testing.assert_close(embed(model, graph), given[0].mean(0))


@pytest.mark.parametrize("name", GRAPH_MODELS)
def test_masks_and_copies_leave_a_network_as_it_computes(name: str, graph: Graph):
    model = build(config(model=name, hidden_dim=8, dropout=0.0), WITH_ATTRIBUTES).eval()
    logits, embedding = run_network(model, graph), embed(model, graph)
    masks = attach_masks(model, lambda weight: PersonalMask(weight, 0.1))
    assert {path.rpartition(".")[2] for path in masks} <= {"weight", "att_src", "att_dst", "att_edge"}
    copied = copy.deepcopy(model)
    assert torch.equal(run_network(copied, graph), logits)
    assert torch.equal(embed(copied, graph), embedding)
    for mask in masks.values():
        mask.mask.data.zero_()  # type: ignore[union-attr, operator]
    assert not torch.equal(run_network(model, graph), logits)
    assert torch.equal(run_network(copied, graph), logits)
    run_network(copied.train(), graph).sum().backward()
    assert all(parameter.grad is not None for name_, parameter in copied.named_parameters() if name_.endswith("mask"))


OWN = """
import torch
from torch import nn
from torch_geometric.nn import ARMAConv, GAT, GCNConv, GINEConv, MessagePassing, SAGEConv, Sequential, TransformerConv


class Two(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first, self.last = TransformerConv(in_channels, 4, heads=2), SAGEConv(8, out_channels)

    def forward(self, x, edge_index):
        return self.last(self.first(x, edge_index).relu(), edge_index)


class Three(Two):
    def __init__(self, in_channels, hidden_channels, out_channels):
        nn.Module.__init__(self)
        self.first, self.last = SAGEConv(in_channels, hidden_channels), SAGEConv(hidden_channels, out_channels)


class Named(Three):
    def __init__(self, features, width, classes):
        super().__init__(features, width, classes)


class Weighted(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.conv = GCNConv(features, classes)

    def forward(self, x, edge_index, edge_weight):
        return self.conv(x, edge_index, edge_weight)


class Attributed(nn.Module):
    def __init__(self, in_channels, out_channels, edge_dim):
        super().__init__()
        self.conv = GINEConv(nn.Linear(in_channels, out_channels), edge_dim=edge_dim or 1)

    def forward(self, x, edge_index, edge_attr):
        return self.conv(x, edge_index, edge_attr)


class NotLinear(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first, self.last = nn.Linear(in_channels, 6), ARMAConv(6, out_channels)

    def forward(self, x, edge_index):
        return self.last(self.first(x).relu(), edge_index)


class Embedding(Two):
    def embed(self, x, edge_index):
        return self.first(x, edge_index)


class Words(Two):
    def embed(self, x, edge_index):
        return "words"


class Held(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.first, self.weight = nn.Linear(in_channels, 3), nn.Parameter(torch.ones(3, out_channels))

    def forward(self, x, edge_index):
        return self.first(x) @ self.weight


class Old(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, graph):
        return self.linear(graph.a_hat_x)


class Cached(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = GCNConv(in_channels, out_channels, cached=True)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def in_a_row(in_channels, out_channels):
    first, last = SAGEConv(in_channels, 4), SAGEConv(4, out_channels)
    return Sequential("x, edge_index", [(first, "x, edge_index -> x"), nn.ReLU(), (last, "x, edge_index -> x")])


class Batched(Old):
    def forward(self, x, edge_index, batch):
        return self.linear(x)


class Greedy(Two):
    def __init__(self, in_channels, out_channels, heads, towers):
        super().__init__(in_channels, out_channels)


def make(in_channels, out_channels):
    return Two(in_channels, out_channels)


def positional(features, classes):
    return Two(features, classes)


old_shape = lambda input_shape, num_classes: Two(input_shape[0], num_classes)
"""


@pytest.fixture
def own_graph_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_graph_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def built(path: str, shape: Shape = SHAPE, **keys: object) -> nn.Module:
    return build(config(model=path, hidden_dim=8, **keys), shape)


NAMES = ["make", "positional", "Two", "Three", "Named", "Weighted", "NotLinear", "Embedding", "in_a_row"]


@pytest.mark.usefixtures("own_graph_nets")
@pytest.mark.parametrize("name", NAMES)
def test_an_own_graph_network_is_made_by_a_function_or_a_class(name: str, graph: Graph):
    model, bare = built(f"my_graph_nets:{name}").eval(), Graph(graph.x, graph.edge_index)
    assert run_network(model, bare).shape == (6, 3)
    assert embed(model, bare).dim() == 1


@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GAT", "GIN", "EdgeCNN"])
def test_pygs_models_are_taken_as_they_are(name: str, graph: Graph):
    model = built(f"torch_geometric.nn:{name}", WITH_ATTRIBUTES, num_layers=3, dropout=0.25).eval()
    assert (model.in_channels, model.hidden_channels, model.num_layers, model.out_channels) == (5, 8, 3, 3)
    assert model.dropout.p == 0.25  # type: ignore[union-attr]
    assert run_network(model, graph).shape == (6, 3)
    assert embed(model, graph).numel() in (8, 3)
    if name == "GAT":
        other = Graph(graph.x, graph.edge_index, edge_attr=graph.edge_attr.flip(0))  # type: ignore[union-attr]
        assert not torch.equal(run_network(model, graph), run_network(model, other))


@pytest.mark.usefixtures("own_graph_nets")
def test_of_a_layer_that_is_not_linear_it_is_the_input_too(graph: Graph):
    model = built("my_graph_nets:NotLinear").eval()
    assert find_last_layer(model, graph).path == "last"
    expected = model.first(graph.x).relu().mean(0)  # type: ignore[operator]
    torch.testing.assert_close(embed(model, graph), expected)
    attach_masks(model, lambda weight: PersonalMask(weight, 0.1))
    torch.testing.assert_close(embed(copy.deepcopy(model), graph), expected)


@pytest.mark.usefixtures("own_graph_nets")
def test_a_network_may_say_what_its_embedding_is(graph: Graph):
    model = built("my_graph_nets:Embedding").eval()
    torch.testing.assert_close(embed(model, graph), model.first(graph.x, graph.edge_index).mean(0))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"^model: embed of Words returns str, allowed: a row .*\.$"):
        embed(built("my_graph_nets:Words").eval(), graph)


@pytest.mark.usefixtures("own_graph_nets")
def test_a_network_whose_last_weight_is_in_no_layer_has_no_embedding(graph: Graph):
    with pytest.raises(UserError, match=r"^model: no layer of Held gives its logits, whose input .*\.$"):
        embed(built("my_graph_nets:Held").eval(), graph)


@pytest.mark.usefixtures("own_graph_nets")
def test_weights_that_a_forward_cannot_do_without_are_1(graph: Graph):
    model = built("my_graph_nets:Weighted").eval()
    ones = Graph(graph.x, graph.edge_index, torch.ones(7))
    assert torch.equal(run_network(model, Graph(graph.x, graph.edge_index)), run_network(model, ones))
    assert not torch.equal(run_network(model, graph), run_network(model, ones))


@pytest.mark.usefixtures("own_graph_nets")
def test_attributes_that_a_forward_cannot_do_without_are_of_the_datas_width(graph: Graph):
    assert run_network(built("my_graph_nets:Attributed", WITH_ATTRIBUTES).eval(), graph).shape == (6, 3)


@pytest.mark.usefixtures("own_graph_nets")
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("my_graph_nets:Old", "its forward asks for graph alone, allowed: forward(x, edge_index), and edge_weight or"),
        ("my_graph_nets:Batched", "its forward asks for batch too, allowed: forward(x, edge_index), and edge_weight"),
        ("my_graph_nets:Attributed", "its forward asks for edge_attr, which the data do not have"),
        ("my_graph_nets:Cached", "its layer conv keeps the first graph that it is given, and each client has its own"),
        ("my_graph_nets:Greedy", "it asks for heads, towers, allowed: in_channels, hidden_channels, num_layers, out"),
        ("my_graph_nets:old_shape", "it fails for 5 features a node and 3 classes: TypeError: 'int' object is not"),
        ("my_graph_nets:MessagePassing", "it "),
        ("torch_geometric.nn:PNA", "it fails for 5 features a node and 3 classes: "),
        ("torch_geometric.nn:GraphSage", "it cannot be imported: module 'torch_geometric.nn' has no attribute"),
        ("torch_geometric.nn:to_hetero", "it "),
        ("torch.nn:Linear", "its forward asks for input alone, allowed: forward(x, edge_index)"),
    ],
)
def test_a_graph_network_of_no_use_is_one_sentence(path: str, sentence: str):
    with pytest.raises(UserError) as caught:
        built(path)
    assert str(caught.value).startswith(f"model: got {path!r}, but {sentence}")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_pygs_gcn_itself_is_called_with_weights(graph: Graph):
    model = GCN(5, 4, 2, 3).eval()
    expected = model(graph.x, graph.edge_index, graph.edge_weight)
    assert torch.equal(run_network(model, graph), expected)

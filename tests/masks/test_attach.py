import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch_geometric.nn import GCNConv

from fedsieve.masks.attach import attach_masks, weights


class Half(nn.Module):
    """Multiplies by a trainable 1/2."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full_like(weight, 0.5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv2d(1, 2, 3))
        self.own = nn.Parameter(torch.ones(2, 2))


def test_every_matrix_gets_a_mask_and_no_bias_does():
    masks = attach_masks(Small(), Half)
    assert set(masks) == {"body.0.weight", "body.2.weight", "own"}


def test_weights_keep_their_plain_names_and_are_the_originals():
    plain, masked = Small(), Small()
    masked.load_state_dict(plain.state_dict())
    attach_masks(masked, Half)
    found = weights(masked)
    assert set(found) == set(weights(plain)) == {name for name, _ in plain.named_parameters()}
    for name, parameter in plain.named_parameters():
        assert torch.equal(found[name], parameter)
    assert torch.equal(masked.own, torch.full((2, 2), 0.5))


def test_weights_are_the_parameters_that_train():
    model = nn.Linear(2, 1)
    attach_masks(model, Half)
    with torch.no_grad():
        weights(model)["weight"].copy_(torch.tensor([[4.0, 6.0]]))
    assert model.weight.tolist() == [[2, 3]]


def test_a_convolution_of_pygs_gets_a_mask_without_a_copy_of_its_class():
    torch.manual_seed(1)
    conv = GCNConv(3, 2)
    x, edges = torch.randn(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]])
    before, plain = conv(x, edges), conv.lin.weight.detach().clone()
    masks = attach_masks(conv, Half)
    assert set(masks) == {"lin.weight"}
    assert set(weights(conv)) == {"lin.weight", "bias"}
    assert torch.equal(weights(conv)["lin.weight"], plain)
    assert torch.allclose(conv(x, edges), before / 2, atol=1e-6)


def test_recurrent_layers_use_their_masks():
    model, inputs = nn.LSTM(2, 3, num_layers=2), torch.randn(4, 1, 2)
    halved = nn.LSTM(2, 3, num_layers=2)
    for name, parameter in model.named_parameters():
        getattr(halved, name).data = parameter.data * (0.5 if parameter.dim() == 2 else 1)
    masks = attach_masks(model, Half)
    output = model(inputs)[0]
    assert torch.allclose(output, halved(inputs)[0])
    output.sum().backward()
    assert all(mask.factor.grad.abs().sum() > 0 for mask in masks.values())


class Attention(nn.Module):
    """Holds a matrix itself, beside a layer that has one too, as PyG's attention layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.bias = nn.Parameter(torch.ones(1, 2, 3)), nn.Parameter(torch.zeros(3))
        self.linear = nn.Linear(3, 6)


def test_masks_do_not_change_the_order_of_matrices():
    model = nn.Sequential(Attention(), nn.Linear(2, 2))
    before = [name for name, weight in weights(model).items() if weight.dim() >= 2]
    assert before == ["0.attention", "0.linear.weight", "1.weight"]
    attach_masks(model, Half)
    assert [name for name, weight in weights(model).items() if weight.dim() >= 2] == before


def test_a_networks_own_parametrization_keeps_its_parameters_names_under_a_mask():
    model = nn.Sequential(spectral_norm(nn.Linear(3, 2)), weight_norm(nn.Linear(2, 2)))
    plain = set(dict(model.named_parameters()))
    assert set(weights(model)) == plain
    masks = attach_masks(model, Half)
    assert set(masks) == {name for name in plain if not name.endswith("bias")}
    assert set(weights(model)) == plain

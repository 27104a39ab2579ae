from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import elu, relu

from fedsieve.models.conv import conv2, conv4
from fedsieve.models.lenet import LeNet
from fedsieve.models.mlp import MLP
from fedsieve.models.resnet import ResNet18

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
NETWORKS = {"lenet": LeNet, "conv2": conv2, "conv4": conv4, "mlp": MLP, "resnet18": ResNet18}
SMALL = [("conv2", DIGITS), ("mlp", DIGITS), ("resnet18", DIGITS)]
CASES = [(name, shape) for name in NETWORKS for shape in (MNIST, CIFAR)] + SMALL


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(5)


def count(model: nn.Module) -> tuple[int, int]:
    """Return the numbers of weights and of biases and scales."""
    sizes = [(p.dim() >= 2, p.numel()) for p in model.parameters()]
    return sum(n for matrix, n in sizes if matrix), sum(n for matrix, n in sizes if not matrix)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("lenet", CIFAR, (61_770, 236)),
        ("lenet", MNIST, (61_470, 236)),
        # Frankle and Carbin 2019, figure 2: Conv-2 has 4.3 million weights and Conv-4 2.4 million on CIFAR-10.
        ("conv2", CIFAR, (4_300_992, 650)),
        ("conv4", CIFAR, (2_425_024, 906)),
        # McMahan et al. 2017, section 3: 199,210 parameters in all.
        ("mlp", MNIST, (198_800, 410)),
        # The usual CIFAR form has 11,173,962; group norm has as many scales and shifts as batch norm.
        ("resnet18", CIFAR, (11_164_352, 9_610)),
    ],
)
def test_numbers_of_parameters(name: str, shape: tuple[int, int, int], expected: tuple[int, int]):
    assert count(NETWORKS[name](shape, 10)) == expected


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_shapes(name: str, shape: tuple[int, int, int]):
    model = NETWORKS[name](shape, 7)
    images = torch.randn(3, *shape)
    assert list(model.named_modules())[-1] == ("classifier", model.classifier)
    assert isinstance(model.classifier, nn.Linear)
    assert model(images).shape == (3, 7)
    assert model.embed(images).shape == (model.classifier.in_features,)


@pytest.mark.parametrize("name", ["lenet", "conv2", "conv4", "mlp"])
def test_the_embedding_is_the_mean_of_what_the_last_activation_is_given(name: str):
    model = NETWORKS[name](MNIST, 10)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    outputs: list[Tensor] = []
    linear[-2].register_forward_hook(lambda _, __, output: outputs.append(output))
    images = torch.randn(4, *MNIST)
    embedding = model.embed(images)
    torch.testing.assert_close(embedding, outputs[0].mean(0))
    assert (embedding < 0).any()
    activation = relu if name == "mlp" else elu
    torch.testing.assert_close(model(images), model.classifier(activation(outputs[0])))


def test_the_embedding_of_resnet18_is_the_pooled_sum_of_the_last_block():
    model = ResNet18(DIGITS, 10)
    sums: list[Tensor] = []
    model.hidden[-1].register_forward_hook(lambda _, __, output: sums.append(output))
    images = torch.randn(4, *DIGITS)
    embedding = model.embed(images)
    torch.testing.assert_close(embedding, sums[0].flatten(2).mean(2).mean(0))
    assert (embedding < 0).any()
    torch.testing.assert_close(model(images), model.classifier(relu(sums[0]).flatten(2).mean(2)))


@pytest.mark.parametrize(("name", "least"), [("lenet", 12), ("conv2", 2), ("conv4", 4)])
def test_an_image_too_small_for_the_layers_is_an_error(name: str, least: int):
    with pytest.raises(ValueError, match=f"^its images need sides of {least} pixels or more, got 40 x {least - 1}$"):
        NETWORKS[name]((1, 40, least - 1), 10)
    model = NETWORKS[name]((1, 40, least), 10)
    assert model(torch.randn(2, 1, 40, least)).shape == (2, 10)


def same(ours: nn.Module, theirs: nn.Module, shape: tuple[int, int, int]) -> None:
    """Copy the parameters, in their order, and compare the outputs."""
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            nn.init.normal_(mine, std=0.2)
            other.copy_(mine)
    images = torch.randn(2, *shape)
    torch.testing.assert_close(ours(images), theirs(images))


# fmt: off
TWINS: dict[str, tuple[tuple[int, int, int], Callable[[], nn.Module]]] = {
    "lenet": (MNIST, lambda: nn.Sequential(
        nn.ZeroPad2d(2), nn.Conv2d(1, 6, 5), nn.ELU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ELU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ELU(), nn.Linear(120, 84), nn.ELU(), nn.Linear(84, 10))),
    "conv2": (DIGITS, lambda: nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ELU(), nn.Conv2d(64, 64, 3, padding=1), nn.ELU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 256), nn.ELU(), nn.Linear(256, 256), nn.ELU(), nn.Linear(256, 10))),
    "conv4": (DIGITS, lambda: nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ELU(), nn.Conv2d(64, 64, 3, padding=1), nn.ELU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1), nn.ELU(), nn.Conv2d(128, 128, 3, padding=1), nn.ELU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 256), nn.ELU(), nn.Linear(256, 256), nn.ELU(), nn.Linear(256, 10))),
    "mlp": (DIGITS, lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))),
}
# fmt: on


@pytest.mark.parametrize("name", TWINS)
def test_a_network_written_out_by_hand_gives_the_same(name: str):
    shape, twin = TWINS[name]
    same(NETWORKS[name](shape, 10), twin(), shape)


def test_the_width_of_the_perceptron_can_be_chosen():
    assert count(MLP(DIGITS, 10, hidden_dim=32)) == (64 * 32 + 32 * 32 + 320, 32 + 32 + 10)


class TextbookBlock(nn.Module):
    """A block as the paper draws it, the ReLU last."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(32, outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(32, outgoing)
        if stride != 1:
            self.project = nn.Conv2d(incoming, outgoing, 1, stride, bias=False)
            self.norm3 = nn.GroupNorm(32, outgoing)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(y + (x if self.stride == 1 else self.norm3(self.project(x))))


def test_resnet18_is_the_paper_s_with_the_relu_of_a_block_moved_to_the_next():
    blocks = [TextbookBlock(*sizes) for sizes in [
        (64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2),
        (512, 512, 1)]]  # fmt: skip
    twin = nn.Sequential(
        nn.Conv2d(1, 64, 3, 1, 1, bias=False), nn.GroupNorm(32, 64), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
    same(ResNet18((1, 16, 16), 10), twin, (1, 16, 16))


def test_resnet18_computes_each_image_by_itself():
    model = ResNet18(DIGITS, 10).train()
    images = torch.randn(3, *DIGITS)
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-4)
    assert not list(model.buffers())

"""The perceptron "2NN" of McMahan et al. ("Communication-Efficient Learning of Deep Networks ...", AISTATS 2017)."""

from math import prod

from torch import Tensor, nn
from torch.nn.functional import relu

from fedsieve.models.layered import Layered


class MLP(Layered):
    """Two hidden layers with ReLU and a linear classifier (McMahan et al. 2017, section 3).

    Args:
        input_shape: (channels, height, width); 1 x 28 x 28 with 10 classes gives the paper's 199,210 parameters.
        num_classes: C.
        hidden_dim: width of both hidden layers; the paper's is 200.
    """

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, hidden_dim: int = 200) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(prod(input_shape), hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim)
        )
        self.classifier = nn.Linear(hidden_dim, num_classes)

    def activation(self, hidden: Tensor) -> Tensor:
        """Return what goes into the classifier, N x hidden_dim."""
        return relu(hidden)

"""A task small enough to work out by hand."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fedsieve.contract import Evaluation


class Toy:
    """Loss c·(W x + b) of a linear model with one output: the gradient is c·x for W and c for b, wherever W is.

    x = (1, 2) and one batch an epoch with c = 1, so dL/dW = (1, 2) and dL/db = 1.
    """

    def __init__(self, num_examples: int = 3, batches: int = 1) -> None:
        self._num_examples, self._batches = num_examples, batches
        self.seen: list[Tensor] = []

    @property
    def num_examples(self) -> int:
        return self._num_examples

    @property
    def num_batches(self) -> int:
        return self._batches

    def batches(self) -> Iterator[Tensor]:
        for _ in range(self._batches):
            yield torch.tensor([1.0, 2.0])

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        assert model.training
        return model(batch).sum()

    def evaluate(self, model: nn.Module) -> Evaluation:
        """Number the calls by their accuracies."""
        model.eval()
        self.seen.append(model.weight.detach().clone())
        return Evaluation(len(self.seen) / 10, 5, len(self.seen) / 20, 6, 0.5)

    def functional_embedding(self, model: nn.Module) -> Tensor:
        model.eval()
        return model.weight.detach().flatten().clone()


def linear(w: list[float], b: float) -> nn.Linear:
    model = nn.Linear(2, 1)
    model.weight.data, model.bias.data = torch.tensor([w]), torch.tensor([b])
    return model


def arrays(w: list[float], b: float) -> dict[str, Tensor]:
    return {"weight": torch.tensor([w]), "bias": torch.tensor([b])}

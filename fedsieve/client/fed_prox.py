"""Client half of FedProx."""

from pydantic import Field
from torch import nn

from fedsieve.algorithm import AlgorithmConfig, Task, Tensors, TrainResult
from fedsieve.client.training import (
    filed,
    fit,
    load,
    make_optimizer,
    metrics,
    optimizer_state,
    prefixed,
    squared_distance,
    values,
)
from fedsieve.config import RunConfig
from fedsieve.masks.attach import weights


class FedProxConfig(AlgorithmConfig):
    """Keys `fed-prox.*`."""

    mu: float = Field(0.01, ge=0.0, description="weight of the proximal term; the paper tries 0.001, 0.01, 0.1 and 1")


class FedProxTrainer:
    """FedAvg with the term μ/2·‖w - w_t‖² in the local loss (Li et al., MLSys 2020, arXiv 1812.06127, eq. 2)."""

    def __init__(self, run: RunConfig, config: FedProxConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        self.weights = weights(model)

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from the weights received, held near them."""
        load(self.weights, received)
        as_received = task.evaluate(self.model)
        anchor = {name: parameter.detach().clone() for name, parameter in self.weights.items()}
        optimizer = make_optimizer(self.run, self.weights, state)
        loss = fit(
            self.model,
            optimizer,
            task,
            self.run.local_epochs,
            penalty=lambda: self.config.mu / 2 * squared_distance(self.weights, anchor),
        )
        local = task.evaluate(self.model)
        upload = values(self.weights)
        return TrainResult(
            arrays=upload,
            metrics=metrics(task, as_received, local, loss),
            state=prefixed("weights", upload) | optimizer_state(optimizer, self.weights),
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return the model after its last local training."""
        return filed("weights", state)

"""Client half of local-only training."""

from torch import nn

from fedsieve.client.training import (
    add_prefix,
    fit,
    load,
    make_optimizer,
    metrics,
    optimizer_state,
    take_prefix,
    values,
)
from fedsieve.contract import Task, Tensors, Training, TrainResult
from fedsieve.masks.attach import weights
from fedsieve.protocols.local import LocalConfig


class LocalTrainer:
    """Each client trains alone, with as many sampled steps as under any other algorithm; nothing is sent either way."""

    def __init__(self, run: Training, config: LocalConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        self.weights = weights(model)
        self.initial = {name: parameter.detach().clone() for name, parameter in self.weights.items()}

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from the client's own last weights; from the run's initial ones at first."""
        tensors = take_prefix("weights", state) or {name: tensor.clone() for name, tensor in self.initial.items()}
        load(self.weights, tensors)
        before = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, self.weights, state)
        loss = fit(self.model, optimizer, task, self.run.local_epochs)
        local = task.evaluate(self.model)
        return TrainResult(
            arrays={},
            metrics=metrics(task, before, local, loss),
            state=add_prefix("weights", values(self.weights)) | optimizer_state(optimizer, self.weights),
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return the client's weights."""
        return take_prefix("weights", state)

"""Client half of FedAvg."""

from collections.abc import Callable

from torch import Tensor, nn

from fedsieve.algorithms import AlgorithmConfig
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


class FedAvgTrainer:
    """Train the global model on local data and send all of it back (McMahan et al., AISTATS 2017, algorithm 1).

    The optimiser's state stays on the client from round to round, as in the code published with FED-PUB, whose tables
    this baseline is compared with; McMahan's SGD has none.
    """

    def __init__(self, run: Training, config: AlgorithmConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        self.weights = weights(model)

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from the weights received."""
        load(self.weights, received)
        as_received = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, self.weights, state)
        loss = fit(self.model, optimizer, task, self.run.local_epochs, self.penalty())
        local = task.evaluate(self.model)
        upload = values(self.weights)
        return TrainResult(
            arrays=upload,
            metrics=metrics(task, as_received, local, loss),
            state=add_prefix("weights", upload) | optimizer_state(optimizer, self.weights),
        )

    def penalty(self) -> Callable[[], Tensor] | None:
        """Return the term added to the local loss, the global model being the one just loaded: none."""
        return None

    def personal_model(self, state: Tensors) -> Tensors:
        """Return the model after its last local training."""
        return take_prefix("weights", state)

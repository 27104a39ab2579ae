"""Client half of my-algorithm: its keys, and what a client does in a round."""

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
from pydantic import Field
from torch import nn


class MyAlgorithmConfig(AlgorithmConfig):
    """Keys `my-algorithm.*`; each needs a default, and is checked before a run starts."""

    # A user writes -s my-algorithm.step=0.5, and of a field `of_two_words` the key as of-two-words.
    step: float = Field(1.0, gt=0.0, le=1.0, description="how far the server goes to the clients' mean; 1: all the way")


class MyAlgorithmTrainer:
    """Train the model that was sent, and send it back.

    It is made once per process and serves all of its clients: what a client remembers goes into the state that `train`
    returns, and nothing of it stays here.
    """

    def __init__(self, run: Training, config: MyAlgorithmConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        self.weights = weights(model)  # parameters by name

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from the weights received."""
        load(self.weights, received)
        as_received = task.evaluate(self.model)
        # What this client remembered after its last round; state is empty in its first.
        optimizer = make_optimizer(self.run, self.weights, state)
        # A term of your own in the loss: fit(..., penalty=lambda: ...). Something after each step: after_step=...
        loss = fit(self.model, optimizer, task, self.run.local_epochs)
        local = task.evaluate(self.model)
        trained = values(self.weights)
        return TrainResult(
            # To the server: tensors by the names that `expected` in server.py lists.
            arrays=trained,
            # To the server's records. Figures of your own may be added; these all algorithms report.
            metrics=metrics(task, as_received, local, loss),
            # Stays on the client, in memory or on its disk: tensors only.
            state=add_prefix("weights", trained) | optimizer_state(optimizer, self.weights),
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return the client's own model, which the run's folder keeps: here, that of its last training."""
        return take_prefix("weights", state)

"""Client half of Ditto (Li et al., "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021)."""

from fedsieve.algorithms import AlgorithmConfig
from fedsieve.client.training import (
    add_prefix,
    fit,
    load,
    make_optimizer,
    metrics,
    optimizer_state,
    squared_distance,
    take_prefix,
    values,
)
from fedsieve.contract import Task, Tensors, Training, TrainResult
from fedsieve.masks.attach import weights
from pydantic import Field
from torch import nn


class DittoConfig(AlgorithmConfig):
    """Keys `ditto.*`."""

    lam: float = Field(0.1, ge=0.0, description="λ: how strongly v_k is held near w; 0: v_k is trained alone")


class DittoTrainer:
    """Train w_k from w for the server, and the client's own v_k, which stays on the client (algorithm 1).

    v_k ← v_k - η (∇F_k(v_k) + λ (v_k - w)), which is a step on F_k(v_k) + λ/2 ‖v_k - w‖² with SGD; the run's optimiser
    takes it. v_k begins with the run's initial weights, and both trainings take `local-epochs` epochs.
    """

    def __init__(self, run: Training, config: DittoConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        self.weights = weights(model)
        self.initial = {name: tensor.clone() for name, tensor in values(self.weights).items()}

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train w_k as FedAvg does, then v_k; the client's accuracy is that of v_k."""
        w = {name: tensor.clone() for name, tensor in received.items()}
        load(self.weights, received)
        as_received = task.evaluate(self.model)
        of_w = make_optimizer(self.run, self.weights, take_prefix("of-w", state))
        fit(self.model, of_w, task, self.run.local_epochs)
        w_k, kept_of_w = values(self.weights), optimizer_state(of_w, self.weights)

        load(self.weights, take_prefix("v", state) or {name: tensor.clone() for name, tensor in self.initial.items()})
        of_v = make_optimizer(self.run, self.weights, take_prefix("of-v", state))
        lam = self.config.lam
        loss = fit(self.model, of_v, task, self.run.local_epochs, lambda: lam / 2 * squared_distance(self.weights, w))
        local = task.evaluate(self.model)
        return TrainResult(
            arrays=w_k,
            metrics=metrics(task, as_received, local, loss),
            state=add_prefix("v", values(self.weights))
            | add_prefix("of-v", optimizer_state(of_v, self.weights))
            | add_prefix("of-w", kept_of_w),
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return v_k."""
        return take_prefix("v", state)

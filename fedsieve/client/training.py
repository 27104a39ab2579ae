"""What every trainer does in the same way: load weights, keep the optimiser, run epochs, report."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedsieve.contract import Evaluation, Task, Tensors, Training


def load(parameters: Mapping[str, nn.Parameter], values: Tensors) -> None:
    """Point the parameters at `values`, without a copy where the device is the same."""
    for name, parameter in parameters.items():
        parameter.data = values[name].to(parameter.device)


def values(parameters: Mapping[str, nn.Parameter]) -> Tensors:
    """Return the parameters' present values, without a copy."""
    return {name: parameter.data for name, parameter in parameters.items()}


def add_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """Return `tensors` filed under `prefix/`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def take_prefix(prefix: str, state: Tensors) -> Tensors:
    """Return the tensors that `add_prefix` filed under `prefix/`."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}


def make_optimizer(run: Training, parameters: Mapping[str, nn.Parameter], state: Tensors) -> torch.optim.Optimizer:
    """Return the run's optimiser over `parameters`, continuing from the `state` that `optimizer_state` returned."""
    values_ = list(parameters.values())
    optimizer: torch.optim.Optimizer
    if run.optimizer == "adam":
        optimizer = torch.optim.Adam(values_, lr=run.lr, weight_decay=run.weight_decay, fused=True)
    else:
        optimizer = torch.optim.SGD(
            values_, lr=run.lr, momentum=run.momentum, weight_decay=run.weight_decay, fused=True
        )
    for slot_and_name, tensor in take_prefix("optimizer", state).items():
        slot, name = slot_and_name.split("/", 1)
        optimizer.state[parameters[name]][slot] = tensor.to(parameters[name].device)
    return optimizer


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> Tensors:
    """Return the optimiser's tensors, filed for a client's state, without a copy."""
    return {
        f"optimizer/{slot}/{name}": tensor
        for name, parameter in parameters.items()
        for slot, tensor in optimizer.state[parameter].items()
        if isinstance(tensor, Tensor)
    }


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    epochs: int,
    penalty: Callable[[], Tensor] | None = None,
    after_step: Callable[[], None] | None = None,
) -> float:
    """Train `model` and return the mean loss over all steps, without the penalty; 0 where there is nothing to train on.

    Args:
        penalty: a term to add to each step's loss.
        after_step: called, without gradients, after each step of the optimiser.
    """
    losses: list[Tensor] = []
    if task.num_examples > 0:
        model.train()
        for _ in range(epochs):
            for batch in task.batches():
                optimizer.zero_grad()
                loss = task.loss(model, batch)
                losses.append(loss.detach())
                (loss if penalty is None else loss + penalty()).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if after_step is not None:
                    with torch.no_grad():
                        after_step()
        optimizer.zero_grad()
    return float(torch.stack(losses).mean()) if losses else 0.0


def squared_distance(parameters: Mapping[str, nn.Parameter], anchor: Tensors) -> Tensor:
    """Return Σ ‖θ - anchor‖² over all parameters, a scalar with a gradient."""
    return torch.stack([(parameter - anchor[name]).pow(2).sum() for name, parameter in parameters.items()]).sum()


def metrics(task: Task, received: Evaluation, local: Evaluation, train_loss: float) -> dict[str, float]:
    """Return the metrics that every algorithm reports: the model as it was sent, and after local training."""
    return {
        "num-examples": task.num_examples,
        "train-loss": train_loss,
        "val-count": local.val_count,
        "test-count": local.test_count,
        "received-val-accuracy": received.val_accuracy,
        "received-test-accuracy": received.test_accuracy,
        "val-accuracy": local.val_accuracy,
        "test-accuracy": local.test_accuracy,
        "test-macro-f1": local.test_macro_f1,
    }

"""Client half of FedPM (Isik et al., ICLR 2023, arXiv 2209.15328).

The paper: "Sparse Random Networks for Communication-Efficient Federated Learning".
"""

from torch import Tensor, nn

from fedsieve.client.mask_result import mask_result
from fedsieve.client.training import fit, load, make_optimizer, metrics, values
from fedsieve.contract import Task, Tensors, Training, TrainResult
from fedsieve.masks.attach import attach_masks, weights
from fedsieve.masks.binary import BernoulliMask, flatten, fold, unflatten, unpack
from fedsieve.masks.families import Binary
from fedsieve.masks.frozen import freeze_
from fedsieve.masks.groups import groups_of
from fedsieve.protocols.fed_pm import FedPMConfig


class FedPMTrainer:
    """Learn how likely each of the frozen weights w is to be kept: θ = sigmoid(s); send one mask drawn from θ.

    Algorithm 1: s begins at the logit of the θ received, each forward pass in training draws m ~ Bern(θ), and the
    gradient goes straight through the draw. The mask sent is drawn once after training. The model as received is that
    of one mask drawn from the θ received, as the paper draws its final network. Ours: the client's own model is that of
    the very mask that it sends; biases stay 0, where the authors' code masks random ones; the optimiser starts again
    each round. What stays on the client is its last mask, one bit a weight.
    """

    def __init__(self, run: Training, config: FedPMConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        freeze_(model, config.init, run.seed, config.frozen_gain)
        self.groups = groups_of(model)
        attached = attach_masks(model, BernoulliMask)
        self.masks = {name: mask for name, mask in attached.items() if isinstance(mask, BernoulliMask)}
        self.scores = {name: mask.scores for name, mask in self.masks.items()}
        self.weights = weights(model)

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from the scores of the θ received."""
        theta = received["theta"]
        load(self.scores, unflatten(theta.logit(), self.scores))
        self._draw()
        as_received = task.evaluate(self.model)
        optimizer = make_optimizer(self.run, self.scores, {})
        loss = fit(self.model, optimizer, task, self.run.local_epochs)
        mask = self._draw().float()
        local = task.evaluate(self.model)
        return mask_result(mask, theta, self.groups, Binary(), metrics(task, as_received, local, loss))

    def personal_model(self, state: Tensors) -> Tensors:
        """Return w ⊙ the mask that the client sent last."""
        return fold(values(self.weights), unpack(state["mask"], len(self.groups)))

    def _draw(self) -> Tensor:
        """Draw the mask of eval mode from the present scores and return it as one vector."""
        for mask in self.masks.values():
            mask.draw()
        return flatten({name: mask.bits for name, mask in self.masks.items()})

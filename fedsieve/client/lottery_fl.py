"""Client half of LotteryFL (Li et al. 2020, arXiv 2008.03371).

The paper: "LotteryFL: Personalized and Communication-Efficient Federated Learning with Lottery Ticket Hypothesis on
Non-IID Datasets".
"""

import torch
from torch import Tensor, nn

from fedsieve.client.training import add_prefix, fit, load, make_optimizer, metrics, take_prefix, values
from fedsieve.contract import Task, Tensors, Training, TrainResult
from fedsieve.masks.attach import attach_masks, weights
from fedsieve.masks.binary import FixedMask, flatten, mask_weight, pack, unflatten, unpack
from fedsieve.protocols.lottery_fl import LotteryFLConfig


class LotteryFLTrainer:
    """Train the weights of the client's own ticket m_k, and prune it further once it does well.

    Algorithm 1: if θ ⊙ m_k, as received, reaches the accuracy and m_k is not yet at the target, the smallest weights
    leave the ticket and the rest starts from the run's initial weights θ_0; then the ticket is trained. As in the
    authors' code every layer is pruned by the same share, biases are not, and rewinding takes both back; the optimiser
    starts again each round. Ours: the last step stops at the target, where their code may pass it; each layer keeps a
    weight; a client without training examples does not prune. The ticket and the model stay on the client.
    """

    def __init__(self, run: Training, config: LotteryFLConfig, model: nn.Module) -> None:
        self.run, self.config, self.model = run, config, model
        attached = attach_masks(model, FixedMask)
        self.masks = {name: mask for name, mask in attached.items() if isinstance(mask, FixedMask)}
        self.weights = weights(model)
        self.initial = {name: tensor.clone() for name, tensor in values(self.weights).items()}

    def train(self, task: Task, received: Tensors, state: Tensors) -> TrainResult:
        """Train `local-epochs` epochs from what was received or, if it is time to prune, from θ_0."""
        ticket = self._read_last_ticket(state)
        self._use(ticket, self._split_layers(ticket, received["values"]) | take_prefix("dense", received))
        as_received = task.evaluate(self.model)
        if task.num_examples > 0 and as_received.val_accuracy >= self.config.accuracy_threshold:
            pruned = self._prune(ticket)
            if not torch.equal(flatten(pruned), flatten(ticket)):
                ticket = pruned
                self._use(ticket, self.initial)
        optimizer = make_optimizer(self.run, self.weights, {})
        loss = fit(self.model, optimizer, task, self.run.local_epochs)
        local = task.evaluate(self.model)
        trained, bits = values(self.weights), flatten(ticket)
        dense = {name: tensor for name, tensor in trained.items() if name not in ticket}
        on_ticket = flatten({name: trained[name] for name in ticket})[bits]
        return TrainResult(
            arrays={"values": on_ticket, "ticket": pack(bits)} | add_prefix("dense", dense),
            metrics=metrics(task, as_received, local, loss) | {"mask-sparsity": 1 - int(bits.sum()) / len(bits)},
            state=add_prefix("weights", trained) | {"ticket": pack(bits)},
        )

    def personal_model(self, state: Tensors) -> Tensors:
        """Return the weights of the client's ticket after its last training, 0 elsewhere."""
        return take_prefix("weights", state)

    def _read_last_ticket(self, state: Tensors) -> Tensors:
        """Return the client's ticket, bool of each layer's shape; that of all weights at first."""
        everything = {name: torch.ones_like(mask.bits) for name, mask in self.masks.items()}
        if "ticket" not in state:
            return everything
        bits = flatten(everything)
        return unflatten(unpack(state["ticket"], len(bits)).to(bits.device), everything)

    def _split_layers(self, ticket: Tensors, sent: Tensor) -> Tensors:
        """Return each layer of what was sent: all weights, or those of the ticket."""
        bits = flatten(ticket)
        if len(sent) == len(bits):
            return unflatten(sent, ticket)
        if len(sent) == int(bits.sum()):
            return unflatten(sent.new_zeros(len(bits)).masked_scatter_(bits, sent), ticket)
        raise LookupError("this node has lost its ticket, and only that ticket's weights were sent")

    def _use(self, ticket: Tensors, start: Tensors) -> None:
        """Start from new tensors: `start` on the ticket, 0 elsewhere."""
        for name, mask in self.masks.items():
            mask.bits = ticket[name]
        on_ticket = {name: mask_weight(start[name], bits) for name, bits in ticket.items()}
        load(
            self.weights,
            {name: on_ticket[name] if name in on_ticket else tensor.clone() for name, tensor in start.items()},
        )

    def _prune(self, ticket: Tensors) -> Tensors:
        """Return the ticket without the smallest weights of each layer; of equal ones the first stay."""
        keep = {}
        for name, bits in ticket.items():
            size = round((1 - self.config.prune_step) * int(bits.sum()))
            size = max(size, round((1 - self.config.target) * bits.numel()), 1)
            magnitudes = torch.where(bits, self.weights[name].detach().abs(), -1.0).flatten()
            largest = magnitudes.argsort(descending=True, stable=True)[:size]
            keep[name] = bits & torch.zeros_like(bits).flatten().index_fill_(0, largest, True).view(bits.shape)
        return keep

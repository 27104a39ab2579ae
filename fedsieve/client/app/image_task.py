"""A client that holds images: classification in mini-batches."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedsieve.client.app.evaluation import ensure_eval, evaluation
from fedsieve.contract import Evaluation
from fedsieve.data.image_partitions import ClientImages
from fedsieve.data.image_sets import ImageSet, scale
from fedsieve.models.embedding import embed
from fedsieve.models.trial import ONE, Smallest

EVALUATED_AT_ONCE = 500
"""Images in a forward pass without gradients, to bound memory."""


def batch_sizes(count: int, size: int, smallest: int) -> list[int]:
    """Return the sizes of the batches into which `count` images are cut: `size`, and the last one what is left.

    A last one below `smallest` is added to the one before it.

    Raises:
        ValueError: all images together are fewer than that.
    """
    if 0 < count < smallest:
        raise ValueError(f"there is {count} image, and the network takes no fewer than {smallest}")
    sizes = [size] * (count // size)
    left = count % size
    if sizes and left < smallest:
        sizes[-1] += left
    elif left:
        sizes.append(left)
    return sizes


class ImageTask:
    """Implements `fedsieve.contract.Task` for one client's part of a set of images.

    Pixels stay bytes; a batch is scaled when it is drawn.

    Args:
        data: the whole set, shared by the clients of a process.
        part: the client's own images.
        proxy: random images on which functional embeddings are taken, the same for all clients.
        batch_size: images in a training step.
        device: where the model is.
        smallest: the fewest images that the network takes; a last batch of less goes with the one before, and a client
            that has less in all does not train.
    """

    def __init__(
        self,
        data: ImageSet,
        part: ClientImages,
        proxy: Tensor,
        batch_size: int,
        device: torch.device,
        smallest: Smallest = ONE,
    ) -> None:
        self.data, self.proxy, self.batch_size, self.device = data, proxy, batch_size, device
        self.smallest = smallest
        self.part = {name: torch.from_numpy(getattr(part, name)) for name in ("train", "val", "test")}
        self.too_few = 0 < len(self.part["train"]) < smallest.training

    @property
    def num_examples(self) -> int:
        """Number of training images."""
        return 0 if self.too_few else int(self.part["train"].numel())

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch, the last one maybe smaller."""
        return len(self._batch_sizes())

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training images in a random order: float32 B x C x H x W and labels B."""
        order = self.part["train"][torch.randperm(self.num_examples)]
        for chosen in torch.split(order, self._batch_sizes()):
            yield self._images(chosen), self.data.labels[chosen].to(self.device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean cross-entropy over the batch."""
        images, labels = batch
        return cross_entropy(model(images), labels)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Evaluation:
        """Return accuracies and the macro F1 over the client's validation and test images."""
        ensure_eval(model)
        val, test = self.part["val"], self.part["test"]
        held = torch.cat([val, test])
        if not len(held):
            return Evaluation(0.0, 0, 0.0, 0, 0.0)
        sizes = batch_sizes(len(held), EVALUATED_AT_ONCE, self.smallest.evaluation)
        logits = torch.cat([model(self._images(chosen)) for chosen in torch.split(held, sizes)])
        val_predicted, test_predicted = torch.split(logits.argmax(1).cpu(), [len(val), len(test)])
        labels = self.data.labels
        return evaluation(val_predicted, labels[val], test_predicted, labels[test], logits.shape[1])

    @torch.no_grad()
    def functional_embedding(self, model: nn.Module) -> Tensor:
        """Return the mean input of the last layer, before its activation, on the random images."""
        ensure_eval(model)
        return embed(model, self.proxy)

    def _batch_sizes(self) -> list[int]:
        return batch_sizes(self.num_examples, self.batch_size, self.smallest.training)

    def _images(self, chosen: Tensor) -> Tensor:
        return scale(self.data.images[chosen].to(self.device))

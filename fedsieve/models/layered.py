"""What the built-in networks for images have in common: layers up to the last hidden one, and a linear classifier."""

from torch import Tensor, nn
from torch.nn.functional import elu


class Layered(nn.Module):
    """A network of `hidden`, an activation (ELU, or what a network puts in its place) and `classifier`."""

    hidden: nn.Sequential
    classifier: nn.Linear

    def activation(self, hidden: Tensor) -> Tensor:
        """Return what goes into the classifier, N x H."""
        return elu(hidden)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, N x C."""
        logits: Tensor = self.classifier(self.activation(self.hidden(images)))
        return logits

    def embed(self, images: Tensor) -> Tensor:
        """Return the mean over the images of the last hidden layer before its activation: FED-PUB's embedding."""
        hidden: Tensor = self.hidden(images)
        return hidden.mean(0)

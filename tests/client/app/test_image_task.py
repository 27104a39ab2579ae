from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsieve.client.app.image_task import EVALUATED_AT_ONCE, ImageTask, batch_sizes
from fedsieve.client.training import fit
from fedsieve.contract import Shape
from fedsieve.data.image_partitions import ClientImages
from fedsieve.data.image_sets import ImageSet
from fedsieve.models import MODELS, build
from fedsieve.models.trial import Smallest
from tests.helpers import config

CPU = torch.device("cpu")


def images_of(shades: list[int], labels: list[int], num_classes: int = 2) -> ImageSet:
    """Return images 1 x 2 x 2, each of one shade."""
    pixels = torch.tensor(shades, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ImageSet(pixels, torch.tensor(labels), len(labels), num_classes)


def part(train: list[int], val: list[int], test: list[int]) -> ClientImages:
    return ClientImages(*(np.array(indices, dtype=np.int64) for indices in (train, val, test)))


def task(data: ImageSet, own: ClientImages, batch_size: int = 2) -> ImageTask:
    return ImageTask(data, own, torch.zeros(3, *data.images.shape[1:]), batch_size, CPU)


class Brightness(nn.Module):
    """Logits (-x, x) of the mean pixel x, of class 1 for bright images; counts its calls and keeps their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.sizes.append(len(images))
        x = self.scale * images.mean((1, 2, 3))
        return torch.stack([-x, x], 1)


SHADES = images_of([0, 10, 20, 30, 40, 50, 255], [0, 1, 0, 1, 0, 1, 1])


def drawn(own: ImageTask) -> list[tuple[list[float], list[int]]]:
    return [(images[:, 0, 0, 0].tolist(), labels.tolist()) for images, labels in own.batches()]


def test_batches_cover_each_training_image_once_with_its_label():
    own = task(SHADES, part([0, 1, 3, 5, 6], [2], [4]))
    assert own.num_examples == 5
    batches = list(own.batches())
    assert own.num_batches == len(batches)
    assert task(SHADES, part([], [2], [4])).num_batches == 0
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    assert {images.dtype for images, _ in batches} == {torch.float32}
    assert {images.shape[1:] for images, _ in batches} == {(1, 2, 2)}
    shades = torch.cat([images[:, 0, 1, 1] for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    found = sorted(zip(((shades + 1) * 127.5).round().int().tolist(), labels.tolist(), strict=True))
    assert found == [(0, 0), (10, 1), (30, 1), (50, 1), (255, 1)]


def test_a_last_batch_too_small_for_the_network_goes_with_the_one_before():
    sizes = {count: batch_sizes(count, 2, smallest=2) for count in (0, 2, 3, 4, 5)}
    assert sizes == {0: [], 2: [2], 3: [3], 4: [2, 2], 5: [2, 3]}
    assert batch_sizes(7, 3, smallest=1) == [3, 3, 1]
    with pytest.raises(ValueError, match=r"^there is 1 image, and the network takes no fewer than 2$"):
        batch_sizes(1, 20, smallest=2)


class TakesTwo(Brightness):
    def forward(self, images: Tensor) -> Tensor:
        assert len(images) > 1
        return super().forward(images)


def test_training_and_evaluation_keep_to_the_smallest_batch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fedsieve.client.app.image_task.EVALUATED_AT_ONCE", 2)
    own = ImageTask(SHADES, part([0, 1, 3, 5, 6], [2], [4, 5]), torch.zeros(3, 1, 2, 2), 2, CPU, Smallest(2, 2))
    assert [len(labels) for _, labels in own.batches()] == [2, 3]
    assert own.num_batches == 2
    model = TakesTwo().eval()
    own.evaluate(model)
    assert model.sizes == [3]


def test_pixels_are_scaled_to_minus_1_to_1_and_the_set_stays_as_it_is():
    own = task(images_of([0, 255, 51], [0, 1, 0]), part([0, 1, 2], [], []), batch_size=9)
    ((images, labels),) = own.batches()
    by_shade = sorted(images.flatten(1)[:, 0].tolist())
    assert by_shade == pytest.approx([-1, -0.6, 1])
    assert own.data.images.flatten(1)[:, 0].tolist() == [0, 255, 51]
    assert labels.tolist() != []


def test_the_order_is_random_and_comes_from_torchs_generator():
    own = task(SHADES, part([0, 1, 3, 5, 6], [], []))
    torch.manual_seed(1)
    first, second = drawn(own), drawn(own)
    torch.manual_seed(1)
    assert [drawn(own), drawn(own)] == [first, second]
    assert first != second
    assert drawn(own) != sorted(drawn(own))
    starts = {drawn(own)[0][0][0] for _ in range(60)}
    assert len(starts) == 5


def test_the_loss_is_the_mean_cross_entropy_of_the_batch():
    own = task(SHADES, part([0, 6], [], []))
    model = Brightness().eval()
    # x = -1 with label 0 and x = 1 with label 0: -ln softmax of logits (1, -1) and (-1, 1)
    right, wrong = log(1 + exp(-2)), log(1 + exp(2))
    batch = torch.stack([-torch.ones(1, 2, 2), torch.ones(1, 2, 2)]), torch.tensor([0, 0])
    loss = own.loss(model, batch)
    assert loss.item() == pytest.approx((right + wrong) / 2)
    loss.backward()
    # d/ds of ln(1 + exp(-2s)) and ln(1 + exp(2s)) at 1
    assert model.scale.grad is not None
    assert model.scale.grad.item() == pytest.approx((-2 / (1 + exp(2)) + 2 / (1 + exp(-2))) / 2)


def test_accuracies_are_over_the_images_of_each_part():
    data = images_of([0, 255, 0, 255, 0, 255, 255], [0, 1, 0, 0, 1, 1, 1])
    # predicted 0 1 | 0 1 | 0 1 1 where 0 1 | 0 0 | 1 1 1 is right
    found = task(data, part([0, 1], [2, 3], [4, 5, 6])).evaluate(Brightness())
    assert (found.val_accuracy, found.val_count, found.test_count) == (0.5, 2, 3)
    assert found.test_accuracy == pytest.approx(2 / 3)
    # F1 of class 1 is 2·2 / (3 + 2), of class 0 (predicted once) 0
    assert found.test_macro_f1 == pytest.approx(0.4)


def test_evaluation_is_in_bounded_chunks_without_gradients_and_in_eval_mode():
    n = EVALUATED_AT_ONCE + 7
    data = images_of([0] * 3 + [255] * n, [0] * 3 + [1] * (n - 100) + [0] * 100)
    model = Brightness().train()
    found = task(data, part([0], [0, 1, 2], list(range(3, n + 3)))).evaluate(model)
    assert model.sizes == [EVALUATED_AT_ONCE, 10]
    assert (found.val_accuracy, found.val_count) == (1.0, 3)
    assert (found.test_accuracy, found.test_count) == (pytest.approx((n - 100) / n), n)
    assert not model.training


@pytest.mark.parametrize(("val", "test"), [([], [1]), ([1], []), ([], [])])
def test_a_part_without_images_counts_none(val: list[int], test: list[int]):
    found = task(images_of([0, 255], [0, 1]), part([0], val, test)).evaluate(Brightness())
    assert (found.val_accuracy, found.val_count) == (float(len(val)), len(val))
    assert (found.test_accuracy, found.test_count) == (float(len(test)), len(test))
    assert found.test_macro_f1 == len(test)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.kind == "images"])
def test_every_network_evaluates_a_client_that_has_nothing_to_be_tested_on(name: str):
    data = ImageSet(torch.zeros(1, 1, 16, 16, dtype=torch.uint8), torch.tensor([0]), 1, 3)
    own = task(data, part([0], [], []))
    model = build(config(dataset="digits", model=name), Shape((1, 16, 16), 3))
    found = own.evaluate(model)
    assert (found.val_count, found.test_count, found.test_accuracy) == (0, 0, 0.0)
    embedding = own.functional_embedding(model.train())
    assert embedding.shape == (model.classifier.in_features,)
    assert not embedding.requires_grad
    assert not model.training


def test_embeddings_are_of_the_proxy_and_not_of_the_clients_images():
    model = build(config(dataset="digits", model="mlp"), Shape((1, 2, 2), 2))
    one, other = task(SHADES, part([0], [1], [2])), task(SHADES, part([6], [5], [4]))
    assert torch.equal(one.functional_embedding(model), other.functional_embedding(model))
    other.proxy = torch.ones(3, 1, 2, 2)
    assert not torch.equal(one.functional_embedding(model), other.functional_embedding(model))


def test_a_network_learns_what_bright_is():
    data = images_of([20, 220, 30, 200, 40, 240, 0, 255], [0, 1, 0, 1, 0, 1, 0, 1])
    own = task(data, part([0, 1, 2, 3, 4, 5], [], [6, 7]), batch_size=4)
    model = build(config(dataset="digits", model="mlp"), Shape((1, 2, 2), 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, after = fit(model, optimizer, own, 1), fit(model, optimizer, own, 30)
    assert after < 0.5 * before
    assert own.evaluate(model).test_accuracy == 1


def test_without_training_images_nothing_is_trained():
    own = task(SHADES, part([], [0], [1]))
    model = nn.Linear(4, 2)
    before = model.weight.clone()
    assert own.num_examples == 0
    assert fit(model, torch.optim.SGD(model.parameters(), lr=1.0), own, 3) == 0
    assert torch.equal(model.weight, before)


def test_a_client_without_images_to_evaluate_on_does_not_ask_the_network():
    class Refuses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("an empty batch")

    found = task(images_of([0, 255], [0, 1]), part([0, 1], [], [])).evaluate(Refuses())
    assert (found.val_count, found.test_count, found.val_accuracy, found.test_macro_f1) == (0, 0, 0.0, 0.0)

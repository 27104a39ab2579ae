import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fedsieve.client.app.evaluation import accuracy, evaluation, macro_f1

CLASSES = st.integers(0, 4)


@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=30))
def test_macro_f1_is_scikit_learns(pairs: list[tuple[int, int]]):
    labels, predicted = (torch.tensor(column) for column in zip(*pairs, strict=True))
    theirs = f1_score(labels, predicted, average="macro")
    assert macro_f1(predicted, labels, 5) == pytest.approx(theirs, abs=1e-6)


def test_nothing_to_count_is_zero():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert accuracy(nothing, nothing) == 0.0
    assert macro_f1(nothing, nothing, 3) == 0.0


def test_validation_and_test_are_kept_apart():
    found = evaluation(torch.tensor([1, 1]), torch.tensor([1, 0]), torch.tensor([2]), torch.tensor([2]), 3)
    assert (found.val_accuracy, found.val_count) == (0.5, 2)
    assert (found.test_accuracy, found.test_count, found.test_macro_f1) == (1.0, 1, 1.0)

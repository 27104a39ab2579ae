import logging
from typing import Any

import numpy as np
import pytest

from fedsieve.data.labels import number_labels
from fedsieve.errors import UserError


def number(y: Any, part: bool = False, **about: Any) -> tuple[list[int], int | None, tuple[str, ...]]:
    given = {"y": np.asarray(y)} | {key: np.asarray(value) for key, value in about.items()}
    labels = number_labels("g", given, part=part)
    return labels.y.tolist(), labels.num_classes, labels.names


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([1, 2, 1, 3], ([0, 1, 0, 2], 3, ("1", "2", "3"))),
        ([0, 5, -1, 5], ([0, 1, -1, 1], 2, ("0", "5"))),
        ([10115.0, 20095.0], ([0, 1], 2, ("10115", "20095"))),
        (["dog", "cat", "", "dog"], ([1, 0, -1, 1], 2, ("cat", "dog"))),
        ([b"b", b"a"], ([1, 0], 2, ("a", "b"))),
        ([[0, 0, 1], [1, 0, 0]], ([2, 0], 3, ())),
        ([0, 1, -1], ([0, 1, -1], None, ())),
    ],
)
def test_labels_are_numbered_from_0_and_their_own_values_are_the_classes_names(y: Any, expected: Any):
    assert number(y) == expected


def test_the_mapping_is_shown(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "fedsieve")
    number([3, 1, 3])
    assert caplog.messages == ["g: its labels are the classes 0 to 1 in this order: 1, 3"]


def test_the_labels_of_a_part_are_not_moved_because_others_may_have_what_it_lacks():
    assert number([2, 4], part=True) == ([2, 4], None, ())
    assert number(["b", "a"], part=True) == ([1, 0], 2, ("a", "b"))


def test_a_file_may_say_which_classes_there_are():
    assert number([2, 0], num_classes=5) == ([2, 0], 5, ())
    assert number([2, 0], class_names=["a", "b", "c"]) == ([2, 0], 3, ("a", "b", "c"))
    assert number(["c", "a"], class_names=["c", "b", "a"]) == ([0, 2], 3, ("c", "b", "a"))


@pytest.mark.parametrize(
    ("y", "about", "sentence"),
    [
        ([0, 3], {"class_names": ["a", "b"]}, "g: y has labels from 0 to 3; allowed are 0 to 1, as its class_names"),
        (["x", "a"], {"class_names": ["a", "b"]}, "g: y has the label 'x'; allowed are those of class_names: a, b"),
        ([0, 1], {"class_names": ["a", "a"]}, "g: class_names is <U1 of shape .*it must be different words"),
        ([0, 1], {"num_classes": [1, 2]}, "g: num_classes is .*; it must be a whole number, 0 to 100000"),
        ([0, 1], {"num_classes": 1, "class_names": ["a", "b"]}, "g: num_classes is .*, 2 to 100000"),
    ],
)
def test_what_contradicts_what_the_file_says_is_refused(y: Any, about: dict[str, Any], sentence: str):
    with pytest.raises(UserError, match=sentence):
        number(y, **about)

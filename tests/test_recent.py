import operator

from fedsieve.recent import Recent


def test_of_the_last_two_things_each_is_made_once():
    made: list[list[int]] = []
    recent = Recent(lambda given: made.append(given) or len(made))
    first, second, third = [1], [2], [3]
    assert [recent(one) for one in (first, second, first, second)] == [1, 2, 1, 2]
    assert [recent(one) for one in (third, second, first)] == [3, 2, 4]
    assert made == [first, second, third, first]


def test_equal_things_are_two_unless_equality_counts():
    made: list[list[int]] = []
    by_object = Recent(lambda given: made.append(given) or len(made))
    assert [by_object([1]), by_object([1])] == [1, 2]
    by_value = Recent(lambda given: made.append(given) or len(made), operator.eq)
    assert [by_value([1]), by_value([1])] == [3, 3]

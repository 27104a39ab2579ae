from fedsieve.simulations.trainings import Trainings
from tests.runs.test_history import a_round, answered


def test_what_is_let_go_is_the_state_before_a_usable_reply_and_that_after_any_other():
    trainings = Trainings()
    trainings.note(0, 1, 3)
    trainings.note(1, 2, 3)
    assert trainings.let_go(a_round(3, answered(0, 0, 0), rejected={1: "array w holds NaN"})) == [(0, 1), (1, 3)]


def test_a_round_is_settled_once():
    trainings, round_ = Trainings(), a_round(1, answered(0, 0, 0))
    trainings.note(0, 0, 1)
    assert (trainings.let_go(round_), trainings.let_go(round_)) == ([(0, 0)], [])


def test_a_client_that_trained_twice_in_a_round_is_settled_twice():
    trainings = Trainings()
    trainings.note(0, 1, 2)
    trainings.note(0, 1, 2)
    assert trainings.let_go(a_round(2, rejected={0: "no reply in time"})) == [(0, 2), (0, 2)]

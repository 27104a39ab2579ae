import pytest
import torch

from fedsieve.seeds import derive, random_state, torch_stream


def draw_and_raise() -> None:
    torch.rand(3)
    raise ZeroDivisionError


def test_the_global_generator_is_put_back_even_after_an_error():
    before = torch.get_rng_state()
    with torch_stream(1, "training"):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ZeroDivisionError), torch_stream(1, "training"):
        draw_and_raise()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stream_does_not_depend_on_what_was_drawn_before():
    def drawn() -> list[float]:
        with torch_stream(1, "training", 2, 3):
            return torch.rand(4).tolist()

    first = drawn()
    torch.manual_seed(5)
    assert drawn() == first


def test_streams_differ_by_seed_purpose_client_and_round():
    keys = [
        (1, "a", 0, 0),
        (2, "a", 0, 0),
        (1, "b", 0, 0),
        (1, "a", 1, 0),
        (1, "a", 0, 1),
        (1, "a", 2, 1),
        (1, "a", 1, 2),
    ]
    assert len({derive(*key) for key in keys}) == len(keys)
    assert len({random_state(*key).random_sample() for key in keys}) == len(keys)


def test_streams_are_frozen():
    # kept values: another one here would change every figure that was ever published
    assert derive(42, "sampling", 0, 1) == 3862040357
    assert random_state(42, "sampling", round_=1).permutation(5).tolist() == [0, 3, 2, 4, 1]

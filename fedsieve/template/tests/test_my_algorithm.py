"""What the algorithm is to do, by numbers worked out by hand."""

import numpy as np
import pytest
from fedsieve.contract import Replies, Reply

from fedsieve_my_algorithm.server import MyAlgorithm


def reply(client: int, weight: float, num_examples: int) -> Reply:
    arrays = {"w": np.array([weight], dtype=np.float32)}
    return Reply(client, arrays, {"num-examples": num_examples})


@pytest.mark.parametrize(("step", "expected"), [(1.0, 5.0), (0.5, 3.0)])
def test_the_server_goes_a_step_to_the_mean_of_the_replies(step: float, expected: float) -> None:
    server = MyAlgorithm(step=step)
    server.begin({"w": np.array([1.0], dtype=np.float32)})
    server.combine(Replies([reply(0, 2.0, 1), reply(1, 6.0, 3)]))  # their mean: (1 · 2 + 3 · 6) / 4 = 5
    assert server.broadcast(0, acknowledged=False)["w"].tolist() == [expected]

import numpy as np
from flwr.app import Message

from tests.helpers import config
from tests.messages import FakeGrid, reply, rounds_played, strategy_of


def test_nothing_is_sent_and_weights_in_a_reply_are_refused():
    def answer(client: int, round_: int, message: Message) -> Message:
        return reply(message, {"w": np.ones(2)} if (client, round_) == (1, 1) else {})

    run, grid = config(algorithm="local", num_clients=2, num_rounds=2), FakeGrid(2, answer)
    rounds = rounds_played(run, strategy_of(run), grid, {"w": np.ones(2)})
    assert [arrays for _, _, arrays in grid.sent] == [{}] * 4
    assert rounds[0].downlink_payload_bytes == {0: 0, 1: 0}
    assert rounds[0].rejected == {1: "array keys differ from those expected: w"}
    assert [r.client for r in rounds[1].replies] == [0, 1]

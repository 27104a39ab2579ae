import numpy as np
from flwr.app import Message

from fedsieve.algorithms import load_algorithm
from fedsieve.runs.history import History
from fedsieve.wire import to_record
from tests.helpers import config
from tests.messages import SHAPE, FakeGrid, reply


def test_nothing_is_sent_and_weights_in_a_reply_are_refused():
    def answer(client: int, round_: int, message: Message) -> Message:
        return reply(message, {"w": np.ones(2)} if (client, round_) == (1, 1) else {})

    run, history, grid = config(algorithm="local", num_clients=2, num_rounds=2), History(), FakeGrid(2, answer)
    strategy = load_algorithm("local").strategy(run, run.settings, SHAPE, grid.nodes, [history])
    strategy.start(grid, to_record({"w": np.ones(2)}), 2)
    assert [arrays for _, _, arrays in grid.sent] == [{}] * 4
    assert history.rounds[0].downlink_payload_bytes == {0: 0, 1: 0}
    assert history.rounds[0].rejected == {1: "array keys differ from those expected: w"}
    assert [r.client for r in history.rounds[1].replies] == [0, 1]

"""Uploads in memory and on disk; a model of a matrix of weights, a counter and a code."""

from pathlib import Path

import numpy as np
import pytest

from fedsieve.contract import Arrays, Expected, Replies, Reply
from fedsieve.rows import Storage
from fedsieve.server.uploads import Uploads

SINGLE = np.dtype(np.float32)
EXPECTED = {
    "w": Expected((2, 2), SINGLE),
    "values": Expected.up_to(3, np.float32),
    "steps": Expected((), np.dtype(np.int64)),
    "ticket": Expected((1,), np.dtype(np.uint8)),
}
ROW_BYTES = 4 * 4 + 3 * 4
"""Of the weights alone, the longest values."""


def arrays(client: int, values: int = 3) -> Arrays:
    return {
        "w": np.float32([[client, 1], [2, 3]]),
        "values": np.arange(values, dtype=np.float32) + client,
        "steps": np.array(10 * client),
        "ticket": np.uint8([client]),
    }


def a_reply(client: int, sent: Arrays) -> Reply:
    return Reply(client, sent, {"num-examples": client + 1, "train-loss": 0.5}, 100, 50)


def plain(reply: Reply) -> dict[str, object]:
    return {name: array.tolist() for name, array in reply.arrays.items()}


@pytest.fixture(params=["memory", "disk"])
def uploads(request: pytest.FixtureRequest, tmp_path: Path) -> Uploads:
    return Uploads(Storage(None if request.param == "memory" else 0, tmp_path))


def test_replies_come_back_as_they_came_whatever_their_length(uploads: Uploads):
    sent = {client: arrays(client, length) for client, length in ((4, 3), (0, 1), (7, 0))}
    uploads.begin_round(EXPECTED, 3)
    held = {client: uploads.keep(a_reply(client, one)) for client, one in sent.items()}
    for client, one in sent.items():
        reply = held[client]
        assert plain(reply) == plain(a_reply(client, one))
        assert {name: array.dtype for name, array in reply.arrays.items()} == {n: a.dtype for n, a in one.items()}
        assert {name: array.shape for name, array in reply.arrays.items()} == {n: a.shape for n, a in one.items()}
        assert len(reply.arrays) == 4
        assert (reply.client, reply.num_examples, reply.uplink_bytes, reply.uplink_payload_bytes) == (
            client,
            client + 1,
            100,
            50,
        )


def test_columns_are_those_of_each_reply(uploads: Uploads):
    uploads.begin_round(EXPECTED, 2)
    replies = Replies([uploads.keep(a_reply(client, arrays(client))) for client in (5, 2)])
    assert replies.columns("w", 0, 3).tolist() == [[2, 1, 2], [5, 1, 2]]
    assert replies.columns("values", 1, 3).tolist() == [[3, 4], [6, 7]]
    # whole numbers and codes stay in memory, and are cut all the same
    assert replies.columns("steps", 0, 1).tolist() == [[20], [50]]
    assert replies.columns("ticket", 0, 1).tolist() == [[2], [5]]


def test_a_round_takes_the_place_of_the_one_before(uploads: Uploads):
    for number in (1, 2):
        uploads.begin_round(EXPECTED, 2)
        held = [uploads.keep(a_reply(client, arrays(client + number))) for client in (0, 1)]
        assert [plain(reply)["w"] for reply in held] == [[[number + k, 1], [2, 3]] for k in (0, 1)]


def test_another_round_may_expect_other_arrays(uploads: Uploads):
    uploads.begin_round(EXPECTED, 1)
    uploads.keep(a_reply(0, arrays(0)))
    uploads.begin_round({"h": Expected((2,), np.dtype(np.float64))}, 1)
    assert plain(uploads.keep(a_reply(0, {"h": np.array([0.1, 0.2])}))) == {"h": [0.1, 0.2]}
    uploads.begin_round({}, 1)
    assert plain(uploads.keep(a_reply(0, {}))) == {}


def test_what_an_array_stands_for_may_be_of_another_type_or_longer_than_what_was_sent(uploads: Uploads):
    uploads.begin_round({"a": Expected((1,), SINGLE), "b": Expected.up_to(2, np.float32)}, 2)
    unpacked = [{"a": np.array([0.1]), "b": np.float32([k, 2, 3, 4]), "c": np.float32([k])} for k in (0, 1)]
    held = [uploads.keep(a_reply(client, one)) for client, one in enumerate(unpacked)]
    assert [plain(reply) for reply in held] == [plain(a_reply(0, one)) for one in unpacked]
    assert held[0].arrays["a"].dtype == np.float64


@pytest.mark.parametrize(("limit", "on_disk"), [(3 * ROW_BYTES, False), (3 * ROW_BYTES - 1, True), (0, True)])
def test_uploads_that_are_too_many_for_memory_are_on_disk(limit: int, on_disk: bool, tmp_path: Path):
    uploads = Uploads(Storage(limit, tmp_path))
    uploads.begin_round(EXPECTED, 3)
    sent = a_reply(0, arrays(0))
    held = uploads.keep(sent)
    assert (held is not sent) == on_disk
    assert hasattr(held.arrays, "part") == on_disk
    if on_disk:
        assert held.arrays["w"] is not sent.arrays["w"]
        assert held.arrays["ticket"] is sent.arrays["ticket"]


def test_uploads_of_codes_need_no_disk(tmp_path: Path):
    uploads = Uploads(Storage(0, tmp_path / "gone"))
    uploads.begin_round({"mask": Expected.up_to(9, np.uint8)}, 3)
    sent = a_reply(0, {"mask": np.uint8([1, 2])})
    assert uploads.keep(sent) is sent

import pickle

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedsieve.simulations.flower_internals import take_identity
from fedsieve.simulations.parcels import (
    Question,
    pack_answer,
    pack_arrays,
    pack_rest,
    pack_state,
    restore_message,
    unpack_answer,
    unpack_arrays,
    unpack_content,
    unpack_state,
)
from tests.messages import failure

CONTENT = RecordDict(
    {
        "arrays": ArrayRecord({"a": Array(np.arange(6.0).reshape(2, 3)), "none": Array(np.zeros((0, 2), np.int8))}),
        "metrics": MetricRecord({"loss": 0.1, "count": 3}),
        "config": ConfigRecord({"round": 2, "names": ["x", "y"]}),
    }
)
QUESTION = Question("7", 3, "train", "2", 60.0, pack_rest(CONTENT), {"arrays": None}, None, 1)


def test_a_content_comes_back_whole_and_travels_without_flowers_classes():
    rest, packed = pack_rest(CONTENT), pack_arrays(CONTENT["arrays"])
    assert b"flwr" not in pickle.dumps((rest, packed))
    assert unpack_content(rest, {"arrays": unpack_arrays(packed)}) == CONTENT


def test_a_packed_record_is_a_view_and_an_unpacked_one_is_not():
    record = CONTENT["arrays"]
    *_, data = pack_arrays(record)["a"]
    assert np.shares_memory(data, np.frombuffer(record["a"].data, np.uint8))
    assert type(unpack_arrays({"a": ("int8", (1,), "numpy.ndarray", data.copy())})["a"].data) is bytes


def test_a_message_is_made_anew_as_it_was():
    take_identity(7)
    message = restore_message(QUESTION, CONTENT)
    found = message.metadata
    assert (found.message_id, found.dst_node_id, found.message_type) == ("7", 5, "train")
    assert (found.group_id, found.ttl, found.src_node_id, found.run_id) == ("2", 60.0, 1, 7)


@pytest.mark.parametrize(("saved", "lost"), [(3, False), (0, True)])
def test_a_reply_and_an_error_come_back_to_their_message(saved: int, lost: bool):
    take_identity(7)
    message = restore_message(QUESTION, CONTENT)
    for reply in (Message(CONTENT, reply_to=message), failure(message, 4, "it broke")):
        answer = pack_answer(reply, saved=saved, lost=lost)
        assert (answer.saved, answer.lost) == (saved, lost)
        back = unpack_answer(pickle.loads(pickle.dumps(answer)), QUESTION)
        assert back.metadata.reply_to_message_id == "7"
        assert back.metadata.src_node_id == 5
        assert back.has_error() == reply.has_error()
        if reply.has_error():
            assert (back.error.code, back.error.reason) == (4, "it broke")
        else:
            assert back.content == CONTENT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.int8])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0, 3)])
def test_a_state_comes_back_bit_by_bit_and_can_be_changed(dtype: torch.dtype, shape: tuple[int, ...]):
    tensor = torch.randint(0, 2, shape).to(dtype)
    packed = pickle.loads(
        pickle.dumps(
            pack_state({"a": tensor, "b": tensor.transpose(0, -1).contiguous().transpose(0, -1) if shape else tensor})
        )
    )
    for *_, data in packed.values():
        data.flags.writeable = False  # as what the object store hands out
    back = unpack_state(packed)
    for name in ("a", "b"):
        assert back[name].dtype == dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(back[name], tensor)
        back[name].zero_()

"""Messages and states as plain bytes and NumPy arrays, which Ray's object store keeps and hands out without a copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from fedsieve.contract import NDArray, Tensors
from fedsieve.simulations.grid import FIRST_NODE_ID, make_failed

PackedArrays = dict[str, tuple[str, tuple[int, ...], str, NDArray]]
"""An ArrayRecord: dtype, shape, type of serialisation and bytes of each array."""

PackedState = dict[str, tuple[torch.dtype, tuple[int, ...], NDArray]]
"""A client's state: dtype, shape and bytes of each tensor."""


@dataclass(frozen=True)
class Question:
    """A message to a client's node.

    Attributes:
        rest: the content without its array records, as Flower's protobuf.
        arrays: each array record, packed or as the reference of a packed one.
        state: the client's state after the round that it `continued`, None if there is none; as a reference of a packed
            one.
    """

    message_id: str
    client: int
    kind: str
    group_id: str
    ttl: float
    rest: bytes
    arrays: dict[str, Any]
    state: Any
    continued: int


@dataclass(frozen=True)
class Answer:
    """A reply: content as in `Question`, or the code and reason of an error.

    Attributes:
        saved: the round of the new state of the client's that goes with it; 0 where none does.
        lost: whether the client's state could not be had from Ray's object store.
    """

    error: tuple[int, str] | None
    rest: bytes
    arrays: dict[str, PackedArrays]
    saved: int
    lost: bool


def pack_rest(content: RecordDict) -> bytes:
    """Serialise the records that are not arrays."""
    rest = RecordDict({key: record for key, record in content.items() if not isinstance(record, ArrayRecord)})
    return bytes(recorddict_to_proto(rest).SerializeToString())


def pack_arrays(record: ArrayRecord) -> PackedArrays:
    """Pack an array record, without a copy."""
    return {
        name: (array.dtype, array.shape, array.stype, np.frombuffer(array.data, np.uint8))
        for name, array in record.items()
    }


def unpack_arrays(packed: PackedArrays) -> ArrayRecord:
    """Return the array record; its bytes are its own."""
    return ArrayRecord(
        {name: Array(dtype, shape, stype, data.tobytes()) for name, (dtype, shape, stype, data) in packed.items()}
    )


def unpack_content(rest: bytes, arrays: Mapping[str, ArrayRecord]) -> RecordDict:
    """Return a content from its parts."""
    content = recorddict_from_proto(ProtoRecordDict.FromString(rest))
    for key, record in arrays.items():
        content[key] = record
    return content


def restore_message(question: Question, content: RecordDict) -> Message:
    """Return the message that a question was made of, with any content."""
    message = Message(
        content, FIRST_NODE_ID + question.client, question.kind, ttl=question.ttl, group_id=question.group_id
    )
    message.metadata.__dict__["_message_id"] = question.message_id
    return message


def pack_answer(reply: Message, *, saved: int = 0, lost: bool = False) -> Answer:
    """Pack a reply."""
    if reply.has_error():
        return Answer((reply.error.code, reply.error.reason or ""), b"", {}, saved, lost)
    arrays = {key: pack_arrays(record) for key, record in reply.content.array_records.items()}
    return Answer(None, pack_rest(reply.content), arrays, saved, lost)


def unpack_answer(answer: Answer, question: Question) -> Message:
    """Return the reply to the message that `question` was made of."""
    to = restore_message(question, RecordDict())
    if answer.error is not None:
        code, reason = answer.error
        return make_failed(to, reason, code)
    arrays = {key: unpack_arrays(packed) for key, packed in answer.arrays.items()}
    return Message(unpack_content(answer.rest, arrays), reply_to=to)


def pack_state(state: Tensors) -> PackedState:
    """Pack a state, without a copy where it is in this machine's main memory."""
    return {
        name: (tensor.dtype, tuple(tensor.shape), tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        for name, tensor in state.items()
    }


def unpack_state(packed: PackedState) -> Tensors:
    """Return the state; its tensors can be changed in place."""
    return {
        name: torch.from_numpy(data.copy()).view(dtype).view(shape) if data.size else torch.empty(shape, dtype=dtype)
        for name, (dtype, shape, data) in packed.items()
    }

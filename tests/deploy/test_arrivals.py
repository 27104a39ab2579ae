import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import add_header_to_object_body, get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError, pull_objects
from flwr.superlink.grid import http_grid

from fedsieve.deploy.arrivals import LEAST, make_checked_pull
from tests.messages import asking, reply

Objects = dict[str, Any]


def objects(message: Message) -> tuple[list[str], Objects]:
    """Return what a node pushes for a message, the message's own id last."""
    nested = get_all_nested_objects(message)
    contents = {name: nested[name].deflate() for name in nested}
    root = message.object_id
    return [*(name for name in contents if name != root), root], contents


def pulled(ids: list[str], contents: Objects, largest: int = 0) -> Objects:
    return make_checked_pull(pull_objects, lambda: 10.0, lambda: largest)(ids, contents.__getitem__)


def honest() -> Message:
    return reply(asking(), {"w": np.arange(6, dtype=np.float32), "b": np.zeros(3, np.float32)})


def test_a_message_passes_as_it_is():
    ids, contents = objects(honest())
    assert pulled(ids, contents) == contents


def headed(kind: object, body: bytes) -> bytes:
    return bytes(add_header_to_object_body(body, kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda root, contents: contents.update({root: contents[root][:-3]}), id="truncated"),
        pytest.param(lambda root, contents: contents.update({root: headed(RecordDict(), b"{not json")}), id="no json"),
        pytest.param(lambda root, contents: contents.update({root: headed(RecordDict(), b"{}")}), id="no message"),
        pytest.param(lambda root, contents: contents.update({root: headed(asking(), b"")}), id="an empty message"),
        pytest.param(lambda root, contents: contents.update({root: b"rubbish"}), id="rubbish"),
    ],
)
def test_what_is_no_message_is_refused_with_the_error_that_flower_takes(spoil: Callable[[str, Objects], None]):
    ids, contents = objects(honest())
    spoil(ids[-1], contents)
    with pytest.raises(ObjectPullError, match="it is no message"):
        pulled(ids, contents)


def test_an_array_that_names_one_chunk_very_often_is_refused_before_it_is_joined():
    array = Array(np.zeros(250_000, np.float32))
    ids, contents = objects(Message(RecordDict({"arrays": ArrayRecord({"w": array})}), reply_to=asking()))
    (name,) = (name for name in contents if contents[name].startswith(b"Array "))
    head, _, body = contents[name].partition(b"\0")
    bomb = json.dumps(json.loads(body) | {"arraychunk_ids": [0] * 10_000}).encode()
    contents[name] = head.rsplit(b" ", 1)[0] + b" %d\0" % len(bomb) + bomb
    with pytest.raises(ObjectPullError, match=r"its arrays have 10,001,480,000 bytes where at most 64,000,000 are"):
        pulled(ids, contents)


def test_a_reply_may_be_as_large_as_four_of_the_messages_sent():
    ids, contents = objects(reply(asking(), {"w": np.zeros(LEAST // 4 + 1, np.float32)}))
    with pytest.raises(ObjectPullError, match="are taken"):
        pulled(ids, contents)
    assert pulled(ids, contents, largest=LEAST // 2)


def test_a_reply_that_is_not_pushed_whole_is_waited_for_as_long_as_the_round_has():
    ids, contents = objects(honest())

    def missing(name: str) -> bytes:
        if name == ids[0]:
            raise ObjectUnavailableError(name)
        return bytes(contents[name])

    with pytest.raises(ObjectPullError, match="timeout"):
        make_checked_pull(pull_objects, lambda: -5.0, lambda: 0)(ids, missing)


def test_flowers_grid_pulls_by_the_name_that_is_replaced():
    assert http_grid.pull_objects is pull_objects  # type: ignore[attr-defined]

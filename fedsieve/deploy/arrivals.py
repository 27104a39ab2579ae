"""What nodes have pushed, checked before Flower's Grid makes messages of it.

The SuperLink stores what a registered node pushes; the Grid pulls it and makes a message of it outside any `try`. So a
reply that is no message would end the run, and an array that names one chunk a million times would fill the memory.
"""

import json
from collections.abc import Callable, Mapping, Sequence

from flwr.app import Array, Message
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_children_ids_from_object_content,
    get_object_type_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflate_object_from_contents

from fedsieve.errors import one_line
from fedsieve.failures import NO_MESSAGE

Pull = Callable[..., dict[str, bytes]]

LEAST = 64_000_000
"""Bytes of arrays that a reply may hold in any case."""
TIMES = 4
"""Or as many times those of the largest message sent."""
LOOK = 1.0
"""Seconds to wait at least for a reply that is still being pushed."""


def make_checked_pull(pull: Pull, time_left: Callable[[], float], largest: Callable[[], int]) -> Pull:
    """Return a stand-in for Flower's `pull_objects`, which pulls one reply, that refuses what is no message.

    What it refuses, and what has not come in time, is an `ObjectPullError`, of which Flower makes an error reply.

    Args:
        pull: Flower's.
        time_left: seconds that the round still has; others wait meanwhile.
        largest: bytes of the arrays of the largest message sent.
    """

    def pull_objects(object_ids: Sequence[str], pull_object_fn: Callable[[str], bytes]) -> dict[str, bytes]:
        root = object_ids[-1]
        contents = pull(object_ids, pull_object_fn, max_time=max(LOOK, time_left()))
        try:
            check(contents, root, max(LEAST, TIMES * largest()))
        except Exception as error:  # what a node has made up can raise nearly anything
            raise ObjectPullError(root, f"{NO_MESSAGE}: {one_line(error)}") from error
        return contents

    return pull_objects


def check(contents: Mapping[str, bytes], root: str, limit: int) -> None:
    """Raise whatever is wrong with the objects of a reply, by their ids, that of the message being `root`.

    Args:
        limit: bytes that all arrays together may have once their chunks are joined.
    """
    size = sum(_measure_joined(content, contents) for content in contents.values())
    if size > limit:
        raise ValueError(f"its arrays have {size:,} bytes where at most {limit:,} are taken")
    message = inflate_object_from_contents(root, dict(contents), keep_object_contents=True)
    if not isinstance(message, Message):
        raise TypeError(f"it is a {type(message).__name__}")


def _measure_joined(content: bytes, contents: Mapping[str, bytes]) -> int:
    """Return how long the array's values are when its chunks are joined; 0 for what is no array."""
    if get_object_type_from_object_content(content) != Array.__qualname__:
        return 0
    chunks = get_object_children_ids_from_object_content(content)
    named = json.loads(get_object_body(content, Array))["arraychunk_ids"]
    return sum(len(contents[chunks[index]]) for index in named)

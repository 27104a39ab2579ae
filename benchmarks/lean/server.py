"""The server's side: a Flower Grid over one gRPC stream a node, and a process that runs the one ServerApp on it."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition

import grpc
from flwr.app import Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import context_to_proto, message_to_proto, recorddict_from_proto
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as Nothing

from fedsieve.config import RunConfig, Scalar, parse
from fedsieve.errors import RunFailedError
from fedsieve.server.app import make_server_app
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import FIRST_NODE_ID, RUN_ID, SimulatedGrid, context_of, make_failed
from lean.keys import server_credentials
from lean.wire import EXCHANGE, JOIN, OPTIONS, SERVICE

START = 180.0
"""Seconds for all nodes to connect."""

GRACE = 5.0
"""Seconds for the nodes to leave."""


class _Link:
    """A connected node: what it is to be sent, None to let it go, and what it has not answered, by message id."""

    def __init__(self) -> None:
        self.outbox: SimpleQueue[Message | None] = SimpleQueue()
        self.asked: dict[str, Message] = {}


class LeanGrid(SimulatedGrid):
    """Sends messages to nodes that have connected, and takes their replies as they come.

    A node is who its certificate says. Of a reply only the content or the error is believed: what it answers is known,
    as a node is sent its next message after the reply to the last. When its stream ends, what it has not answered gets
    an error reply; it may connect again, as who it was.

    Args:
        names: of the nodes' certificates, in the order of their partition ids.
        run_config: what `context.run_config` holds.
    """

    def __init__(self, names: Sequence[str], run_config: dict[str, Scalar]) -> None:
        super().__init__(len(names))
        self._names = {name: client for client, name in enumerate(names)}
        self._run_config = run_config
        self._links: dict[int, _Link] = {}
        self._changed = Condition()
        self._inbox: SimpleQueue[Message] = SimpleQueue()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies as they come; those that have not come after `timeout` seconds are absent."""
        until = None if timeout is None else time.monotonic() + timeout
        waiting: set[str] = set()
        try:
            for message in map(self._numbered, messages):
                waiting.add(message.metadata.message_id)
                self._ask(message)
            while waiting:
                reply = self._inbox.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
                if reply.metadata.reply_to_message_id in waiting:  # none of an exchange that was broken off
                    waiting.remove(reply.metadata.reply_to_message_id)
                    yield reply
        except Empty:
            return
        finally:
            self._forget(waiting)

    def wait_for_nodes(self, timeout: float) -> None:
        """Wait until all nodes have connected; `RunFailedError` if they have not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._links) == self._num_nodes, timeout):
                raise RunFailedError(f"{len(self._links)} of {self._num_nodes} nodes have connected in {timeout:g} s.")

    def let_go(self) -> None:
        """Let all nodes go."""
        with self._changed:
            for link in self._links.values():
                link.outbox.put(None)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what answers the nodes' calls."""
        join = grpc.unary_unary_rpc_method_handler(self._join, Nothing.FromString, ProtoContext.SerializeToString)
        exchange = grpc.stream_stream_rpc_method_handler(
            self._exchange, ProtoMessage.FromString, ProtoMessage.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {JOIN: join, EXCHANGE: exchange})

    def _join(self, _: Nothing, call: grpc.ServicerContext) -> ProtoContext:
        return context_to_proto(context_of(self._client_of(call), self._num_nodes, self._run_config))

    def _exchange(self, replies: Iterator[ProtoMessage], call: grpc.ServicerContext) -> Iterator[ProtoMessage]:
        node, link = FIRST_NODE_ID + self._client_of(call), _Link()
        with self._changed:
            before, self._links[node] = self._links.get(node), link
            self._changed.notify_all()
        if before:
            self._lost(node, before)
        if not call.add_callback(lambda: self._lost(node, link)):
            self._lost(node, link)
        while (message := link.outbox.get()) is not None:
            if message.metadata.message_id not in link.asked:
                continue
            yield message_to_proto(message)
            reply = next(replies, None)
            if reply is None:
                return
            if link.asked.pop(message.metadata.message_id, None):
                self._inbox.put(_answer(reply, message))

    def _client_of(self, call: grpc.ServicerContext) -> int:
        (name,) = call.auth_context()["x509_common_name"]
        if name.decode() not in self._names:
            call.abort(grpc.StatusCode.PERMISSION_DENIED, "no node of this run has this certificate's name")
        return self._names[name.decode()]

    def _ask(self, message: Message) -> None:
        with self._changed:
            link = self._links.get(message.metadata.dst_node_id)
            if link is None:
                self._inbox.put(make_failed(message, "the node is not connected", ErrorCode.NODE_UNAVAILABLE))
            else:
                link.asked[message.metadata.message_id] = message
                link.outbox.put(message)

    def _lost(self, node: int, link: _Link) -> None:
        """Answer for a node whose stream has ended."""
        with self._changed:
            if self._links.get(node) is link:
                del self._links[node]
            for message_id in list(link.asked):
                if message := link.asked.pop(message_id, None):
                    self._inbox.put(make_failed(message, "the node's stream has ended", ErrorCode.NODE_UNAVAILABLE))
            link.outbox.put(None)

    def _forget(self, message_ids: Iterable[str]) -> None:
        """Send none of these if they wait to be sent, and take no reply to them."""
        with self._changed:
            for link in self._links.values():
                for message_id in message_ids:
                    link.asked.pop(message_id, None)


def _answer(reply: ProtoMessage, to: Message) -> Message:
    """Return a node's reply; what cannot be read is an error of its."""
    if reply.HasField("error"):
        return make_failed(to, reply.error.reason, reply.error.code)
    try:
        return Message(recorddict_from_proto(reply.content), reply_to=to)
    except Exception as error:
        return make_failed(to, f"its reply cannot be read: {type(error).__name__}: {error}")


@contextmanager
def serving(grid: LeanGrid, keys: Path, address: str) -> Iterator[None]:
    """Let nodes connect to `address` while the context lasts; a thread each, and one more while one comes back."""
    threads = ThreadPoolExecutor(2 * len(list(grid.get_node_ids())) + 1)
    server = grpc.server(threads, [grid.handlers()], options=OPTIONS)
    server.add_secure_port(address, server_credentials(keys))
    server.start()
    try:
        grid.wait_for_nodes(START)
        yield
    finally:
        grid.let_go()
        server.stop(GRACE).wait()


def main(address: str, keys: str, names: str, run: RunConfig) -> None:
    """Run the one ServerApp."""
    grid = LeanGrid(names.split(","), run.flat())
    with serving(grid, Path(keys), address):
        app = make_server_app(engine="lean", export=False, quiet=True)
        app(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))


if __name__ == "__main__":
    main(*sys.argv[1:4], parse(json.loads(sys.argv[4])))

"""The inline engine: a Flower Grid whose nodes are function calls in this process."""

import itertools
from collections.abc import Iterable, Iterator

import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from threadpoolctl import threadpool_limits

from fedsieve.client.app import make_client_app
from fedsieve.client.holdings import simulated
from fedsieve.client.resident import choose_device
from fedsieve.client.state import MemoryStore
from fedsieve.config import RunConfig, Scalar
from fedsieve.server.run_folder import folder_of
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID, take_identity

RUN_ID = 1
FIRST_NODE_ID = SUPERLINK_NODE_ID + 1


class InlineGrid(Grid):
    """Calls a ClientApp for each message, one after the other, and keeps every client's Context in memory.

    Node ids are the partition ids plus 2. Messages are taken from their iterable one at a time and each reply is
    yielded before the next call, so one message and one reply are alive at once. Timeouts have no meaning here.

    Args:
        client_app: called as Flower's runtime calls it; what it raises becomes an error reply.
        num_nodes: number of clients.
        run_config: what `context.run_config` holds.
    """

    def __init__(self, client_app: ClientApp, num_nodes: int, run_config: dict[str, Scalar]) -> None:
        self._client_app = client_app
        self._run = take_identity(RUN_ID)
        self._contexts = {
            FIRST_NODE_ID + client: Context(
                run_id=RUN_ID,
                node_id=FIRST_NODE_ID + client,
                node_config={"partition-id": client, "num-partitions": num_nodes},
                state=RecordDict(),
                run_config=run_config,
            )
            for client in range(num_nodes)
        }
        self._message_ids = itertools.count(1)
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Set the run that `run` returns."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message from the server."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer the messages and keep the replies until they are pulled."""
        replies = {reply.metadata.reply_to_message_id: reply for reply in self.send_and_receive(messages)}
        self._replies |= replies
        return list(replies)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand over the replies to these messages."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the reply to each message, in order."""
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(next(self._message_ids))
            yield self._call(message)

    def _call(self, message: Message) -> Message:
        context = self._contexts.get(message.metadata.dst_node_id)
        if context is None:
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "no such node"), reply_to=message)
        try:
            return self._client_app(message, context)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def run_inline(run: RunConfig, server_app: ServerApp) -> None:
    """Run the apps in this process, on one thread, as every worker of every engine is."""
    torch.set_num_threads(1)
    choose_device(run.device)
    simulated(run)
    with MemoryStore(folder_of(run) / "states", run.state_memory_mb * 2**20) as states, threadpool_limits(1):
        grid = InlineGrid(make_client_app(lambda _: states), run.num_clients, run.flat())
        server_app(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))

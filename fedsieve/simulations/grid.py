"""What our two Grids share: nodes with a Context each, and how a ClientApp is called."""

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run

from fedsieve.config import Scalar
from fedsieve.server.checkpoints import ClientStates
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID, take_identity

MakeServer = Callable[[ClientStates | None], ServerApp]
"""Makes the ServerApp, given what the engine keeps for its clients; an engine that keeps nothing has no checkpoints."""

App = Callable[[Message, Context], Message]
"""A ClientApp, or what stands before one."""

RUN_ID = 1
FIRST_NODE_ID = SUPERLINK_NODE_ID + 1


class SimulatedGrid(Grid):
    """A Grid whose nodes are simulated; node ids are the partition ids plus 2.

    Args:
        num_nodes: number of clients.
    """

    def __init__(self, num_nodes: int) -> None:
        self._num_nodes = num_nodes
        self._run = take_identity(RUN_ID)
        self._message_ids = itertools.count(1)
        self._replies: dict[str, Message] = {}

    @abstractmethod
    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield a reply to each message."""

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
        return list(range(FIRST_NODE_ID, FIRST_NODE_ID + self._num_nodes))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer the messages and keep the replies until they are pulled."""
        replies = {reply.metadata.reply_to_message_id: reply for reply in self.send_and_receive(messages)}
        self._replies |= replies
        return list(replies)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand over the replies to these messages."""
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def _numbered(self, message: Message) -> Message:
        """Give a message its id, which is the sender's to give, and return it."""
        message.metadata.__dict__["_message_id"] = str(next(self._message_ids))
        return message


def context_of(client: int, num_nodes: int, run_config: dict[str, Scalar]) -> Context:
    """Return the Context with which a client's node begins."""
    return Context(
        run_id=RUN_ID,
        node_id=FIRST_NODE_ID + client,
        node_config={"partition-id": client, "num-partitions": num_nodes},
        state=RecordDict(),
        run_config=run_config,
    )


def answer(app: App, message: Message, context: Context) -> Message:
    """Call a ClientApp as Flower's runtime does: what it raises becomes an error reply."""
    try:
        return app(message, context)
    except Exception as error:
        return make_failed(message, f"{type(error).__name__}: {error}")


def make_failed(message: Message, reason: str, code: int = ErrorCode.CLIENT_APP_RAISED_EXCEPTION) -> Message:
    """Return an error reply to `message`."""
    return Message(Error(code, reason), reply_to=message)

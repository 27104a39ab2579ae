"""The inline engine: a Flower Grid whose nodes are function calls in this process."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from flwr.app import Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from threadpoolctl import threadpool_limits

from fedsieve.client.app.client_app import make_client_app
from fedsieve.client.app.holdings import deal_simulated
from fedsieve.client.app.resident import choose_device
from fedsieve.config import RunConfig, Scalar
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.simulations.flower_internals import SUPERLINK_NODE_ID
from fedsieve.simulations.grid import (
    FIRST_NODE_ID,
    RUN_ID,
    App,
    MakeServer,
    SimulatedGrid,
    answer,
    context_of,
    make_failed,
)
from fedsieve.simulations.states import KeptStates


class InlineGrid(SimulatedGrid):
    """Calls a ClientApp for each message, one after the other, and keeps every client's Context in memory.

    Messages are taken from their iterable one at a time and each reply is yielded before the next call, so one message
    and one reply are alive at once. Timeouts have no meaning here.

    Args:
        client_app: called as Flower's runtime calls it.
        num_nodes: number of clients.
        run_config: what `context.run_config` holds.
    """

    def __init__(self, client_app: App, num_nodes: int, run_config: dict[str, Scalar]) -> None:
        super().__init__(num_nodes)
        self._client_app = client_app
        self._contexts = {
            FIRST_NODE_ID + client: context_of(client, num_nodes, run_config) for client in range(num_nodes)
        }

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the reply to each message, in order."""
        for message in map(self._numbered, messages):
            context = self._contexts.get(message.metadata.dst_node_id)
            if context is None:
                yield make_failed(message, "no such node", ErrorCode.NODE_UNAVAILABLE)
            else:
                yield answer(self._client_app, message, context)


def run_inline(run: RunConfig, folder: CheckpointFolder, server: MakeServer) -> None:
    """Run the apps in this process, on one thread, as every worker of every engine is."""
    with _one_thread():
        choose_device(run.device)
        deal_simulated(run)
        states = KeptStates(folder, run.state_memory_mb * 2**20)
        grid = InlineGrid(make_client_app(lambda _: states), run.num_clients, run.flat())
        server(states)(grid, Context(RUN_ID, SUPERLINK_NODE_ID, {}, RecordDict(), run.flat()))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)

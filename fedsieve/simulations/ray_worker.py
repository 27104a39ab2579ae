"""What runs in a Ray worker: a ClientApp, and the Contexts, data and networks of the clients pinned to it."""

import operator
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from flwr.app import ArrayRecord, Context
from threadpoolctl import threadpool_limits

from fedsieve.client.app.client_app import make_client_app
from fedsieve.config import Scalar
from fedsieve.contract import Tensors
from fedsieve.recent import Recent
from fedsieve.simulations.flower_internals import take_identity
from fedsieve.simulations.grid import RUN_ID, answer, context_of, make_failed
from fedsieve.simulations.parcels import (
    Answer,
    PackedState,
    Question,
    pack_answer,
    pack_state,
    restore_message,
    unpack_arrays,
    unpack_content,
    unpack_state,
)


class CarriedStore:
    """A `StateStore` of one client at a time, whose state came with the message and leaves with the reply."""

    def __init__(self) -> None:
        self.carry(None)

    def carry(self, state: PackedState | None) -> None:
        """Take what came with the next message."""
        self.carried = state
        self.saved: tuple[int, Tensors] = 0, {}

    def load(self, client: int, round_: int) -> Tensors | None:
        """Return the state that came, which is that after `round_`; empty for 0, None if there was none."""
        if round_ == 0:
            return {}
        return None if self.carried is None else unpack_state(self.carried)

    def save(self, client: int, round_: int, state: Tensors, continued: int) -> None:
        """Let the state leave with the reply."""
        self.saved = round_, state


class Worker:
    """A Ray actor that answers its clients' messages, one after the other, on one thread.

    Args:
        num_clients: of the run, over all workers.
        run_config: what `context.run_config` holds.
        folder: in which the user is, where this machine has it: paths may be relative, and own networks lie there.
    """

    def __init__(self, num_clients: int, run_config: dict[str, Scalar], folder: str) -> None:
        if Path(folder).is_dir():
            os.chdir(folder)
        torch.set_num_threads(1)
        threadpool_limits(1)
        take_identity(RUN_ID)
        self._num_clients, self._run_config = num_clients, run_config
        self._store = CarriedStore()
        self._app = make_client_app(lambda _: self._store)
        self._contexts: dict[int, Context] = {}

    @ray.method(max_task_retries=-1)
    def where(self) -> tuple[str, int]:
        """Return machine and process id, when the worker is up, be it again."""
        return socket.gethostname(), os.getpid()

    def answer(self, questions: Sequence[Question]) -> Iterator[PackedState | Answer]:
        """Yield for each question, in order, the client's new state (empty if none was saved) and the answer.

        The two are objects of their own in Ray's object store, so that a state can stay on this machine.
        """
        context, fetch = ray.get_runtime_context(), Recent(_fetch, operator.eq)
        for question in questions:
            if context.is_canceled():
                return
            state, answer = self._answer(question, fetch)
            yield state
            yield answer

    def _answer(self, question: Question, fetch: Recent[Any, ArrayRecord]) -> tuple[PackedState, Answer]:
        message = restore_message(question, unpack_content(question.rest, {}))
        try:
            for key, arrays in question.arrays.items():
                message.content[key] = fetch(arrays)
            self._store.carry(None if question.state is None else ray.get(question.state))
        except ray.exceptions.RayError as error:  # its machine has left the cluster
            reason = f"what was kept for it in Ray's object store is lost: {type(error).__name__}"
            return {}, pack_answer(make_failed(message, reason), lost=True)
        if question.client not in self._contexts:
            self._contexts[question.client] = context_of(question.client, self._num_clients, self._run_config)
        reply = answer(self._app, message, self._contexts[question.client])
        round_, state = self._store.saved
        return pack_state(state), pack_answer(reply, saved=round_)


def _fetch(arrays: Any) -> ArrayRecord:
    """Return the array record that a reference is of, from the object store."""
    return unpack_arrays(ray.get(arrays))

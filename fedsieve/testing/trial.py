"""An algorithm on trial: the runs that several promises look at, each played once."""

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from flwr.app import Context, Message, MessageType

from fedsieve.kinds import Kind
from fedsieve.simulations.grid import App
from fedsieve.testing.runs import Between, Run, Setting, play

FAILS, AT = 1, 2
"""The client that gives no good reply, and the round in which it does not."""

T = TypeVar("T")


@dataclass
class Trial:
    """An algorithm on trial.

    Attributes:
        setting: the algorithm and its keys.
        any_value: names of arrays of whole numbers of which a reply may hold any, because each stands for something.
        players: returns the workers of `ray_players`.
    """

    setting: Setting
    any_value: Collection[str] = ()
    players: Callable[[], list[Any]] = list
    _known: dict[Hashable, tuple[Any, Exception | None]] = field(default_factory=dict, init=False)

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returns, or raise what it raises; it is called for a name the first time alone."""
        if name not in self._known:
            self._known[name] = _outcome(make)
        made, raised = self._known[name]
        if raised is not None:
            raise raised
        return cast(T, made)

    def reference(self, kind: Kind) -> Run:
        """Return an undisturbed run in which three of four clients take part in a round."""
        return self.once(("reference", kind), lambda: play(self.setting.config(kind)))

    def failing(self) -> Run:
        """Return a run whose client `FAILS` raises in round `AT`, when it has trained."""

        def answer(app: App, message: Message, context: Context) -> Message:
            reply = app(message, context)
            if is_spoilt(message, context):
                raise ArithmeticError("a test lets this client fail")
            return reply

        return self.once("failing", lambda: play(self.setting.config("graph", everybody=True), Between(answer=answer)))


def round_of(message: Message) -> int | None:
    """Return the round of a message that is to train its client, None for any other."""
    if message.metadata.message_type != MessageType.TRAIN:
        return None
    return int(message.content.config_records["config"]["round"])  # type: ignore[arg-type]


def is_spoilt(message: Message, context: Context) -> bool:
    """Return whether the reply to this message is the one that a run is to do without."""
    return round_of(message) == AT and context.node_config["partition-id"] == FAILS


def _outcome(make: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return make(), None
    except Exception as error:
        return None, error

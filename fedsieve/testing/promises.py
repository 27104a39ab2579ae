"""The promises that every algorithm keeps, each a function that raises a `BrokenPromiseError` of one sentence."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from flwr.app import Context, Message
from torch import Tensor

from fedsieve.algorithms import load_algorithm
from fedsieve.client.app.holdings import deal_simulated
from fedsieve.errors import RunFailedError, UserError, one_line
from fedsieve.kinds import Kind
from fedsieve.models import initial_weights
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.reading import read_round_lines
from fedsieve.simulations.grid import App
from fedsieve.testing import bad_replies
from fedsieve.testing.compare import MODELS, RECORDS, SERVER, client_rows, difference, read_forms
from fedsieve.testing.runs import CLIENTS, ROUNDS, Between, Clients, Run, play, play_on_devices, resume
from fedsieve.testing.trial import AT, FAILS, Trial, is_spoilt, round_of

LATE, SINCE = 3, 3
"""The client that does not answer at first, and the round from which it does; before it a run is interrupted too."""

NETWORKS = ("sage", "gat", "fedsieve.testing.networks:Gated")
"""Graph networks besides `gcn` that every algorithm runs on: PyG's, with attention, and one like a user's own."""


class BrokenPromiseError(AssertionError):
    """Says in one sentence, to the author of an algorithm, which promise it breaks and how."""


class NotTriedError(Exception):
    """A promise cannot be looked at before another one is kept; says which."""


Promise = Callable[[Trial], None]


def check(trial: Trial, promise: str) -> None:
    """Look whether an algorithm keeps a promise.

    Raises:
        BrokenPromiseError: it does not.
        NotTriedError: it breaks another one, on which this rests.
    """
    trial.once(("verdict", promise), lambda: PROMISES[promise](trial))


def _needs(trial: Trial, promise: str) -> None:
    try:
        check(trial, promise)
    except BrokenPromiseError as broken:
        raise NotTriedError(f"rests on the promise {promise}, which is broken") from broken


def is_installed(trial: Trial) -> None:
    """It is registered in the group `fedsieve.algorithms`, can be imported, and has a frozen config with defaults."""
    try:
        algorithm = load_algorithm(trial.setting.algorithm)
        algorithm.load_strategy()
        algorithm.load_trainer()
        trial.setting.config("graph")
    except UserError as error:
        raise BrokenPromiseError(str(error)) from error


def runs(trial: Trial, kind: Kind) -> None:
    """It runs on both kinds of data: replies are as `expected` says, every client has a model, all fit the network."""
    _needs(trial, "is-installed")
    with _explain_errors(f"a run on {kind} ends with"):
        run = trial.reference(kind)
    _check_complete(run, kind)


def runs_on_networks(trial: Trial) -> None:
    """It runs on graph networks of PyG's and of a user's own as on the built-in one."""
    _needs(trial, "runs-on-graph")
    for network in NETWORKS:
        with _explain_errors(f"a run on {network} ends with"):
            run = play(trial.setting.config("graph", network=network))
        _check_complete(run, network)


def _check_complete(run: Run, data: str) -> None:
    """Check that no reply was rejected, that every client has a model, and that all fit the network."""
    for number, rejected in _read_rejected(run):
        for whose, reason in rejected.items():
            _fail(f"a run on {data} rejects client {whose} in round {number}: {reason}", run)
    expected = initial_weights(run.config, deal_simulated(run.config)[0].shape)
    for client in range(CLIENTS):
        path = RunLayout(run.folder).model_of(client)
        if not path.exists():
            _fail(f"personal_model of client {client} raises on {data}", run)
        _check_fits(path, expected, f"personal_model returns other weights than the network's on {data}")
    shared = run.folder / "model" / "global.safetensors"
    if shared.exists():
        _check_fits(shared, expected, f"global_model returns other weights than the network's on {data}")


def _check_fits(path: Path, expected: Mapping[str, Tensor], broken: str) -> None:
    """Check that a file holds the network's weights, so that `load_model` can use it."""
    written, needed = read_forms(path), {name: f"F32 {tuple(weight.shape)}" for name, weight in expected.items()}
    if odd := [name for name in {**needed, **written} if written.get(name) != needed.get(name)]:
        first = odd[0]
        _fail(f"{broken}: {first} is {written.get(first, 'missing')} where the network has {needed.get(first, 'none')}")


def is_deterministic(trial: Trial, kind: Kind) -> None:
    """One seed gives the same bytes, whatever the process's global generators hold."""
    _needs(trial, f"runs-on-{kind}")
    random.random()
    np.random.random()
    torch.rand(1)
    again = play(trial.setting.config(kind))
    _check_same(
        again,
        trial.reference(kind),
        (*RECORDS, MODELS, SERVER),
        f"a second run of one seed on {kind} gives other numbers, so something is drawn that fedsieve.seeds or torch's "
        "default generator in train has not seeded",
    )


def ignores_order(trial: Trial) -> None:
    """The order in which replies arrive changes no bit."""
    _needs(trial, "deterministic-graph")
    with _explain_errors("a run whose replies come in reverse order ends with"):
        run = play(trial.setting.config("graph"), Between(arrange=lambda replies: reversed(list(replies))))
    _check_same(
        run,
        trial.reference("graph"),
        (*RECORDS, MODELS, SERVER),
        "replies that come in reverse order give other numbers, so something is summed up as they arrive, in "
        "unpack, and not in combine, which has them sorted",
    )


def survives_a_failing_client(trial: Trial) -> None:
    """A client that fails in one round is missing from that round, and from no other."""
    _needs(trial, "runs-on-graph")
    with _explain_errors(f"a run whose client {FAILS} fails in round {AT} ends with"):
        run = trial.failing()
    _check_rejected(run, {AT: {FAILS}}, f"where client {FAILS} fails in round {AT}")


def survives_an_absent_client(trial: Trial) -> None:
    """A client that is absent at first is missing from those rounds alone, and takes part when it comes."""
    _needs(trial, "runs-on-graph")

    def deliver(client: int, message: Message) -> bool:
        return client != LATE or (round_of(message) or SINCE) >= SINCE

    with _explain_errors(f"a run whose client {LATE} does not answer before round {SINCE} ends with"):
        run = play(trial.setting.config("graph", everybody=True), Between(deliver=deliver))
    absent = {number: {LATE} for number in range(1, SINCE)}
    _check_rejected(run, absent, f"where client {LATE} does not answer before round {SINCE}")


def keeps_client_state(trial: Trial) -> None:
    """A client that restarts before each message continues from its saved state as if it had not."""
    _needs(trial, "deterministic-graph")
    with _explain_errors("a run whose clients restart before each message ends with"):
        run = play_on_devices(trial.setting.config("graph"), trial.setting.folder / "devices")
    _check_same(
        run,
        trial.reference("graph"),
        (*RECORDS, MODELS),
        "clients that restart before each message give other numbers, so the trainer remembers something that is not "
        "in the state that train returns",
        run.raised,
    )


def keeps_server_state(trial: Trial) -> None:
    """A run that was interrupted resumes from its checkpoint as if it had not been."""
    _needs(trial, "keeps-client-state")
    clients = Clients()

    def deliver(_: int, message: Message) -> bool:
        if round_of(message) == SINCE:
            raise KeyboardInterrupt
        return True

    config = trial.setting.config("graph")
    try:
        with _explain_errors("a run that is interrupted ends with"):
            play(config, Between(deliver=deliver), clients)
    except KeyboardInterrupt:
        pass
    run = Run(config, clients.raised)
    with _explain_errors(f"a run that was interrupted in round {SINCE} cannot be resumed"):
        resume(run, clients)
    _check_same(
        run,
        trial.reference("graph"),
        (*RECORDS, MODELS, SERVER),
        f"a run that was interrupted in round {SINCE} and resumed gives other numbers, so the strategy remembers "
        "something that state and load_state, or state_of and load_state_of, do not bring back",
        run.raised,
    )


def rejects(trial: Trial, what: str, spoil: bad_replies.Spoil) -> None:
    """A bad reply is rejected by name, and changes nothing beside that."""
    _needs(trial, "deterministic-graph")
    _needs(trial, "survives-a-failing-client")

    def answer(app: App, message: Message, context: Context) -> Message:
        reply = app(message, context)
        return bad_replies.spoil_reply(reply, spoil) if is_spoilt(message, context) else reply

    with _explain_errors(f"a reply with {what} ends the run with"):
        run = play(trial.setting.config("graph", everybody=True), Between(answer=answer))
    if str(FAILS) not in dict(_read_rejected(run))[AT]:
        _fail(f"a reply with {what} is taken: unpack has to raise a ValueError for what stands for nothing")
    _check_rejected(run, {AT: {FAILS}}, f"where client {FAILS} sends {what} in round {AT}")
    _check_same(
        run,
        trial.failing(),
        (MODELS, SERVER),
        f"a reply with {what} is rejected, but the run is not as if the client had failed: unpack or expected has kept "
        "something of it",
    )


def is_equal_on_ray(trial: Trial) -> None:
    """Two workers of the engine `ray` give the bytes of the engine `inline`."""
    from fedsieve.testing.ray_players import play_on_ray  # Ray takes a second to import

    _needs(trial, "deterministic-images")
    _needs(trial, "ignores-the-order-of-replies")
    _needs(trial, "keeps-client-state")
    config = trial.setting.config("images")
    with _explain_errors("a run on the engine ray ends with"):
        play_on_ray(config, trial.players())
    _check_same(
        Run(config, []),
        trial.reference("images"),
        (*RECORDS, MODELS, SERVER),
        "the engine ray gives other numbers than inline, so something depends on the process that a client is in",
    )


def _make_rejects(what: str, spoil: bad_replies.Spoil) -> Promise:
    return partial(rejects, what=what, spoil=spoil)


def rejects_wrong_values(trial: Trial) -> None:
    """A reply of numbers that stand for nothing is rejected by name, and changes nothing beside that."""
    rejects(trial, "numbers that stand for nothing", partial(bad_replies.wrong_values, any_value=trial.any_value))


PROMISES: dict[str, Promise] = {
    "is-installed": is_installed,
    "runs-on-graph": partial(runs, kind="graph"),
    "runs-on-images": partial(runs, kind="images"),
    "runs-on-networks": runs_on_networks,
    "deterministic-graph": partial(is_deterministic, kind="graph"),
    "deterministic-images": partial(is_deterministic, kind="images"),
    "ignores-the-order-of-replies": ignores_order,
    "survives-a-failing-client": survives_a_failing_client,
    "survives-an-absent-client": survives_an_absent_client,
    "keeps-client-state": keeps_client_state,
    "keeps-server-state": keeps_server_state,
    "rejects-nan": _make_rejects("NaN", bad_replies.put_nan),
    "rejects-wrong-shape": _make_rejects("arrays of another shape", bad_replies.put_wrong_shape),
    "rejects-wrong-type": _make_rejects("arrays of another type", bad_replies.wrong_type),
    "rejects-missing-array": _make_rejects("an array missing", bad_replies.missing_array),
    "rejects-unknown-array": _make_rejects("an unknown array", bad_replies.unknown_array),
    "rejects-wrong-values": rejects_wrong_values,
    "equal-on-ray": is_equal_on_ray,
}


def _read_rejected(run: Run) -> Iterable[tuple[int, dict[str, str]]]:
    """Return each round's number, and why clients' replies were rejected in it."""
    lines = read_round_lines(run.folder)
    by_round = {int(line["round"]): dict(line["rejected"]) for line in lines}
    for row in client_rows(run.folder):
        if row["status"].startswith("rejected"):
            by_round.setdefault(int(row["round"]), {})[row["client"]] = row["status"].removeprefix("rejected: ")
    return sorted(by_round.items())


def _check_rejected(run: Run, expected: dict[int, set[int]], where: str) -> None:
    """Check whose reply was rejected in which round, and that all rounds were played."""
    by_round = dict(_read_rejected(run))
    for number in range(1, ROUNDS + 1):
        for client, reason in by_round[number].items():
            if int(client) not in expected.get(number, set()):
                _fail(f"{where}, round {number} rejects client {client} too: {reason}", run)
        for missed in sorted(expected.get(number, set()) - set(map(int, by_round[number]))):
            _fail(f"{where}, round {number} counts client {missed}", run)


def _check_same(
    run: Run, expected: Run, parts: Iterable[str], broken: str, raised: list[Exception] | None = None
) -> None:
    if fault := difference(run.folder, expected.folder, parts):
        cause = raised[0] if raised else None
        raise BrokenPromiseError(f"{broken}: {fault}.") from cause


def _fail(sentence: str, run: Run | None = None) -> NoReturn:
    cause = run.raised[0] if run is not None and run.raised else None
    raise BrokenPromiseError(f"{sentence.removesuffix('.')}.") from cause


@contextmanager
def _explain_errors(what: str) -> Iterator[None]:
    """Turn what a run raises into a broken promise, which shows where the algorithm's own code has raised it."""
    try:
        yield
    except (RunFailedError, UserError) as error:
        raise BrokenPromiseError(f"{what}: {one_line(error).removesuffix('.')}.") from error.__cause__
    except Exception as error:
        raise BrokenPromiseError(f"{what}: {type(error).__name__}: {one_line(error).removesuffix('.')}.") from error

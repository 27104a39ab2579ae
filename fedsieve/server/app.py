"""The one ServerApp: binds the nodes, runs the algorithm's strategy, and ends when the run's `summary.json` is there.

Who has started it draws the report (`fedsieve.reports.ending`).
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path

from flwr.app import ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp

from fedsieve.algorithms import load_algorithm
from fedsieve.config import RunConfig, parse_flower
from fedsieve.contract import Arrays
from fedsieve.data.fingerprint import fingerprint
from fedsieve.errors import UserError
from fedsieve.models import initial_buffers, initial_weights, setting_of
from fedsieve.rows import Storage
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.data_record import format_fingerprint
from fedsieve.runs.folder import RunFolder, folder_of
from fedsieve.runs.given_data import describe_given_data
from fedsieve.runs.history import History
from fedsieve.runs.reopen import lock_run, open_run
from fedsieve.runs.rounds import Observer
from fedsieve.runs.usage import Usage
from fedsieve.server.binding import Binding, bind
from fedsieve.server.checkpoints import Checkpoints, ClientStates, read_past
from fedsieve.server.export import write_models, write_similarity
from fedsieve.server.loop import RoundLoop
from fedsieve.server.progress import Progress
from fedsieve.server.summary import describe_clients, describe_end, summarise
from fedsieve.server.tracking import Tracking, check_trackers
from fedsieve.strategy import FederatedStrategy
from fedsieve.wire import shape_record

_log = logging.getLogger("fedsieve")


def make_server_app(
    *,
    engine: str,
    export: bool,
    quiet: bool = False,
    checkpoint_folder: CheckpointFolder | None = None,
    states: ClientStates | None = None,
    names: Mapping[int, str] | None = None,
    watchers: Sequence[Observer] = (),
) -> ServerApp:
    """Return the ServerApp.

    Args:
        engine: what runs it, for the summary.
        export: ask the clients for their personal models at the end. A simulation does; a deployment leaves them on
            the devices.
        quiet: show no progress.
        checkpoint_folder: of a simulation. A deployment has that of the run's folder, and where this holds a run
            already, resumes it.
        states: what a simulation's engine keeps for its clients; without, it has no checkpoints.
        names: of a deployment's nodes, by Flower's node id.
        watchers: notified of each round when everything else has been.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        run = parse_flower(context.run_config)
        run = run.model_copy(update={"out": str(folder_of(run))})
        check_trackers(run)
        if export:
            kept_in = checkpoint_folder if states is not None else None
            _run(run, grid, engine, quiet, kept_in, states, watchers=watchers)
            return
        with open_run(run) as of_deployment:
            if of_deployment.newest is not None and of_deployment.newest.covers(run):
                _log.info("the run in %s has finished: there is nothing to do", run.out)
            else:
                _run(run, grid, engine, quiet, of_deployment, None, export=False, names=names)

    return app


def _run(
    run: RunConfig,
    grid: Grid,
    engine: str,
    quiet: bool,
    checkpoint_folder: CheckpointFolder | None,
    states: ClientStates | None,
    *,
    export: bool = True,
    names: Mapping[int, str] | None = None,
    watchers: Sequence[Observer] = (),
) -> None:
    before = None if checkpoint_folder is None else checkpoint_folder.newest
    usage = Usage(before=None if before is None else before.usage)
    token = before.token if before is not None else secrets.token_hex(8)
    binding = bind(grid, run.num_clients, run.round_timeout, run.min_clients, names, _say_nothing if export else _say)
    config = ConfigRecord(dict(shape_record(binding.shape)) | {"run": token})
    initial = {name: tensor.numpy() for name, tensor in initial_weights(run, binding.shape).items()}
    given = describe_given_data(run, binding.nodes, binding.devices)
    folder = _open_folder(run, checkpoint_folder, given, fingerprinted=export)
    past = None if checkpoint_folder is None else read_past(checkpoint_folder, folder)
    history = History(list(past.rounds) if past is not None else [])
    with ExitStack() as stack:
        stack.enter_context(_lock(folder.path, checkpoint_folder))
        progress = stack.enter_context(Progress(run, quiet=quiet, past=history.rounds))
        tracking = stack.enter_context(Tracking(run, folder.path, history.rounds))
        observers: list[Observer] = [history, folder, _Sampling(usage), progress, tracking]

        def write_summary(ended: str, accuracy: float | None = None) -> None:
            tracking.ended = ended
            folder.write_summary(
                summarise(
                    run,
                    history,
                    usage,
                    engine=engine,
                    num_clients=len(binding.nodes),
                    given=given,
                    clients=describe_clients(binding),
                    accuracy=accuracy,
                    ended=ended,
                )
            )

        try:
            strategy = _make_strategy(run, binding, folder)
        except UserError as error:
            write_summary(describe_end(error))
            raise
        loop = RoundLoop(
            run,
            strategy,
            binding.nodes,
            strategy.storage,
            observers,
            progress.watched,
            binding.names,
            _averaged_buffers(run, binding),
        )
        checkpoints = None
        if checkpoint_folder is not None:
            checkpoints = stack.enter_context(Checkpoints(run, token, checkpoint_folder, folder, loop, usage, states))
            observers += [checkpoints] if states is None else [states, checkpoints]
        observers += watchers

        def conclude(ended: str) -> None:
            if checkpoints is not None:
                checkpoints.make_last()
            number = history.rounds[-1].number if history.rounds else 0
            accuracy = write_models(grid, binding, config, loop, folder, number) if export else None
            write_similarity(loop, history, folder)
            write_summary(ended, accuracy)

        try:
            loop.play(grid, initial, config, past)
        except UserError as error:  # the disk is full, say, and then stays so
            with suppress(UserError):
                conclude(describe_end(error))
            raise
        except BaseException as error:
            _log.warning("the run ended before its last round; what it has reached is in %s", folder.path)
            conclude(describe_end(error))
            raise
        conclude("stopped" if loop.stopped else "finished")
        if checkpoints is not None and not loop.stopped:
            checkpoints.finish()


def _lock(folder: Path, checkpoint_folder: CheckpointFolder | None) -> AbstractContextManager[None]:
    """Return what has a new run to this process; one that is resumed was locked when it was opened."""
    is_new = checkpoint_folder is None or checkpoint_folder.records is None
    return lock_run(folder) if is_new else nullcontext()


def _open_folder(
    run: RunConfig, checkpoint_folder: CheckpointFolder | None, given: Mapping[str, object], *, fingerprinted: bool
) -> RunFolder:
    """Return the run's folder, at its start with the fingerprint of a user's own data; a deployment sees none."""
    records = checkpoint_folder.records if checkpoint_folder is not None else None
    folder = RunFolder(run, records, given)
    if fingerprinted and not records and (data := fingerprint(run.dataset, run.partition)):
        folder.write_data(format_fingerprint(data))
    return folder


def _make_strategy(run: RunConfig, binding: Binding, folder: RunFolder) -> FederatedStrategy:
    strategy = load_algorithm(run.algorithm).load_strategy().for_run(setting_of(run, binding.shape), run.settings)
    strategy.storage = Storage(run.state_memory_mb * 2**20, folder.path, len(binding.nodes))
    return strategy


def _averaged_buffers(run: RunConfig, binding: Binding) -> Arrays:
    """Return the initial values of the buffers that travel, none where they stay on the clients."""
    if run.buffers != "averaged":
        return {}
    return {name: tensor.numpy() for name, tensor in initial_buffers(run, binding.shape).items()}


def _say_nothing(number: int, of: int) -> None:
    """In a simulation the data have been loaded before."""


def _say(number: int, of: int) -> None:
    """Say how many nodes have answered, at most some ten times: a node takes a while to load its data."""
    if number == 0:
        _log.info("waiting for %d nodes to load their data and say who they are", of)
    elif number == of or number % max(1, of // 10) == 0:
        _log.info("%d of %d nodes have answered%s", number, of, "; the first round begins" if number == of else "")


class _Sampling:
    """Lets the memory be looked at after each round."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def round_finished(self, _: object) -> None:
        """Look at the memory."""
        self._usage.sample()

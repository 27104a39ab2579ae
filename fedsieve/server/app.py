"""The one ServerApp: binds the nodes, runs the algorithm's strategy, and ends when the run's `summary.json` is there.

Who has started it draws the report (`fedsieve.reports.ending`).
"""

import logging
import platform
import secrets
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib.metadata import version

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedsieve.algorithms import load_algorithm
from fedsieve.config import RunConfig, parse_flower
from fedsieve.contract import Arrays
from fedsieve.data.fingerprint import fingerprint
from fedsieve.errors import UserError, one_line, printable
from fedsieve.failures import explain
from fedsieve.models import initial_weights, setting_of
from fedsieve.rows import Storage
from fedsieve.runs.checkpoint_folder import CheckpointFolder
from fedsieve.runs.data_record import written
from fedsieve.runs.folder import RunFolder, folder_of
from fedsieve.runs.given_data import given_data
from fedsieve.runs.history import History
from fedsieve.runs.reopen import alone, opened
from fedsieve.runs.rounds import Observer
from fedsieve.runs.usage import Usage
from fedsieve.server.binding import Binding, bind
from fedsieve.server.checkpoints import Checkpoints, ClientStates, past_of
from fedsieve.server.event_files import EventFiles, check_installed
from fedsieve.server.loop import RoundLoop
from fedsieve.server.progress import Progress
from fedsieve.wire import shape_record, to_arrays, to_record

_log = logging.getLogger("fedsieve")

PACKAGES = ("fedsieve", "flwr", "torch", "torch-geometric", "numpy", "pymetis", "scikit-learn")


def make_server_app(
    *,
    engine: str,
    export: bool,
    quiet: bool = False,
    kept: CheckpointFolder | None = None,
    states: ClientStates | None = None,
    names: Mapping[int, str] | None = None,
) -> ServerApp:
    """Return the ServerApp.

    Args:
        engine: what runs it, for the summary.
        export: ask the clients for their personal models at the end. A simulation does; a deployment leaves them on
            the devices.
        quiet: show no progress.
        kept: the checkpoints of a simulation. A deployment has those of the run's folder, and where this holds a run
            already, goes on with it.
        states: what a simulation's engine keeps for its clients; without, it has no checkpoints.
        names: of a deployment's nodes, by Flower's node id.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        run = parse_flower(context.run_config)
        run = run.model_copy(update={"out": str(folder_of(run))})
        check_installed(run)
        if export:
            _run(run, grid, engine, quiet, kept if states is not None else None, states)
            return
        with opened(run) as own:
            if own.newest is not None and own.newest.covers(run):
                _log.info("the run in %s has finished: there is nothing to do", run.out)
            else:
                _run(run, grid, engine, quiet, own, None, export=False, names=names)

    return app


def _run(
    run: RunConfig,
    grid: Grid,
    engine: str,
    quiet: bool,
    kept: CheckpointFolder | None,
    states: ClientStates | None,
    *,
    export: bool = True,
    names: Mapping[int, str] | None = None,
) -> None:
    before = None if kept is None else kept.newest
    usage = Usage(before=None if before is None else before.usage)
    token = before.token if before is not None else secrets.token_hex(8)
    say = _say_nothing if export else _say
    binding = bind(grid, run.num_clients, run.round_timeout, run.min_clients, names, say)
    config = ConfigRecord(dict(shape_record(binding.shape)) | {"run": token})
    initial = {name: tensor.numpy() for name, tensor in initial_weights(run, binding.shape).items()}
    given = given_data(run, binding.nodes, binding.devices)
    folder = RunFolder(run, kept.records if kept is not None else None, given)
    if export and (kept is None or kept.records is None) and (data := fingerprint(run.dataset)):
        folder.write_data(written(data))
    past = None if kept is None else past_of(kept, folder)
    history = History(list(past.rounds) if past is not None else [])
    with ExitStack() as stack:
        if kept is None or kept.records is None:
            stack.enter_context(alone(folder.path))
        progress = stack.enter_context(Progress(run, quiet=quiet, past=history.rounds))
        observers: list[Observer] = [history, folder, _Sampling(usage), progress]
        observers += [stack.enter_context(EventFiles(run, folder.path, history.rounds))] if run.tensorboard else []
        strategy = load_algorithm(run.algorithm).load_strategy().for_run(setting_of(run, binding.shape), run.settings)
        storage = Storage(run.state_memory_mb * 2**20, folder.path, len(binding.nodes))
        loop = RoundLoop(run, strategy, binding.nodes, storage, observers, progress.watched, binding.names)
        checkpoints = None
        if kept is not None:
            checkpoints = stack.enter_context(Checkpoints(run, token, kept, folder, loop, usage, states))
            observers += [checkpoints] if states is None else [states, checkpoints]

        def conclude(ended: str) -> None:
            if checkpoints is not None:
                checkpoints.make_last()
            number = history.rounds[-1].number if history.rounds else 0
            accuracy = _write_models(grid, binding, config, loop, folder, number) if export else None
            figures = _figures(history, usage) | {"test_accuracy_global": accuracy}
            _write_similarity(loop, history, folder)
            about = _setting(run, engine, binding) | given
            folder.write_summary(about | figures | {"ended": ended, "versions": _versions()})

        try:
            loop.play(grid, initial, config, past)
        except UserError as error:  # the disk is full, say, and then stays so
            with suppress(UserError):
                conclude(_end(error))
            raise
        except BaseException as error:
            _log.warning("the run ended before its last round; what it has reached is in %s", folder.path)
            conclude(_end(error))
            raise
        conclude("finished")
        if checkpoints is not None:
            checkpoints.finish()


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


def _end(error: BaseException) -> str:
    """Return how a run has ended, for the summary."""
    return "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else f"failed: {one_line(error)}"


def _write_similarity(loop: RoundLoop, history: History, folder: RunFolder) -> None:
    """Write what the server has found of how alike its clients' models are to `similarity.safetensors`."""
    found = loop.strategy.similarity_matrix() if loop.begun else None
    if found is not None:
        clients, matrix = np.asarray(found[0], np.int64), np.asarray(found[1], np.float32)
        combined = [round_.number for round_ in history.rounds if round_.usable and not round_.for_metric_only]
        about = {"format": 1, "round": combined[-1]}
        folder.write_similarity({"clients": clients, "similarity": matrix}, about)


def _write_models(
    grid: Grid,
    binding: Binding,
    config: ConfigRecord,
    loop: RoundLoop,
    folder: RunFolder,
    number: int,
) -> float | None:
    """Write the models after round `number` to `model/`, and return the accuracy of the one that all share, if any."""
    timeout, shape = loop.run.round_timeout, binding.shape
    stage = {"format": 1, "round": number, "input": list(shape.input), "num_classes": shape.num_classes}
    names = _export(grid, binding, config, loop.continues, folder, stage, timeout)
    shared = loop.strategy.global_model() if loop.begun else None
    if shared is None:
        return None
    folder.write_model(None, shared, stage | {"names": names})
    return _global_accuracy(grid, binding, config, shared, timeout)


def _export(
    grid: Grid,
    binding: Binding,
    config: ConfigRecord,
    continues: Mapping[int, int],
    folder: RunFolder,
    stage: Mapping[str, object],
    timeout: float,
) -> list[str]:
    """Write the folded model of each client that has trained to `model/`, and return the names of the classes."""
    names: list[str] = []
    clients = {node: client for client, node in binding.nodes.items()}
    asked = (
        Message(
            RecordDict({"config": ConfigRecord(dict(config) | {"continues": round_})}),
            binding.nodes[client],
            f"{MessageType.QUERY}.export",
        )
        for client, round_ in sorted(continues.items())
    )
    for reply in grid.send_and_receive(asked, timeout=timeout):
        client = clients[reply.metadata.src_node_id]
        if reply.has_error():
            _log.warning("client %d did not export its model: %s", client, printable(explain(reply.error)))
            continue
        model = to_arrays(reply.content.array_records["arrays"])
        names = list(reply.content.config_records["classes"]["names"])  # type: ignore[arg-type]
        about = dict(stage) | {"names": names, "client": client}
        folder.write_model(client, model, about)
    return names


def _global_accuracy(grid: Grid, binding: Binding, shape: ConfigRecord, model: Arrays, timeout: float) -> float | None:
    """Return the accuracy of the one model on all clients' test data together, None where no client has any."""
    content = RecordDict({"arrays": to_record(model), "config": shape})
    asked = (Message(content, node, MessageType.EVALUATE) for node in binding.nodes.values())
    hits, count = 0.0, 0
    for reply in grid.send_and_receive(asked, timeout=timeout):
        if reply.has_error():
            _log.warning(
                "node %d did not evaluate the global model: %s",
                reply.metadata.src_node_id,
                printable(explain(reply.error)),
            )
            continue
        found = reply.content.metric_records["metrics"]
        hits += float(found["test_accuracy"]) * int(found["test_count"])  # type: ignore[arg-type]
        count += int(found["test_count"])  # type: ignore[arg-type]
    return hits / count if count else None


def _setting(run: RunConfig, engine: str, binding: Binding) -> dict[str, object]:
    return {
        "algorithm": run.algorithm,
        "dataset": run.dataset,
        "partition": run.partition,
        "model": run.model,
        "engine": engine,
        "seed": run.seed,
        "num_clients": len(binding.nodes),
    }


def _figures(history: History, usage: Usage) -> dict[str, object]:
    figures = history.accuracy_summary() | history.traffic_summary() | usage.totals()
    return {key: figures.get(key) for key in FIGURES}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


FIGURES = (
    "num_rounds",
    "best_round",
    "test_accuracy",
    "test_accuracy_std",
    "test_macro_f1",
    "test_accuracy_final",
    "test_accuracy_received",
    "test_accuracy_global",
    "test_accuracy_per_client",
    "uplink_bytes_per_client_round",
    "downlink_bytes_per_client_round",
    "uplink_payload_bytes_per_client_round",
    "downlink_payload_bytes_per_client_round",
    "mask_sparsity",
    "seconds_per_round",
    "cpu_seconds",
    "wall_seconds",
    "peak_rss_mb",
    "rejected_replies",
    "lost_states",
)

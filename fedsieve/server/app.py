"""The one ServerApp: binds the nodes, runs the algorithm's strategy, and leaves the run's folder complete."""

import logging
import platform
from importlib.metadata import version
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedsieve.algorithm import load_algorithm
from fedsieve.config import RunConfig, parse
from fedsieve.errors import RunFailedError
from fedsieve.models import initial_weights
from fedsieve.reports.page import report_page
from fedsieve.server.binding import Binding, bind
from fedsieve.server.history import History
from fedsieve.server.interrupts import Together
from fedsieve.server.progress import Progress
from fedsieve.server.run_folder import RunFolder
from fedsieve.server.usage import Usage
from fedsieve.strategies.base import FederatedStrategy
from fedsieve.wire import Arrays, shape_record, to_arrays, to_record

_log = logging.getLogger("fedsieve")

PACKAGES = ("fedsieve", "flwr", "torch", "torch-geometric", "numpy", "pymetis", "scikit-learn")


def make_server_app(*, engine: str, export: bool, quiet: bool = False) -> ServerApp:
    """Return the ServerApp.

    Args:
        engine: what runs it, for the summary.
        export: ask the clients for their personal models and states at the end. A simulation does; a deployment leaves
            both on the devices.
        quiet: show no progress.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        run = parse(context.run_config)
        usage, history = Usage(), History()
        binding = bind(grid, run.num_clients, run.round_timeout, run.min_clients)
        shape = shape_record(binding.shape)
        initial = initial_weights(run, binding.shape)
        folder = RunFolder(run)
        run = run.model_copy(update={"out": str(folder.path)})
        with Progress(run, quiet=quiet) as progress:
            recorded = Together([history, folder, _Sampling(usage), progress])
            strategy = load_algorithm(run.algorithm).strategy(
                run, run.settings, binding.shape, binding.nodes, [recorded], progress.watched
            )
            try:
                strategy.start(grid, to_record(initial), run.num_rounds, run.round_timeout, shape)
            except (KeyboardInterrupt, RunFailedError):
                _log.warning("the run ended before its last round; what it has reached is in %s", folder.path)
                raise
            finally:
                shared = strategy.global_model() if strategy.begun else None
                if strategy.begun:
                    _write_server(strategy, folder, _stage(history))
                accuracy = None
                if export:
                    _export(grid, binding, shape, folder, history, run.round_timeout)
                    if shared is not None:
                        folder.write_arrays("model/global.safetensors", shared, _stage(history))
                        accuracy = _global_accuracy(grid, binding, shape, shared, run.round_timeout)
                figures = _figures(history, usage) | {"test_accuracy_global": accuracy}
                folder.write_summary(_setting(run, engine, binding) | figures | {"versions": _versions()})
                folder.write_text("report.html", report_page(folder.path))

    return app


class _Sampling:
    """Lets the memory be looked at after each round."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def round_finished(self, _: object) -> None:
        """Look at the memory."""
        self._usage.sample()


def _stage(history: History) -> dict[str, str]:
    return {"format": "1", "round": str(history.rounds[-1].number if history.rounds else 0)}


def _write_server(strategy: FederatedStrategy[Any], folder: RunFolder, stage: dict[str, str]) -> None:
    """Write what the server remembers to `checkpoint/`, what it remembers for one client to a file of its own."""
    folder.write_arrays("checkpoint/server.safetensors", strategy.server_arrays(), stage)
    for client in strategy.nodes:
        if arrays := strategy.server_arrays_of(client):
            own = stage | {"client": str(client)}
            folder.write_arrays(f"checkpoint/server-client-{client}.safetensors", arrays, own)


def _export(
    grid: Grid, binding: Binding, shape: ConfigRecord, folder: RunFolder, history: History, timeout: float
) -> None:
    """Write each client's folded model to `model/` and its state to `checkpoint/`."""
    clients = {node: client for client, node in binding.nodes.items()}
    trained = {reply.client for round_ in history.rounds for reply in round_.replies}
    asked = (
        Message(RecordDict({"config": shape}), binding.nodes[client], f"{MessageType.QUERY}.export")
        for client in sorted(trained)
    )
    for reply in grid.send_and_receive(asked, timeout=timeout):
        client = clients[reply.metadata.src_node_id]
        if reply.has_error():
            _log.warning("client %d did not export its model: %s", client, reply.error.reason)
            continue
        arrays = to_arrays(reply.content.array_records["arrays"])
        for part, name in (("model", f"model/client-{client}"), ("state", f"checkpoint/client-{client}")):
            own = {key.removeprefix(f"{part}/"): array for key, array in arrays.items() if key.startswith(f"{part}/")}
            folder.write_arrays(f"{name}.safetensors", own, _stage(history) | {"client": str(client)})


def _global_accuracy(grid: Grid, binding: Binding, shape: ConfigRecord, model: Arrays, timeout: float) -> float | None:
    """Return the accuracy of the one model on all clients' test data together, None where no client has any."""
    content = RecordDict({"arrays": to_record(model), "config": shape})
    asked = (Message(content, node, MessageType.EVALUATE) for node in binding.nodes.values())
    hits, count = 0.0, 0
    for reply in grid.send_and_receive(asked, timeout=timeout):
        if reply.has_error():
            _log.warning(
                "node %d did not evaluate the global model: %s", reply.metadata.src_node_id, reply.error.reason
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
)

app = make_server_app(engine="flower", export=False)

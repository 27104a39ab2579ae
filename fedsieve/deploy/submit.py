"""One run on a deployment: a thin app folder is submitted, its log is shown, and how it ended is told truly."""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from fedsieve.algorithms import section_of
from fedsieve.config import RunConfig
from fedsieve.deploy.control import RunStatus, list_nodes, read_status, start_run, stop_run, stream_log
from fedsieve.deploy.layout import Layout, read_deployment
from fedsieve.deploy.trial import describe_missing, node_states
from fedsieve.errors import RunFailedError, UserError
from fedsieve.keys import key_of
from fedsieve.kinds import is_named
from fedsieve.reports.ending import report_at_end
from fedsieve.runs.checkpoint_folder import newest_manifest
from fedsieve.runs.folder import check_folder, folder_of
from fedsieve.runs.reopen import lock_run, reopen

_log = logging.getLogger("fedsieve")

SERVER_APP, CLIENT_APP = "fedsieve.deploy.server_app:app", "fedsieve.client.app.client_app:app"

AWAY = 300.0
"""Seconds that a SuperLink may be away, to be started again, before a run is given up."""

PAUSE = 0.5
"""Seconds between two questions to it."""

UNBEGUN = 120.0
"""Seconds until the SuperExec has to have begun a run; it does at once, but for runs before it."""

LEAVING = 20.0
"""Seconds that a ServerApp which was stopped has to write the summary of what it has reached."""

IN_SIMULATION = {name: field.default for name, field in RunConfig.model_fields.items() if not key_of(field).deployed}
"""Keys that say nothing of a deployment, and what they are set to."""


def submit(
    layout: Layout,
    run: RunConfig,
    *,
    show: Callable[[str], None] = lambda _: None,
    client_app: str = CLIENT_APP,
    resuming: bool = False,
) -> Path:
    """Do `run` on the deployment's nodes and return the run's folder, which then holds the results and their report.

    Args:
        layout: of the deployment; on the SuperLink's machine, where the ServerApp writes the run's folder.
        run: its `num_clients` nodes must be online.
        show: told each line of the run's progress and warnings.
        client_app: what the nodes run, `module:attribute`: the one ClientApp, or one that wraps it.
        resuming: whether the folder holds the run already, which the ServerApp then resumes.

    Raises:
        UserError: there is no SuperLink, too few nodes are online, or the folder is not empty.
        RunFailedError: the run failed or was stopped; why.
    """
    folder = Path(run.out).absolute() if run.out else layout.folder / name_by_data(layout, run)
    if not resuming:
        check_folder(folder)
    if run.num_clients > (online := count_nodes(layout, "online")):
        missing = f" ({missing})" if (missing := describe_missing(layout)) else ""
        allowed = f"allowed: at most the number of nodes online, {online}{missing}"
        raise UserError(f"num-clients: got {run.num_clients}, {allowed}.")
    dataset = run.dataset if is_named(run.dataset) or not Path(run.dataset).exists() else Path(run.dataset).absolute()
    run = run.model_copy(update=IN_SIMULATION | {"out": str(folder), "dataset": str(dataset)})
    say = partial(_say, show, run.algorithm)
    say("submits the run to the SuperLink")
    with tempfile.TemporaryDirectory(prefix="fedsieve-app-") as app:
        write_app(Path(app), run, client_app)
        run_id = start_run(layout, Path(app))
    with report_at_end(folder):
        try:
            ended = _follow(
                layout, run_id, lambda line: show(line) if line.startswith(f"{run.algorithm} ") else None, say
            )
        except KeyboardInterrupt:
            stop_run(layout, run_id)
            _log.warning("the run was stopped; what it has reached is in %s", folder)
            _wait_until_left(folder)
            raise
        if ended.result != "completed":
            reason = ended.details.removeprefix("ServerApp failed with exception: ").rstrip(".")
            raise RunFailedError(f"the run has {ended.result}{': ' * bool(reason)}{reason}.")
    return folder


def resume(
    folder: Path,
    *,
    show: Callable[[str], None] = lambda _: None,
    deployment: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> bool | None:
    """Resume the deployed run in `folder`; return False if it had ended already, None if it is no deployed one.

    Args:
        folder: of the run; also one that was killed before its first checkpoint, where it lies in the deployment's.
        show: see `submit`.
        deployment: its folder; by default the one that the run's lies in.
        changes: of the run's configuration.
    """
    within = next((above for above in folder.absolute().parents if Layout(above).is_deployment()), None)
    newest = newest_manifest(folder)
    if deployment is None and (newest.states is not None if newest else within is None):
        return None
    with report_at_end(folder), reopen(folder) as (run, checkpoint_folder):
        if checkpoint_folder.newest is not None and checkpoint_folder.newest.covers(run):
            return False
    if (folder_of_deployment := deployment or within) is None:
        raise UserError(f"{folder}: is a run of a deployment elsewhere, allowed: with --deployment DIR.")
    submit(Layout(folder_of_deployment.absolute()), run.model_copy(update=changes), show=show, resuming=True)
    return True


def name_by_data(layout: Layout, run: RunConfig) -> Path:
    """Return a new folder's name, which names the data only where it is known that no device has its own."""
    try:
        are_own = [node.data is not None for node in read_deployment(layout).nodes[: run.num_clients]]
    except UserError:  # of real hosts only each knows whether it has
        return folder_of(run, of="")
    if not any(are_own):
        return folder_of(run)
    return folder_of(run, of="own-data" if all(are_own) else f"own-data-and-{Path(run.dataset).stem}")


def _say(show: Callable[[str], None], algorithm: str, what: str) -> None:
    show(f"{algorithm} {what}")


def count_nodes(layout: Layout, *states: str) -> int:
    """Return how many nodes the SuperLink knows, those in `states` if any are given."""
    if not layout.is_deployment():
        raise UserError(f"{layout.folder}: holds no deployment, allowed: a folder of fedsieve deploy keys or up.")
    if (trial := node_states(layout)) is not None:
        return sum(state.link.startswith(states or "") for state in trial)
    return sum(link.status in states if states else link.status != "unregistered" for link in list_nodes(layout))


def write_app(folder: Path, run: RunConfig, client_app: str = CLIENT_APP) -> None:
    """Write a Flower app that names this package's two apps and holds the run's keys, all of them resolved."""
    config = run.model_dump(by_alias=True) | {"algorithm-config": ""}
    config |= {section_of(run.algorithm): run.settings.model_dump(by_alias=True)}
    app = {
        "publisher": "fedsieve",
        "flwr-version-target": version("flwr"),
        "components": {"serverapp": SERVER_APP, "clientapp": client_app},
        "config": {key: value for key, value in config.items() if value != {}},
    }
    project = {
        "name": "fedsieve-run",
        "version": version("fedsieve"),
        "description": "A run of FedSieve; the code is in the installed package",
        "license": {"file": "LICENSE"},
        "dependencies": [f"flwr>={version('flwr')}"],
    }
    (folder / "pyproject.toml").write_text(tomli_w.dumps({"project": project, "tool": {"flwr": {"app": app}}}))
    (folder / "LICENSE").write_text("Apache-2.0\n")


@dataclass
class _Log:
    """What has been read of a run's log: up to which moment, and a line that has not ended yet."""

    until: float = 0.0
    begun: str = ""


_AWAITED = {
    "pending": "the SuperExec to begin it",
    "starting": "its ServerApp, which loads its libraries",
    "running": "its ServerApp, which loads its libraries",
}
"""What a run waits for, by its stage, before it writes its first line."""


def _follow(
    layout: Layout, run_id: int, show: Callable[[str], None], say: Callable[[str], None] = lambda _: None
) -> RunStatus:
    """Show the run's log until it has ended, also if the SuperLink is started again meanwhile, and return how.

    Args:
        layout: of the deployment.
        run_id: Flower's.
        show: told each line of the log.
        say: told what is waited for before there is a log.
    """
    log, away_since, began, said = _Log(), None, time.monotonic(), ""
    while True:
        try:
            status, away_since = read_status(layout, run_id), None
            if (awaited := _AWAITED.get(status.stage, said)) != said:
                said = awaited
                say(f"waits for {awaited}")
            if status.stage != "pending":
                _stream(layout, run_id, log, show)
        except RunFailedError:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > AWAY:
                raise
        else:
            if status.stage == "finished":
                return status
            if status.stage == "pending" and time.monotonic() - began > UNBEGUN:
                stop_run(layout, run_id)
                raise RunFailedError(f"nothing has begun the run in {UNBEGUN:g} seconds: is a SuperExec running?")
        time.sleep(PAUSE)


def _wait_until_left(folder: Path) -> None:
    """Wait until a ServerApp that was stopped has left what it has reached, but no longer than `LEAVING`."""
    until = time.monotonic() + LEAVING
    while folder.exists() and time.monotonic() < until:
        with suppress(UserError), lock_run(folder):
            return
        time.sleep(PAUSE / 10)


def _stream(layout: Layout, run_id: int, log: _Log, show: Callable[[str], None]) -> None:
    """Show the lines of the run's log that `log` has not yet, until the run ends."""
    for text, moment in stream_log(layout, run_id, log.until):
        log.until = moment
        *lines, log.begun = (log.begun + text).split("\n")
        for line in lines:
            show(line.rstrip())

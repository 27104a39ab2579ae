"""The command line: parses, calls, prints."""

import json
import logging
import os
import shlex
import signal
import sys
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fedsieve import options
from fedsieve.errors import RunFailedError, UserError
from fedsieve.paths import expand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from fedsieve.config import RunConfig
    from fedsieve.deploy.trial import State

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

deploy = typer.Typer(no_args_is_help=True, help="Run on SuperLink and SuperNodes over gRPC, here or on real hosts.")
app.add_typer(deploy, name="deploy")

DeploymentFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The deployment's folder.", show_default=False, file_okay=False)
]

USER_ERROR, FAILED, INTERRUPTED = 2, 1, 130
PIPED_WIDTH = 200
TEXT = "text"
CLIENTS_SHOWN, CLASSES_SHOWN = 30, 12


def _print_version(wanted: bool) -> None:
    if wanted:
        from fedsieve import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Personalised federated learning: each client's own sparse model, sieved out of a shared one."""


@app.command(cls=options.KeyedCommand)
def run(
    context: typer.Context,
    files: options.Files = None,
    assignments: options.Assignments = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the complete configuration and, on standard error, the clients and sizes; run nothing.",
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Run one simulation; flags override -s, and both override the file."""
    _set_up_log(quiet)
    from fedsieve.config import check_read, parse
    from fedsieve.networks import check_fits

    parsed = parse(_read_keys("run", files, assignments, context.obj))
    check_read(parsed)
    check_fits(parsed.model, parsed.dataset)
    if dry_run:
        typer.echo(parsed.toml(), nl=False)
        if not quiet:
            _show_preview(parsed)
        return
    from fedsieve.runs.folder import folder_of
    from fedsieve.simulations import simulate

    parsed = parsed.model_copy(update={"out": str(folder_of(parsed))})
    with _say_how_to_resume(Path(parsed.out)), _keep_stdout_for_result(as_json):
        simulate(parsed, quiet=quiet)
    _print_result(Path(parsed.out), as_json=as_json)


@app.command(cls=options.ResumeCommand)
def resume(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.", show_default=False)],
    deployment: Annotated[
        Path | None,
        typer.Option(help="Folder of the deployment that runs it, unless the run lies in it.", show_default=False),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Resume a run that was interrupted or killed, from its newest checkpoint to its end."""
    _set_up_log(quiet)
    from fedsieve.deploy.submit import resume as resume_deployed
    from fedsieve.simulations import resume as resume_simulated

    deployment = None if deployment is None else expand(deployment)
    with _say_how_to_resume(folder), _keep_stdout_for_result(as_json):
        done = resume_deployed(folder, deployment=deployment, show=_make_printer(quiet or as_json), changes=context.obj)
        if done is None:
            done = resume_simulated(folder, quiet=quiet, changes=context.obj)
    if not (done or as_json):
        typer.echo("The run has finished: there is nothing to resume.")
    _print_result(folder, as_json=as_json)


@app.command()
def sweep(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="An experiment file, or one of: fedsieve list experiments.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Where the runs lie.", show_default="runs/<name of FILE>")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once, each on one thread.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and how far they are; run nothing.")
    ] = False,
    table: Annotated[bool, typer.Option("--table", help="Make the table of what has ended; run nothing.")] = False,
    wanted: options.TableFormat = TEXT,
    quiet: options.Quiet = False,
) -> None:
    """Run what an experiment file asks for and has not been run yet, and make its table."""
    _set_up_log(quiet)
    from fedsieve.reports.formats import Format
    from fedsieve.simulations.combinations import expand_experiment, layout_of
    from fedsieve.simulations.experiment import find, read_experiment
    from fedsieve.simulations.experiment_table import ExperimentTable, check_tables, write_table
    from fedsieve.simulations.sweep import Standing, read_standing, read_standing_or_other
    from fedsieve.simulations.sweep import sweep as run_all

    path = find(experiment)
    asked = read_experiment(path)
    points = expand_experiment(asked, path)
    out = Path("runs") / path.stem if out is None else expand(out)
    if dry_run:
        for point in points:
            typer.echo(f"{out / point.name}: {read_standing_or_other(point, out / point.name).value}")
        return
    check_tables(out)
    try:
        failed = {} if table else run_all(points, out, jobs=jobs, quiet=quiet)
    except KeyboardInterrupt:
        _leave("interrupted; the same command resumes the sweep", INTERRUPTED)
    folders = {point.name: out / point.name for point in points}
    finished = {point.name: folders[point.name] for point in points
                if read_standing(point, folders[point.name]) is Standing.DONE}  # fmt: skip
    made = ExperimentTable(layout_of(asked, points), points, finished)
    paths = write_table(made, out, asked.title, f"fedsieve sweep {experiment}", asked.seeds, finished)
    if wanted == TEXT:
        for part in made.rich():
            _make_console(stderr=False).print(part)
    else:
        typer.echo(made.format(Format(wanted)))
    missing = len(points) - len(finished)
    typer.echo(
        f"The table is in {' and '.join(map(str, paths))}"
        + f"; {missing} of {len(points)} runs are missing." * bool(missing),
        err=wanted != TEXT,
    )
    if failed:
        faults = "; ".join(f"{name}: {fault.rstrip('.')}" for name, fault in failed.items())
        raise RunFailedError(f"{len(failed)} of {len(points)} runs failed: {faults}.")


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="algorithms, datasets, partitions, models, masks, pruners, trackers, experiments")
    ],
) -> None:
    """List what can be named on the command line, with one line on each."""
    from rich.console import Console

    if what not in CATALOGUES:
        raise UserError(f"list: got {what!r}, allowed: {', '.join(CATALOGUES)}.")
    entries = CATALOGUES[what]()
    width = max(map(len, entries))
    for name, summary in entries.items():
        Console(highlight=False, markup=False).print(f"{name:{width}}  {summary}", soft_wrap=True)


@app.command(cls=options.PartitionCommand)
def partition(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A name or a path, as --dataset.")],
    out: Annotated[Path, typer.Option(help="A new folder for the clients' files.", show_default=False)],
    assignments: options.Assignments = None,
    quiet: options.Quiet = False,
) -> None:
    """Write what each client would hold, a file a client, which --partition given and devices read back."""
    _set_up_log(quiet)
    from fedsieve.config import check_read, parse

    parsed = parse(_read_keys("partition", None, assignments, context.obj) | {"dataset": dataset})
    check_read(parsed)

    from fedsieve.client.app.parts import write_parts

    files = write_parts(parsed, expand(out))
    typer.echo(f"{out} has a file for each of {len(files)} clients, {files[0].name} first. Next:")
    typer.echo(f"  fedsieve run --dataset {shlex.quote(str(out))} --partition given")


@app.command("new-plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(help="The algorithm's name, such as my-algorithm.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The package's folder.", show_default="NAME")] = None,
) -> None:
    """Write a small package of an algorithm of your own, which works at once and is there to be changed."""
    from fedsieve.new_plugin import new_plugin as write

    folder = Path(name) if out is None else expand(out)
    for file in write(name, folder):
        typer.echo(f"  {folder / file}")
    typer.echo(f"A package of the algorithm {name} is in {folder}. Next:")
    typer.echo(f"  pip install -e '{folder}[test]'")
    typer.echo(f"  fedsieve run --algorithm {name} --dataset digits --num-rounds 10")
    typer.echo(f"  pytest {folder}")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs.", show_default=False)],
    local: Annotated[
        Path | None,
        typer.Option(help="A local-only run, against which each client's accuracy is shown.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page that compares several runs.", show_default="comparison.html")
    ] = None,
    wanted: options.TableFormat = TEXT,
) -> None:
    """Write a run's report.html and figures/ again; of several, compare them in a table and on a page too."""
    from fedsieve.reports.command import report as write
    from fedsieve.reports.formats import Format

    local, out = (None if path is None else expand(path) for path in (local, out))
    show = partial(typer.echo, err=wanted != TEXT)
    write(folders, local, out, show=show, console=_make_console(stderr=False), wanted=Format(wanted))


@app.command("runs")
def list_runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder below which runs lie.", show_default="runs")
    ] = Path("runs"),
    sort: Annotated[
        str, typer.Option(help="A key, or a figure of summary.json.", show_default="test_accuracy, the best first")
    ] = "",
    wanted: options.TableFormat = TEXT,
) -> None:
    """List all runs below a folder as one table: what each has reached, and the keys in which they differ."""
    from fedsieve.reports.formats import Format, format_tables
    from fedsieve.reports.overview import draw, find_runs
    from fedsieve.reports.overview import list_runs as tabulate

    folder = expand(folder)
    runs, unreadable = find_runs(folder)
    table = tabulate(runs, sort, unreadable, root=folder)
    if wanted == TEXT:
        _make_console(stderr=False).print(draw(table))
    else:
        typer.echo(format_tables([table], Format(wanted)))


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A graph or images, as --dataset.", show_default=False)],
    client: Annotated[
        str | None, typer.Option(help="Whose model, a number or name.", show_default="the one that all clients share")
    ] = None,
    out: Annotated[Path, typer.Option(help="The table to write.", dir_okay=False)] = Path("predictions.csv"),
    force: Annotated[bool, typer.Option("--force", help="Replace the table if it exists.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add a column for each class.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict classes with a trained model, into a CSV file, and tell the accuracy where DATA has labels."""
    _set_up_log(quiet)
    from fedsieve.predictions import predict as predicted

    out = expand(out)
    prediction = predicted(folder, client, data, out, force=force, all_classes=probabilities)
    typer.echo(f"{out} has a line for each of {prediction.count:,} {prediction.noun}s.")
    if prediction.accuracy is not None:
        typer.echo(f"{100 * prediction.accuracy:.1f} % are right of the {prediction.labelled:,} that have a label.")


@deploy.command("keys")
def deploy_keys(
    folder: DeploymentFolder,
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes.", show_default=False)],
    san: Annotated[
        list[str] | None,
        typer.Option(help="A name or address of the server, besides localhost; repeatable.", show_default="none"),
    ] = None,
) -> None:
    """Write a CA, the server's certificate and a key pair for each node; what exists is never overwritten."""
    from fedsieve.deploy.keys import make_keys
    from fedsieve.deploy.layout import CONTROL_PORT, Layout, write_connection

    layout = Layout(folder.absolute())
    written = make_keys(layout.keys, nodes, san or ())
    if not (layout.flower / "config.toml").exists():
        write_connection(layout, CONTROL_PORT)
    typer.echo(f"{layout.keys} now holds {', '.join(written)}.")


@deploy.command("up")
def deploy_up(
    folder: DeploymentFolder,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Number of nodes.", show_default="as many as have keys, or 3")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A node's own graph or images; once for each node, in order.", show_default="dealt by the run"
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for all to come up.")] = 120.0,
) -> None:
    """Start a SuperLink and SuperNodes on this machine, with TLS and node keys, and wait until all are online."""
    from fedsieve.deploy.layout import Layout
    from fedsieve.deploy.trial import up

    with _make_console(stderr=True).status("starting") as status:
        programs = up(
            Layout(folder.absolute()),
            nodes,
            data or (),
            timeout=timeout,
            progress=lambda what: status.update(f"waiting for {what}"),
        )
    _show_states(programs)


@deploy.command("status")
def deploy_status(folder: DeploymentFolder) -> None:
    """Show what runs, and what the SuperLink says of the nodes; exit code 1 unless all is well."""
    from fedsieve.deploy.layout import Layout
    from fedsieve.deploy.trial import is_healthy, states

    programs = states(Layout(folder.absolute()))
    _show_states(programs)
    if not is_healthy(programs):
        raise typer.Exit(FAILED)


@deploy.command("down")
def deploy_down(folder: DeploymentFolder) -> None:
    """End exactly the processes that `deploy up` has started; keys, runs and logs stay."""
    from fedsieve.deploy.layout import Layout, read_deployment
    from fedsieve.deploy.trial import down

    layout = Layout(folder.absolute())
    read_deployment(layout)
    ended = down(layout)
    typer.echo(f"{ended} programs of {folder} have ended." if ended else f"Nothing of {folder} was running.")


@deploy.command("run", cls=options.DeployedCommand)
def deploy_run(
    context: typer.Context,
    folder: DeploymentFolder,
    files: options.Files = None,
    assignments: options.Assignments = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Run on the deployment's nodes, all of them by default; the run's folder is under DIR/runs, on its machine."""
    _set_up_log(quiet)
    from fedsieve.config import check_read, parse

    values = _read_keys("deploy run", files, assignments, context.obj)
    check_read(parse(values))  # a mistake is found at once

    from fedsieve.deploy.layout import Layout
    from fedsieve.deploy.submit import count_nodes, submit
    from fedsieve.runs.folder import folder_of

    layout = Layout(folder.absolute())
    parsed = parse(values if "num-clients" in values else values | {"num-clients": max(1, count_nodes(layout))})
    place = Path(parsed.out).absolute() if parsed.out else layout.folder / folder_of(parsed)
    with _say_how_to_resume(place), _keep_stdout_for_result(as_json):
        submit(layout, parsed.model_copy(update={"out": str(place)}), show=_make_printer(quiet or as_json))
    _print_result(place, as_json=as_json)


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2, SIGTERM is taken as Ctrl-C."""
    import click

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _leave(str(error), USER_ERROR)
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        _leave(" ".join(error.format_message().split()), error.exit_code)
    except RunFailedError as error:
        _leave(str(error), FAILED)
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # which Typer returns for Ctrl-C, without a word
        _leave("interrupted", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _list_algorithms() -> dict[str, str]:
    from fedsieve.algorithms import ENTRY_POINTS, all_algorithm_names, load_algorithm

    return _list_entries(ENTRY_POINTS, all_algorithm_names(), lambda name: load_algorithm(name).summary)


def _list_datasets() -> dict[str, str]:
    from fedsieve.catalogue import GRAPHS, IMAGES

    graphs = {name: f"graph: {summary}" for name, summary in GRAPHS.items()}
    return graphs | {name: f"images: {summary}" for name, summary in IMAGES.items()}


def _list_partitions() -> dict[str, str]:
    from fedsieve.catalogue import GRAPH_PARTITIONS, IMAGE_PARTITIONS, OWN_PARTITIONS

    either = {name: f"either: {summary}" for name, summary in OWN_PARTITIONS.items()}
    graphs = {name: f"graph: {summary}" for name, summary in GRAPH_PARTITIONS.items()}
    return graphs | {name: f"images: {summary}" for name, summary in IMAGE_PARTITIONS.items()} | either


def _list_models() -> dict[str, str]:
    from fedsieve.catalogue import GRAPH_MODELS, IMAGE_MODELS

    graphs = {name: f"graph: {summary}" for name, summary in GRAPH_MODELS.items()}
    images = {name: f"images: {summary}" for name, summary in IMAGE_MODELS.items()}
    users_own = {"my_package.my_module:my_function": "your own: a function that makes it, or a class"}
    return graphs | images | users_own


def _list_masks() -> dict[str, str]:
    from fedsieve.masks.family import family_names, load_family
    from fedsieve.masks.names import FAMILIES

    return _list_entries(FAMILIES, family_names(), lambda name: load_family(name).summary)


def _list_pruners() -> dict[str, str]:
    from fedsieve.masks.names import PRUNERS
    from fedsieve.masks.pruning import load_pruner, pruner_names

    return _list_entries(PRUNERS, pruner_names(), lambda name: (load_pruner(name).__doc__ or "").partition("\n")[0])


def _list_trackers() -> dict[str, str]:
    from fedsieve.keys import TRACKERS
    from fedsieve.plugins import names
    from fedsieve.server.tracking import load_tracker

    return _list_entries(TRACKERS, names(TRACKERS), lambda name: (load_tracker(name).__doc__ or "").partition("\n")[0])


def _list_entries(group: str, names: "Sequence[str]", summary: "Callable[[str], str]") -> dict[str, str]:
    """Return the line on each: a plug-in's names its package, and one that is broken does not hide the others."""
    from fedsieve.plugins import plugin_of

    lines = {}
    for name in names:
        try:
            package = plugin_of(group, name.partition(":")[0])
            lines[name] = summary(name) if package is None else f"{summary(name)} [{package}]"
        except UserError as error:
            lines[name] = f"cannot be used: {error}"
    return lines


def _list_experiments() -> dict[str, str]:
    from fedsieve.simulations.experiment import summarise_built_in

    return summarise_built_in()


CATALOGUES = {
    "algorithms": _list_algorithms,
    "datasets": _list_datasets,
    "partitions": _list_partitions,
    "models": _list_models,
    "masks": _list_masks,
    "pruners": _list_pruners,
    "trackers": _list_trackers,
    "experiments": _list_experiments,
}


def _read_keys(
    command: str, files: "Sequence[str] | None", assignments: "Sequence[str] | None", flags: dict[str, Any]
) -> dict[str, Any]:
    """Return the keys that the user gives: flags override -s, and both override the file."""
    from fedsieve.config import dotted, parse_assignment, read

    assigned = dict(parse_assignment(text) for text in assignments or [])
    file = options.file_of(command, files or [])
    return (dotted(read(file)) if file is not None else {}) | assigned | flags


@contextmanager
def _say_how_to_resume(folder: Path) -> "Iterator[None]":
    """Say at Ctrl-C how the run in `folder` is resumed, if it has begun."""
    try:
        yield
    except KeyboardInterrupt:
        begun = (folder / "config.toml").exists()
        _leave("interrupted" + f"; resume it with: fedsieve resume {shlex.quote(str(folder))}" * begun, INTERRUPTED)


@contextmanager
def _keep_stdout_for_result(as_json: bool) -> "Iterator[None]":
    """Under --json, have on standard error what a network of the user's or a library prints meanwhile."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(out, 1)
        os.close(out)


def _make_printer(quiet: bool) -> "Callable[[str], None]":
    """Return what shows a line of a deployed run."""
    return lambda line: None if quiet else typer.echo(line, err=True)


def _print_result(folder: Path, *, as_json: bool) -> None:
    """Print what a run has reached."""
    from fedsieve.reports.compare import tabulate_comparison
    from fedsieve.reports.settings import group_by_setting
    from fedsieve.runs.reading import read_run, read_summary

    if as_json:
        typer.echo(json.dumps(read_summary(folder), indent=2))
        return
    _make_console(stderr=False).print(tabulate_comparison(group_by_setting([read_run(folder)])))
    typer.echo(f"The run is in {folder}.")


def _show_preview(run: "RunConfig") -> None:
    """Show on standard error what a run would be on."""
    from rich.table import Column, Table
    from rich.text import Text

    from fedsieve.reports.words import format_bytes, format_count
    from fedsieve.simulations.preview import preview

    shown = preview(run)
    console = _make_console(stderr=True)
    by_class = len(shown.classes) <= CLASSES_SHOWN
    head = ["client", "training", "validation", "testing", *(shown.classes if by_class else ["classes"])]
    table = Table(*(Column(Text(name)) for name in head), title="Clients: examples, and how many of each class")
    for name, counts, labels in list(zip(shown.names, shown.counts, shown.labels, strict=True))[:CLIENTS_SHOWN]:
        each = labels if by_class else [sum(count > 0 for count in labels)]
        table.add_row(Text(name), *(f"{count:,}" for count in (*counts, *each)))
    console.print(table)
    if len(shown.names) > CLIENTS_SHOWN:
        typer.echo(f"and {len(shown.names) - CLIENTS_SHOWN:,} more", err=True)
    held = sum(map(sum, shown.counts))
    typer.echo(f"{format_count(len(shown.names), 'client')}, {format_count(held, 'example')}", err=True)
    typer.echo(f"{run.model}: {format_count(shown.parameters, 'parameter')}", err=True)
    sent = f"{format_bytes(shown.downlink)} to a client and at most {format_bytes(shown.uplink)} back"
    typer.echo(f"a round: {sent}, before training has changed either", err=True)
    needed = f"{format_bytes(shown.data_bytes)} for the data and {format_bytes(shown.training_bytes)} for a client's"
    typer.echo(f"memory: {needed} weights, gradients and optimiser", err=True)


def _show_states(programs: "Sequence[State]") -> None:
    from rich.table import Table

    from fedsieve.deploy.layout import describe_node_and_client

    table = Table("program", "process", "running since", "starts", "state")
    for state in programs:
        since = "" if state.since is None else f"{datetime.fromtimestamp(state.since, UTC):%Y-%m-%d %H:%M:%SZ}"
        pid = "" if state.pid is None else str(state.pid)
        name = describe_node_and_client(state.name) if state.name.startswith("node-") else state.name
        table.add_row(name, pid, since, str(state.starts), state.link)
    _make_console(stderr=False).print(table)


def _set_up_log(quiet: bool) -> None:
    from rich.logging import RichHandler

    handler = RichHandler(console=_make_console(stderr=True), show_time=False, show_path=False, markup=False)
    log = logging.getLogger("fedsieve")
    log.handlers = [handler]
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    log.propagate = False


def _make_console(*, stderr: bool) -> "Console":
    """Return a console as wide as the terminal, and wide where the output is piped, so that lines stay whole."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PIPED_WIDTH)


def _leave(sentence: str, code: int) -> NoReturn:
    typer.echo(f"fedsieve: {sentence}", err=True)
    sys.exit(code)

"""The command line: parses, calls, prints."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedsieve.errors import RunFailedError, UserError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

USER_ERROR, FAILED, INTERRUPTED = 2, 1, 130
PIPED_WIDTH = 200


def _print_version(wanted: bool) -> None:
    if wanted:
        from fedsieve import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Personalised federated learning: each client's own sparse model, sieved out of a shared one."""


@app.command()
def run(
    config: Annotated[Path | None, typer.Argument(help="A TOML file of keys.", show_default=False)] = None,
    algorithm: Annotated[
        str | None, typer.Option(help="See: fedsieve list algorithms.", show_default="fed-pub")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A name, or your own graph or images.", show_default="digits-knn")
    ] = None,
    partition: Annotated[
        str | None, typer.Option(help="See: fedsieve list partitions.", show_default="metis; images: dirichlet")
    ] = None,
    num_clients: Annotated[int | None, typer.Option(help="Number of clients.", show_default="10")] = None,
    num_rounds: Annotated[int | None, typer.Option(help="Number of rounds.", show_default="100")] = None,
    fraction_train: Annotated[float | None, typer.Option(help="Clients sampled a round.", show_default="1.0")] = None,
    local_epochs: Annotated[
        int | None, typer.Option(help="Epochs a client trains in a round.", show_default="the algorithm's, mostly 1")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many rounds without a better validation accuracy.", show_default="never"),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="What runs the apps: inline, ray or flower.", show_default="inline")
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option(help="Worker processes of ray and flower.", show_default="one a CPU")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster to join: HOST:PORT or auto.", show_default="start one for the run")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")] = None,
    seed: Annotated[int | None, typer.Option(help="Every random draw derives from it.", show_default="42")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("-s", metavar="KEY=VALUE", help="Any key, for example -s fed-pub.tau=5; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="a new one under runs/")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json and nothing else.")] = False,
) -> None:
    """Run one simulation; flags override -s, and both override the file."""
    flags = {
        "algorithm": algorithm,
        "dataset": dataset,
        "partition": partition,
        "num-clients": num_clients,
        "num-rounds": num_rounds,
        "fraction-train": fraction_train,
        "local-epochs": local_epochs,
        "patience": patience,
        "engine": engine,
        "num-workers": num_workers,
        "ray-address": ray_address,
        "device": device,
        "seed": seed,
        "out": None if out is None else str(out),
    }
    _set_up_log(quiet)
    from fedsieve.config import parse, parse_assignment, read

    values = read(config) if config is not None else {}
    values = _merged(values, dict(parse_assignment(text) for text in assignments or []))
    values = _merged(values, {key: value for key, value in flags.items() if value is not None})
    parsed = parse(values)

    from fedsieve.simulations import simulate

    _tell(simulate(parsed, quiet=quiet), quiet, as_json)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.", show_default=False)],
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json and nothing else.")] = False,
) -> None:
    """Go on with a run that was interrupted or killed, from its newest checkpoint to its end."""
    _set_up_log(quiet)
    from fedsieve.simulations import resume as go_on

    if not go_on(folder, quiet=quiet) and not (quiet or as_json):
        typer.echo("The run has finished: there is nothing to resume.")
    _tell(folder, quiet, as_json)


def _tell(folder: Path, quiet: bool, as_json: bool) -> None:
    from fedsieve.reports.compare import comparison
    from fedsieve.server.run_folder import read_summary

    if as_json:
        typer.echo(json.dumps(read_summary(folder), indent=2))
    elif not quiet:
        _console(stderr=False).print(comparison([folder]))
        typer.echo(f"The run is in {folder}.")


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="algorithms, datasets, partitions or models")]) -> None:
    """List what can be named on the command line, with one line on each."""
    from rich.console import Console

    if what not in CATALOGUES:
        raise UserError(f"list: got {what!r}, allowed: {', '.join(CATALOGUES)}.")
    entries = CATALOGUES[what]()
    width = max(map(len, entries))
    for name, summary in entries.items():
        Console(highlight=False, markup=False).print(f"{name:{width}}  {summary}", soft_wrap=True)


@app.command()
def report(folders: Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False)]) -> None:
    """Compare runs in a table, and write each one's report.html anew."""
    from fedsieve.reports.compare import comparison
    from fedsieve.reports.page import report_page

    _console(stderr=False).print(comparison(folders))
    for folder in folders:
        try:
            (folder / "report.html").write_text(report_page(folder), encoding="utf-8")
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder}: report.html cannot be made from what the folder holds: {error}.") from error


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2."""
    import click

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
        _leave("interrupted", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _algorithms() -> dict[str, str]:
    from fedsieve.algorithm import algorithm_names, load_algorithm

    return {name: load_algorithm(name).summary for name in algorithm_names()}


def _datasets() -> dict[str, str]:
    from fedsieve.data import DATASETS
    from fedsieve.data.image_sets import IMAGE_DATASETS

    graphs = {name: f"graph: {entry.summary}" for name, entry in DATASETS.items()}
    return graphs | {name: f"images: {entry.summary}" for name, entry in IMAGE_DATASETS.items()}


def _partitions() -> dict[str, str]:
    from fedsieve.data import PARTITIONS
    from fedsieve.data.image_cuts import IMAGE_PARTITIONS

    graphs = {name: f"graph: {entry.summary}" for name, entry in PARTITIONS.items()}
    return graphs | {name: f"images: {entry.summary}" for name, entry in IMAGE_PARTITIONS.items()}


def _models() -> dict[str, str]:
    from fedsieve.models import MODELS

    own = {"my_package.my_module:my_function": "your own: a function of the input's shape and the number of classes"}
    return {name: f"{entry.kind}: {entry.summary}" for name, entry in MODELS.items()} | own


CATALOGUES = {"algorithms": _algorithms, "datasets": _datasets, "partitions": _partitions, "models": _models}


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` updated by `over`, tables flattened to dotted keys so that either spelling overrides the other."""
    return _dotted(base) | _dotted(over)


def _dotted(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            flat[key] = value
    return flat


def _set_up_log(quiet: bool) -> None:
    from rich.logging import RichHandler

    handler = RichHandler(console=_console(stderr=True), show_time=False, show_path=False, markup=False)
    log = logging.getLogger("fedsieve")
    log.handlers = [handler]
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    log.propagate = False


def _console(*, stderr: bool) -> "Console":
    """Return a console as wide as the terminal, and wide where the output is piped, so that lines stay whole."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PIPED_WIDTH)


def _leave(sentence: str, code: int) -> None:
    typer.echo(f"fedsieve: {sentence}", err=True)
    sys.exit(code)

"""`fedsieve.run` and `fedsieve.open`."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsieve.algorithms import Algorithm
from fedsieve.api.given import check_crosses, gather, let_workers_find
from fedsieve.api.results import Run
from fedsieve.api.scope import leave_as_it_was
from fedsieve.api.watching import OnRound, watch
from fedsieve.config import check_read, parse
from fedsieve.paths import expand
from fedsieve.runs.folder import folder_of
from fedsieve.simulations import simulate

if TYPE_CHECKING:
    from torch import nn
    from torch_geometric.data import Data

    from fedsieve.strategy import FederatedStrategy


def run(
    algorithm: "str | type[FederatedStrategy] | Algorithm | None" = None,
    dataset: "str | Path | Data | list[Data] | None" = None,
    model: "str | type[nn.Module] | Callable[..., nn.Module] | None" = None,
    *,
    settings: Mapping[str, Any] | None = None,
    on_round: OnRound | Iterable[OnRound] = (),
    quiet: bool = False,
    **keys: Any,
) -> Run:
    """Run one simulation to its end and return it; docs/python.md has examples.

    Args:
        algorithm: a name, or your own: a strategy's class that names its `trainer`, or an `Algorithm`.
        dataset: a name, a path, a graph, or a list of graphs, one a client.
        model: a name, or the class or function that makes your own network.
        settings: the algorithm's own keys, `{"tau": 5}` for `fed-pub.tau`.
        on_round: called with each finished round, a dict as in `rounds.jsonl`; one that returns True stops the run.
        quiet: show no progress on standard error.
        keys: any key of a run (docs/configuration.md), `num_clients=10` for `num-clients`; None leaves it open.

    Raises:
        UserError: what was given cannot be run; one sentence.
        RunFailedError: the run could not continue; what it has reached is in its folder.
    """
    watchers = watch(on_round)
    with leave_as_it_was():
        parsed = parse(gather(algorithm, dataset, model, settings, keys))
        check_read(parsed)
        check_crosses(parsed)
        let_workers_find(parsed)
        folder = folder_of(parsed).absolute()
        try:
            simulate(parsed.model_copy(update={"out": str(folder)}), quiet=quiet, watchers=watchers)
        except KeyboardInterrupt as error:
            error.add_note(f"The run so far is in {folder}; fedsieve.open({str(folder)!r}).resume() resumes it.")
            raise
    return Run(folder)


def open(path: str | Path) -> Run:
    """Return the run in a folder, whether it has ended or not.

    Raises:
        UserError: the folder is not that of a run.
    """
    return Run(expand(path))

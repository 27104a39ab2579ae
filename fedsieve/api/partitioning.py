"""`fedsieve.partition`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsieve.api.given import gather
from fedsieve.api.scope import leave_as_it_was
from fedsieve.client.app.parts import write_parts
from fedsieve.config import check_read, parse
from fedsieve.paths import expand

if TYPE_CHECKING:
    from torch_geometric.data import Data


def partition(dataset: "str | Path | Data | list[Data]", out: str | Path, **keys: Any) -> list[Path]:
    """Write what each client would hold into a new folder, and return the files in the clients' order.

    `fedsieve.run` takes the folder with `partition="given"`, and a device takes a file.

    Args:
        dataset: as of `fedsieve.run`.
        out: the folder.
        keys: those that say how data are dealt, `partition="louvain"`, `num_clients=10`, `seed=1`.

    Raises:
        UserError: the data cannot be dealt so, or the folder is not empty or cannot be written.
    """
    with leave_as_it_was():
        parsed = parse(gather(None, dataset, None, None, keys))
        check_read(parsed)
        return write_parts(parsed, expand(out).absolute())

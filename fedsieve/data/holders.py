"""How many clients the data themselves name."""

from fedsieve.data.columns import CLIENT
from fedsieve.data.given import lie_apart, list_given
from fedsieve.data.graphs import find_node_holders, graph_arrays
from fedsieve.data.image_sets import load_images
from fedsieve.data.own_images import Columns
from fedsieve.errors import UserError
from fedsieve.kinds import tell_kind
from fedsieve.user_data import is_function


def count_clients(dataset: str, partition: str, column: str, image_column: str = "", label_column: str = "") -> int:
    """Return the number of clients of the partition `given` or, by `column`, `natural`.

    Raises `UserError` when the data cannot be read or name no client.
    """
    if partition == "given" and lie_apart(dataset):
        return len(list_given(dataset))
    column = CLIENT if partition == "given" else column
    if tell_kind(dataset) == "graph":
        return len(find_node_holders(dataset, column, graph_arrays(dataset, column)).names)
    if is_function(dataset):
        raise UserError(
            f"dataset: got {dataset!r}, which returns images without columns, allowed: a list, one a client."
        )
    holders = load_images(dataset, column=column, columns=Columns(image_column, label_column)).holders
    assert holders is not None
    return len(holders.names)

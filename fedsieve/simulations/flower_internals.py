"""The two symbols of Flower's that a Grid needs and that are not public; a test names them."""

from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

SUPERLINK_NODE_ID = 1
"""Flower's own id for the sender of the server's messages."""


def take_identity(run_id: int) -> Run:
    """Let this process create messages as the server of run `run_id`, and return that run."""
    TaskIdentity.task_id = run_id
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = SUPERLINK_NODE_ID
    return Run.create_empty(run_id)

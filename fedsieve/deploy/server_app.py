"""The ServerApp of a deployment: the one ServerApp, over a Grid that looks for replies often, its log for the user."""

import logging
import os
import sys
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.superlink.grid import http_grid

from fedsieve.deploy.arrivals import make_checked_pull
from fedsieve.deploy.layout import Layout, describe_node_and_client, read_registered
from fedsieve.server.app import make_server_app
from fedsieve.server.polling import PollingGrid

INTERVAL = 0.2
"""Seconds between two looks for replies."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the one ServerApp; what the user is to see begins with the algorithm's name, as the progress does."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{context.run_config['algorithm']} %(levelname)s: %(message)s"))
    log = logging.getLogger("fedsieve")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    polling = PollingGrid(grid, INTERVAL)
    http_grid.pull_objects = make_checked_pull(  # type: ignore[attr-defined]
        pull_objects, polling.time_left, lambda: polling.largest
    )
    here = Layout(Path(os.environ.get("FLWR_HOME", "")).parent)
    names = {node_id: describe_node_and_client(name) for name, node_id in read_registered(here).items()}
    make_server_app(engine="deployment", export=False, names=names)(polling, context)

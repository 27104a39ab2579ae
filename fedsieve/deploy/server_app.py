"""The ServerApp of a deployment: the one ServerApp, over a Grid that looks for replies often, its log for the user."""

import logging
import sys

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

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
    make_server_app(engine="deployment", export=False)(PollingGrid(grid, INTERVAL), context)

"""The ServerApp of `flwr run .`: the one ServerApp, and the report, which nobody else is there to draw."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedsieve.config import parse_flower
from fedsieve.reports.ending import report_at_end
from fedsieve.runs.folder import folder_of
from fedsieve.server.app import make_server_app

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the one ServerApp in the folder that the run config names, or in a new one."""
    folder = folder_of(parse_flower(context.run_config))
    context.run_config["out"] = str(folder)
    with report_at_end(folder):
        make_server_app(engine="flower", export=False)(grid, context)

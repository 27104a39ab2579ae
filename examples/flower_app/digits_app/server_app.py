"""The ServerApp."""

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from digits_app.task import Net
from fedsieve.strategies import FedPub

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the strategy, and save the final model."""
    config = context.run_config
    strategy = FedPub(fraction_evaluate=config["fraction-evaluate"], tau=5.0)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        num_rounds=config["num-server-rounds"],
    )
    torch.save(result.arrays.to_torch_state_dict(), config["model"])

"""The flags that `run` and `deploy run` share."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Argument(help="A TOML file of keys.", show_default=False)]
Algorithm = Annotated[str | None, typer.Option(help="See: fedsieve list algorithms.", show_default="fed-pub")]
Dataset = Annotated[str | None, typer.Option(help="A name, or your own graph or images.", show_default="digits-knn")]
Partition = Annotated[
    str | None, typer.Option(help="See: fedsieve list partitions.", show_default="metis; images: dirichlet")
]
NumClients = Annotated[int | None, typer.Option(help="Number of clients.", show_default="10; deployed: all nodes")]
NumRounds = Annotated[int | None, typer.Option(help="Number of rounds.", show_default="100")]
FractionTrain = Annotated[float | None, typer.Option(help="Clients sampled a round.", show_default="1.0")]
LocalEpochs = Annotated[
    int | None, typer.Option(help="Epochs a client trains in a round.", show_default="the algorithm's, mostly 1")
]
Patience = Annotated[
    int | None,
    typer.Option(help="Stop after so many rounds without a better validation accuracy.", show_default="never"),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")]
Seed = Annotated[int | None, typer.Option(help="Every random draw derives from it.", show_default="42")]
Assignments = Annotated[
    list[str] | None, typer.Option("-s", metavar="KEY=VALUE", help="Any key, for example -s fed-pub.tau=5; repeatable.")
]
Out = Annotated[Path | None, typer.Option(help="The run's folder.", show_default="a new one under runs/")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write event files into the run's folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print summary.json and nothing else.")]

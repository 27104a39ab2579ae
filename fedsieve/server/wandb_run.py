"""A run as one of Weights & Biases'."""

import os
from collections.abc import Sequence
from pathlib import Path

from fedsieve.config import RunConfig
from fedsieve.runs.rounds import Round
from fedsieve.server.event_files import make_points
from fedsieve.server.tracking import read_name, write_name


class WandbRun:
    """Weights & Biases: configuration, and metrics by round; WANDB_PROJECT, WANDB_MODE=offline.

    A run that is resumed is continued in the same run there; what it had recorded of rounds that are run again is left.

    Args:
        run: what is being run; its keys become the configuration.
        folder: the run's, in which `wandb/` is written.
        past: the rounds of a run that is resumed.
    """

    requires = "wandb"

    def __init__(self, run: RunConfig, folder: Path, past: Sequence[Round] = ()) -> None:
        import wandb  # takes seconds to import

        known = read_name(folder, "wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "fedsieve",
            id=known or None,
            resume="allow",
            name=folder.name,
            dir=str(folder),
            config=run.flat(),
            reinit="create_new",  # one of the caller's own stays the current one
            settings=wandb.Settings(console="off", silent=True),
        )
        if not known:
            write_name(folder, "wandb", str(self._run.id))
        for round_ in () if known else past:
            self.round_finished(round_)

    def round_finished(self, round_: Round) -> None:
        """Record the round, unless it is there."""
        if not round_.for_metric_only and round_.number >= self._run.step:
            self._run.log(make_points(round_), step=round_.number)

    def close(self, ended: str) -> None:
        """Record how the run has ended."""
        self._run.summary["ended"] = ended
        self._run.finish(exit_code=0 if ended in {"finished", "stopped"} else 1)

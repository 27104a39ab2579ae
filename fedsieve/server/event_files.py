"""A run's rounds as TensorBoard's event files."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fedsieve.config import RunConfig
from fedsieve.errors import UserError
from fedsieve.runs.layout import RunLayout
from fedsieve.runs.rounds import Round

MEANS = {
    "accuracy/validation": "val-accuracy",
    "accuracy/test": "test-accuracy",
    "accuracy/test as received": "received-test-accuracy",
    "loss/training": "train-loss",
}
"""The metric of each tag that is a mean over all clients heard of, each with that of its last training."""


SPARSITY = "mask-sparsity"
"""Metric, of a round's own clients alone, where an algorithm has one."""


class EventFiles:
    """TensorBoard's event files: scalars by round in the run's folder `tensorboard/`.

    A run that is resumed starts its event files again, with the rounds that it has behind it, so that no point is there
    twice; those rounds' times are as if the run had not been interrupted.

    Args:
        run: what is being run; its keys become hyperparameters.
        folder: the run's.
        past: the rounds of a run that is resumed.

    Raises:
        UserError: the folder cannot be written.
    """

    requires = "tensorboard"

    def __init__(self, run: RunConfig, folder: Path, past: Sequence[Round] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        target = RunLayout(folder).tensorboard

        try:
            for old in target.glob("events.out.tfevents.*"):
                old.unlink()
            # purge_step: a TensorBoard that has read the old files lets their points go
            self._writer = SummaryWriter(str(target), purge_step=1 if past else None)
        except OSError as error:
            raise UserError(f"out: {target} cannot be written: {error.strerror}.") from error
        self._add_settings(run)
        left = sum(round_.seconds for round_ in past)
        now = time.time()
        for round_ in past:
            left -= round_.seconds
            self._add(round_, now - left)
        self._writer.flush()

    def round_finished(self, round_: Round) -> None:
        """Write the round's points, so that they can be looked at at once; a round for the metric only has none."""
        self._add(round_, time.time())
        self._writer.flush()

    def close(self, ended: str) -> None:
        """Write what is left."""
        self._writer.close()

    def _add(self, round_: Round, at: float) -> None:
        if round_.for_metric_only:
            return
        for tag, value in make_points(round_).items():
            self._writer.add_scalar(tag, value, round_.number, walltime=at)

    def _add_settings(self, run: RunConfig) -> None:
        """Let TensorBoard's page of hyperparameters compare runs by their keys."""
        from torch.utils.tensorboard.summary import hparams

        metrics: dict[str, Any] = dict.fromkeys(MEANS)
        writer: Any = self._writer.file_writer
        for summary in hparams(run.flat(), metrics):  # type: ignore[no-untyped-call]
            writer.add_summary(summary)


def make_points(round_: Round) -> dict[str, float]:
    """Return the value of each tag."""
    values = {tag: round_.means[metric] for tag, metric in MEANS.items() if metric in round_.means}
    if sparsities := [reply.metrics[SPARSITY] for reply in round_.replies if SPARSITY in reply.metrics]:
        values["mask sparsity"] = fmean(sparsities)
    return values | {
        "bytes/up": sum(reply.uplink_bytes for reply in round_.replies),
        "bytes/down": sum(round_.downlink_bytes.values()),
        "clients/usable": len(round_.replies),
        "clients/left out": len(round_.rejected),
        "seconds": round_.seconds,
    }

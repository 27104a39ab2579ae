"""A run as one of MLflow's, where MLFLOW_TRACKING_URI says, or by default in a database beside the user."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from fedsieve.config import RunConfig
from fedsieve.runs.rounds import Round
from fedsieve.server.event_files import make_points
from fedsieve.server.tracking import read_name, write_name

LONGEST = 500
"""Characters of a parameter that every store takes."""

STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED"}


class MlflowRun:
    """MLflow: parameters, and metrics by round; MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME.

    A run that is resumed is continued in the same run of MLflow's, where that is still there, without a point twice.

    Args:
        run: what is being run; its keys become parameters.
        folder: the run's.
        past: the rounds of a run that is resumed.
    """

    requires = "mlflow"

    def __init__(self, run: RunConfig, folder: Path, past: Sequence[Round] = ()) -> None:
        from mlflow import MlflowClient  # takes seconds to import
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        self._client = MlflowClient()
        self._id, self._last = read_name(folder, "mlflow"), 0
        try:
            if self._id:
                self._client.update_run(self._id, status="RUNNING")
                history = self._client.get_metric_history(self._id, "seconds")
                self._last = max((point.step for point in history), default=0)
        except MlflowException:  # another store, or it was deleted there
            self._id = ""
        if not self._id:
            self._id = self._client.create_run(self._find_experiment(), run_name=folder.name).info.run_id
            params = [Param(key, str(value)[:LONGEST]) for key, value in run.flat().items() if value != ""]
            for start in range(0, len(params), 100):  # at most so many at once
                self._client.log_batch(self._id, params=params[start : start + 100])
            write_name(folder, "mlflow", self._id)
        for round_ in past:
            self.round_finished(round_)

    def round_finished(self, round_: Round) -> None:
        """Record the round, unless the store has it."""
        from mlflow.entities import Metric

        if round_.for_metric_only or round_.number <= self._last:
            return
        now = int(1000 * time.time())
        points = make_points(round_).items()
        self._client.log_batch(self._id, [Metric(tag, float(value), now, round_.number) for tag, value in points])
        self._last = round_.number

    def close(self, ended: str) -> None:
        """Record how the run has ended."""
        self._client.set_tag(self._id, "ended", ended)
        self._client.set_terminated(self._id, STATUS.get(ended, "FAILED"))

    def _find_experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "fedsieve"
        experiment = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if experiment is None else experiment.experiment_id)

"""MLflow: a run in the store of MLFLOW_TRACKING_URI, or in ``mlflow.db`` of the work directory."""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import Any

from foundationx.apps.trackers.base import Tracker, Values, flat
from foundationx.core.atomic_write import write_atomically

EXPERIMENT = "foundationx"
"""Experiment of a run unless MLFLOW_EXPERIMENT_NAME names one."""

MOST_PARAMS, LONGEST_PARAM = 100, 500
"""What a store takes: parameters per call, characters of one."""

UNWANTED = re.compile(r"[^\w\-. /]")
"""What a name of a metric must not hold."""


class MLflow(Tracker):
    """MLflow's client; of the library, the package ``mlflow-skinny`` suffices."""

    extra = "mlflow"
    client: Any
    run_id: str

    def load(self) -> None:
        """Imports the client."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a server that is away must not hold the run up
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        if self._is_local:
            import alembic
            import sqlalchemy

            assert alembic and sqlalchemy  # of the store in a file
        self._client_class, self._metric, self._param = MlflowClient, Metric, Param

    @property
    def _is_local(self) -> bool:
        return not os.environ.get("MLFLOW_TRACKING_URI")

    def open(self) -> set[tuple[str, int]]:
        """Finds the run by its tag, or begins it; what it holds is not added again."""
        root = self.folder.root.absolute()
        uri = f"sqlite:///{root / 'mlflow.db'}" if self._is_local else None
        self.client = self._client_class(tracking_uri=uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = self.client.get_experiment_by_name(experiment)
        artifacts = (root / "mlflow").as_uri() if self._is_local else None
        number = (
            known.experiment_id if known else self.client.create_experiment(experiment, artifact_location=artifacts)
        )
        path = self.folder.root / "mlflow_run.txt"
        tag = path.read_text().strip() if path.is_file() else ""
        found = self.client.search_runs([number], f"tags.foundationx_run = '{tag}'") if tag.isalnum() else []
        if found:
            self.run_id = found[0].info.run_id
            keys = found[0].data.metrics
            return {(key, row.step) for key in keys for row in self.client.get_metric_history(self.run_id, key)}
        tag = uuid.uuid4().hex
        write_atomically(path, tag + "\n")
        run = self.client.create_run(number, run_name=self.config.name, tags={"foundationx_run": tag})
        self.run_id = run.info.run_id
        self._add_parameters()
        return set()

    def _add_parameters(self) -> None:
        """The configuration as parameters of the run."""
        values = flat(self.config.model_dump(mode="json"))
        params = [self._param(UNWANTED.sub("_", key), str(value)[:LONGEST_PARAM]) for key, value in values.items()]
        for first in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(self.run_id, params=params[first : first + MOST_PARAMS])

    def add(self, values: Values, step: int) -> None:
        """Adds a value to each metric."""
        now = int(time.time() * 1000)
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def close(self) -> None:
        """Marks the run as finished; going on with it takes that back."""
        self.client.set_terminated(self.run_id)

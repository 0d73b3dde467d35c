"""A run of 16 steps, a row each, that a tracker follows: ``NAME FOLDER FIRST LAST [kill]``.

The steps after FIRST up to LAST are logged, as a run does that goes on from a checkpoint at FIRST; with ``kill`` the
process then ends as if it had been killed.
"""

import os
import sys
from pathlib import Path

from foundationx.apps.trackers import CloseTrackers, open_trackers
from foundationx.core.config.load import load_config
from foundationx.core.types import MetricRow, PhaseName, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.engine.hooks import LogRecord
from foundationx.engine.logs import JsonLog
from foundationx.engine.schedule.plan import Phase, Plan

KEY = TaskKey("films", Task.CLASSIFICATION)
LENGTH = 4  # steps of a visit


def plan_of_visits(visits=4):
    phases = [
        Phase(PhaseName.RELEASE, KEY, n + 1, n + 1, LENGTH * n, LENGTH, (), 0.0, None, True, True)
        for n in range(visits)
    ]
    return Plan(tuple(phases))


def metrics(step):
    value = step / 100
    rows = [("AUROC", "mean", value), ("AUROC", "mass", value), ("AUPRC", "mean", None)]
    return [MetricRow("films", "classification", *row, 9, "teacher", step // LENGTH, "val") for row in rows]


def follow(name, folder, first, last, kill):
    config = load_config(Path(__file__).with_name("tiny_config.py"), {"runtime.trackers": [name]})
    work_dir, plan, incidents = WorkDir(folder), plan_of_visits(), []
    work_dir.root.mkdir(exist_ok=True)
    trackers = open_trackers(config, work_dir, incidents.append)
    log = JsonLog(work_dir)
    hooks = [log, *trackers, CloseTrackers(trackers)]
    for hook in hooks:
        hook.on_start(plan, first)
    for step in range(first + 1, last + 1):
        phase = plan.phases[(step - 1) // LENGTH]
        for hook in hooks:
            hook.on_log(LogRecord(step, phase, {"task": 1 / step, "total": 2 / step}, 0.1, 8.0, 0.0))
        if step % LENGTH == 0:
            work_dir.add_metrics(metrics(step))
            for hook in hooks:
                hook.on_evaluation(metrics(step), step)
    if kill:
        for tracker in trackers:
            flush = getattr(getattr(tracker, "writer", None), "flush", lambda: None)
            flush()  # what TensorBoard's thread would have written by and by
        os._exit(9)
    for hook in hooks:
        hook.on_end(plan, True)
    print(len(incidents), "incidents", *incidents)


if __name__ == "__main__":
    follow(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), "kill" in sys.argv)

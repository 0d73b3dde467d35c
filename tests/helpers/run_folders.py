"""Folders as runs leave them, written by hand: no training."""

from __future__ import annotations

import json
from pathlib import Path


def log_row(step: int, head: str = "phantom_labels/classification", loss: float = 0.5, phase: str = "release", **more):
    """A row of ``log.jsonl``."""
    dataset, _, task = head.rpartition("/")
    row = {"step": step, "visit": 1, "cycle": 1, "dataset": dataset, "task": task, "phase": phase}
    return row | {"losses": {"task": loss}, "images_per_second": 20.0, "data_wait": 0.1} | more


def write_run(folder: Path, rows, complete: bool = False, **files) -> Path:
    """A run folder with these rows in its log.

    Args:
        folder: Folder to write.
        rows: Rows of the log.
        complete: Whether the run has come to its end.
        **files: Further files by their names without ``.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = {"name": folder.name, "started": "2026-01-02T03:04:05", "finished": None, "version": "1", "device": "cpu"}
    run |= {"parameters": {"backbone": 10, "heads": 5}, "complete": complete}
    plan = {"total_steps": 40, "visits": []}
    for index, (dataset, task) in enumerate([("phantom_labels", "classification"), ("phantom_boxes", "detection")]):
        first = 20 * index
        phases = [
            {"name": "lock", "first_step": first, "steps": 5},
            {"name": "release", "first_step": first + 5, "steps": 15},
        ]
        plan["visits"].append({"index": index, "cycle": 1, "dataset": dataset, "task": task, "phases": phases})
    values = {"run": run, "plan": plan, "config": {"runtime": {"batch_size": 8}}} | files
    for name, value in values.items():
        (folder / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def metric_row(head: str, metric: str, value, model: str, visit: int, split: str = "val", class_name: str = "mean"):
    """A row of ``metrics.json``."""
    dataset, _, task = head.rpartition("/")
    row = {"dataset": dataset, "task": task, "metric": metric, "class": class_name, "value": value, "n": 10}
    return row | {"model": model, "visit": visit, "split": split}

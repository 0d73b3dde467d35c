"""Training in the browser: launch, watch, stop, go on; the list of runs; their reports and pictures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict

from foundationx.apps.portal.answers import Route
from foundationx.apps.portal.api_jobs import config_of, view_of
from foundationx.apps.portal.context import Portal
from foundationx.apps.portal.place import BusyError, UnknownError, inside
from foundationx.apps.portal.runs import job_name
from foundationx.core.types import Example, TaskKey
from foundationx.core.workdir import WorkDir

REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A run folder may come from others, and so may its report: its scripts run in an origin of their own, which has no
cookie of the portal, can read nothing of it and can ask nobody anything."""


class Named(BaseModel):
    """A run or fusion by name."""

    model_config = ConfigDict(extra="forbid")

    name: str


def router(portal: Portal) -> APIRouter:
    """The paths of runs. Names of runs hold slashes, so they come as ``?run=``."""
    routes = APIRouter(prefix="/api", route_class=Route)
    runs = portal.runs

    @routes.get("/runs")
    def every() -> list[dict[str, Any]]:
        """All runs below the work directories."""
        return [runs.summary(name) for name in runs.names()]

    @routes.get("/run")
    def one(run: str) -> dict[str, Any]:
        """A run as it is now."""
        return runs.detail(run)

    @routes.get("/run/bands")
    def bands(run: str) -> dict[str, list[list[int]]]:
        """Lock phases of the run's plan, by head."""
        return runs.bands(run)

    @routes.post("/runs/launch")
    def launch(wanted: Named) -> dict[str, Any]:
        """Trains on a fusion, or goes on with the run that it has begun."""
        return {"run": wanted.name, "job": launched(portal, wanted.name)}

    @routes.post("/runs/stop")
    def stop(wanted: Named) -> dict[str, Any]:
        """Asks a run to save and stop."""
        runs.stop(wanted.name)
        return {"run": wanted.name, "state": runs.state(wanted.name)}

    @routes.post("/runs/report")
    def write_report(wanted: Named) -> dict[str, Any]:
        """Writes the report of a run anew."""
        folder = portal.place.run_folder(wanted.name)
        job = portal.jobs.start("report", wanted.name, ["foundationx", "report", str(folder)])
        return view_of(portal, job)

    _add_files(routes, portal)
    return routes


def _add_files(routes: APIRouter, portal: Portal) -> None:
    """The paths of what a run folder holds to be looked at."""

    @routes.get("/run/report")
    def report(run: str) -> FileResponse:
        """The report of a run, shut off from the portal."""
        path = file_of(portal, run, "report.html")
        return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})

    @routes.get("/run/overlays")
    def overlays(run: str) -> list[dict[str, Any]]:
        """The images that a run keeps as examples, head by head, with what they show in words."""
        return overlay_list(examples_of(portal, run))

    @routes.get("/run/overlay.png")
    def overlay(run: str, head: str, index: int) -> Response:
        """An example with its truth and prediction drawn on it."""
        return Response(overlay_png(examples_of(portal, run), head, index), media_type="image/png")


def launched(portal: Portal, name: str) -> dict[str, Any]:
    """Starts or goes on with the training of a fusion.

    Raises:
        UnknownError: There is no such fusion, or it has nothing to train.
        BusyError: Its run goes on.
    """
    config = config_of(portal, name)
    folder = portal.place.work_dirs / name
    if WorkDir(folder).holder() is not None:
        raise BusyError(name, "trains already", "a run that has stopped", "watch it")
    folder.mkdir(parents=True, exist_ok=True)
    words = ["foundationx", "train", str(config), "--data-root", str(portal.place.data_root)]
    words += ["--work-dir", str(folder), "--resume", "auto"]
    return view_of(portal, portal.jobs.start("train", name, words, job_name(name)))


def file_of(portal: Portal, run: str, name: str) -> Path:
    """A file of a run. Raises UnknownError: It is not there. OutsideError: It is a link that leads out."""
    portal.place.run_folder(run)
    path = inside(portal.place.work_dirs, f"{run}/{name}")
    if not path.is_file():
        raise UnknownError(run, f"holds no {name} yet", "a run that was evaluated", "wait, or write it anew")
    return path


Examples = dict[TaskKey, tuple[tuple[str, ...], str, list[Example]]]
"""Examples of every head: class names, which model, examples."""


def examples_of(portal: Portal, run: str) -> Examples:
    """The images that a run keeps. Raises UnknownError. Raises OutsideError: Their folder is a link that leads out."""
    folder = portal.place.run_folder(run)
    inside(portal.place.work_dirs, f"{run}/examples")
    return WorkDir(folder).read_examples()


def overlay_list(every: Examples) -> list[dict[str, Any]]:
    """Examples of every head, in words."""
    from foundationx.tasks.definition import task_of

    return [
        {
            "head": str(key),
            "model": model,
            "images": [
                {
                    "name": example.name,
                    "findings": [_words(one) for one in task_of(key.task).findings(example, classes)],
                }
                for example in examples
            ],
        }
        for key, (classes, model, examples) in every.items()
    ]


def _words(summary: Any) -> dict[str, Any]:
    """A class of an example."""
    return {key: value for key, value in asdict(summary).items() if key in ("name", "words", "true")}


def overlay_png(every: Examples, head: str, index: int) -> bytes:
    """An example as a picture. Raises UnknownError."""
    from foundationx.tasks.definition import task_of
    from foundationx.tasks.drawing import Canvas

    try:
        key = TaskKey.parse(head)
    except ValueError:
        raise UnknownError("head", f"found {head!r:.100}", "dataset/task", "choose one from the list") from None
    found = every.get(key)
    if found is None or not 0 <= index < len(found[2]):
        raise UnknownError(head, f"holds no example {index}", "an example of the run", "choose one from the list")
    canvas = Canvas(found[2][index].image)
    task_of(key.task).draw(canvas, found[2][index])
    return bytes(cv2.imencode(".png", canvas.pixels[:, :, ::-1])[1].tobytes())

"""Commands on a fusion or a dataset: check, audit, doctor, phantom copies; started here, watched here."""

from __future__ import annotations

import csv
import io
import re
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from foundationx.apps.portal.answers import Route
from foundationx.apps.portal.context import Portal
from foundationx.apps.portal.jobs import Job, progress_of
from foundationx.apps.portal.place import UnknownError
from foundationx.core.strict_json import read_json

SHOWN = 50
"""Issues, pairs and findings that the page shows; files hold all."""

MOST_RESULT = 64 * 2**20
"""Bytes of a result that is read for the page."""

_FINDING = re.compile(r"^(ok|warn|fail) +(\S.{0,200}?) {2,}(.*)$")
"""A line of ``foundationx doctor``."""


class Order(BaseModel):
    """A command that the page asks for."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["check", "audit", "doctor", "phantoms"]
    card: str = ""
    fusion: str = ""
    cards: list[str] = Field(default=[], max_length=200)
    images: int = Field(24, ge=4, le=2000)
    size: int = Field(256, ge=32, le=1024)
    apply: bool = False


def router(portal: Portal) -> APIRouter:
    """The paths of jobs."""
    routes = APIRouter(prefix="/api/jobs", route_class=Route)

    @routes.post("")
    def start(order: Order) -> dict[str, Any]:
        """Starts a command."""
        about, words, facts = command_of(portal, order)
        return view_of(portal, portal.jobs.start(order.kind, about, words, **facts))

    @routes.get("")
    def newest(about: str = "") -> list[dict[str, Any]]:
        """The newest jobs, without their output; of one dataset or fusion if it is named."""
        jobs = [job for job in portal.jobs.all() if job.kind != "train" and about in ("", job.about)]
        return [summary(job) for job in jobs[:SHOWN]]

    @routes.get("/{identifier}")
    def one(identifier: str) -> dict[str, Any]:
        """A job with the end of its output, how far it is, and its result."""
        return view_of(portal, portal.jobs.get(identifier))

    @routes.post("/{identifier}/stop")
    def stop(identifier: str) -> dict[str, Any]:
        """Asks a job to stop."""
        job = portal.jobs.get(identifier)
        portal.jobs.stop(job)
        return view_of(portal, job)

    @routes.get("/{identifier}/pairs.png")
    def pairs(identifier: str) -> FileResponse:
        """The pictures of an audit's pairs."""
        path = result_folder(portal, portal.jobs.get(identifier)) / "pairs.png"
        if not path.is_file() or path.is_symlink():
            raise UnknownError("pairs.png", "there are no pictures", "an audit with pairs of images", "run the audit")
        return FileResponse(path, media_type="image/png")

    return routes


def command_of(portal: Portal, order: Order) -> tuple[str, list[str], dict[str, Any]]:
    """What an order is about, its command, and where its result will be.

    Raises:
        CardError: There is no such card.
        UnknownError: There is no such fusion.
    """
    root = str(portal.place.data_root)
    if order.kind == "check":
        name = portal.catalog.card(order.card).name
        report = portal.place.own / "checks" / f"{name}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        words = ["foundationx", "data", "check", name, "--data-root", root, "--report", str(report)]
        return name, words, {"result": report.name}
    if order.kind == "phantoms":
        names = [portal.catalog.card(name).name for name in order.cards]
        words = ["foundationx", "data", "phantoms", root, "--images", str(order.images), "--size", str(order.size)]
        return ", ".join(names), words + [word for name in names for word in ("--card", name)], {}
    config = config_of(portal, order.fusion)
    if order.kind == "doctor":
        folder = portal.place.work_dirs / order.fusion
        words = ["foundationx", "doctor", str(config), "--data-root", root, "--work-dir", str(folder)]
        return order.fusion, words, {}
    words = ["foundationx", "data", "audit", str(config), "--data-root", root]
    words += ["--apply"] if order.apply else ["--out", str(config.parent / "audit")]
    return order.fusion, words, {"applied": order.apply}


def config_of(portal: Portal, fusion: str) -> Path:
    """The configuration of a fusion. Raises UnknownError."""
    path = portal.place.fusion_folder(fusion) / "config.py"
    if not path.is_file():
        raise UnknownError(fusion, "has no configuration", "a fusion with something to train", "write the fusion first")
    return path


def summary(job: Job) -> dict[str, Any]:
    """A job in a list."""
    return {
        "id": job.identifier,
        "kind": job.kind,
        "about": job.about,
        "command": job.command,
        "started": job.started,
        "running": not job.ended,
        "code": job.code,
    }


def view_of(portal: Portal, job: Job) -> dict[str, Any]:
    """A job for the page."""
    output = portal.jobs.output(job)
    result = {} if not job.ended else RESULTS[job.kind](portal, job, output) if job.kind in RESULTS else {}
    return summary(job) | {"progress": progress_of(output), "output": output, "result": result}


def result_folder(portal: Portal, job: Job) -> Path:
    """Where an audit is written."""
    if job.facts.get("applied"):
        from foundationx.datasets.exclusion import APPLIED

        return portal.place.data_root / APPLIED.parent
    return portal.place.fusion_folder(job.about) / "audit"


def _check(portal: Portal, job: Job, output: str) -> dict[str, Any]:
    """Issues of a check."""
    reports = _json(portal.place.own / "checks" / f"{job.about}.json")
    if not isinstance(reports, list) or not reports or not isinstance(reports[0], dict):
        return {}
    report = reports[0]
    return {**report, "issues": report.get("issues", [])[:SHOWN], "issue_count": len(report.get("issues", []))}


def _audit(portal: Portal, job: Job, output: str) -> dict[str, Any]:
    """Counts of an audit, its issues and its first pairs."""
    folder = result_folder(portal, job)
    found = _json(folder / "audit.json")
    if not isinstance(found, dict):
        return {}
    pairs: list[dict[str, Any]] = []
    if (folder / "audit.csv").is_file():
        with open(folder / "audit.csv", encoding="utf-8", newline="") as stream:
            pairs = list(islice(csv.DictReader(stream), SHOWN))
    return {
        **found,
        "issues": found.get("issues", [])[:SHOWN],
        "rows": pairs,
        "pictures": (folder / "pairs.png").is_file(),
        "applied": bool(job.facts.get("applied")),
    }


def _doctor(portal: Portal, job: Job, output: str) -> dict[str, Any]:
    """Findings of the doctor, line by line."""
    lines = [match.groups() for line in io.StringIO(output) if (match := _FINDING.match(line.rstrip("\n")))]
    return {"findings": [dict(zip(("level", "topic", "found"), line, strict=True)) for line in lines]}


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > MOST_RESULT:
            return None
        return read_json(path.read_bytes())
    except (OSError, ValueError):
        return None


RESULTS = {"check": _check, "audit": _audit, "doctor": _doctor}
"""How the result of a command is read."""

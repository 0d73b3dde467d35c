"""Fusion in the browser: what a recipe selects and why, and its files, which are those of ``foundationx data fuse``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml
from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict

from foundationx.apps.portal.answers import Route
from foundationx.apps.portal.context import Portal
from foundationx.apps.portal.machine import preset_for, this_machine
from foundationx.apps.portal.place import UnknownError
from foundationx.core.atomic_write import write_atomically
from foundationx.core.errors import FoundationXError, RecipeError
from foundationx.core.resources import base_configs
from foundationx.core.strict_json import read_json
from foundationx.datasets.fusion.fuse import Fusion, fuse
from foundationx.datasets.fusion.licences import licence_report
from foundationx.datasets.fusion.recipe import load_recipe, parse_recipe
from foundationx.datasets.fusion.write import alignment_json, audit_rows, group_rows, write_fusion
from foundationx.datasets.relations import held_out, matched_groups, unmatched_groups

FILES = {
    "recipe.yaml": "text/plain",
    "config.py": "text/plain",
    "audit.csv": "text/csv",
    "audit.json": "application/json",
    "licences.md": "text/plain",
    "groups.csv": "text/csv",
    "alignment.csv": "text/csv",
    "alignment.json": "application/json",
    "data-meta.jsonl": "text/plain",
}
"""Files of a fusion that can be downloaded."""

NOT_CHOSEN = "cards.allow: "
"""How the reason of every dataset begins that nobody has chosen: these are counted, not listed."""


class Wanted(BaseModel):
    """A recipe from the page."""

    model_config = ConfigDict(extra="forbid")

    recipe: dict[str, Any]


def router(portal: Portal) -> APIRouter:
    """The paths of fusion."""
    routes = APIRouter(prefix="/api", route_class=Route)

    @routes.get("/machine")
    def machine() -> dict[str, Any]:
        """What the machine computes with, and the network that it is proposed to train."""
        here = this_machine()
        preset = preset_for(here)
        gpus = [{"name": name, "gigabytes": round(memory / 1e9, 1)} for name, memory in here.gpus]
        presets = [name for name in base_configs() if "/swin_" in name]
        return {"cores": here.cores, "gpus": gpus, "base": preset.base, "why": preset.why, "presets": presets}

    @routes.post("/fuse/preview")
    def preview(wanted: Wanted) -> dict[str, Any]:
        """What a recipe selects; nothing is written."""
        recipe = parse_recipe(checked(wanted.recipe), Path("recipe.yaml"), portal.catalog.vocabulary)
        return view_of(fuse(recipe, portal.catalog, portal.place.tables, portal.place.data_root))

    @routes.post("/fuse")
    def write(wanted: Wanted) -> dict[str, Any]:
        """Writes recipe and fusion; the fault is part of the answer if nothing can be trained."""
        return written(portal, checked(wanted.recipe))

    @routes.get("/fusions")
    def fusions() -> list[dict[str, Any]]:
        """Every fusion, by name."""
        names = sorted(path.parent.name for path in portal.place.own.glob("fusions/*/recipe.yaml"))
        return [stored(portal, name) for name in names]

    @routes.get("/fusions/{name}")
    def one(name: str) -> dict[str, Any]:
        """A fusion as it is written."""
        return stored(portal, name)

    @routes.get("/fusions/{name}/files/{file}")
    def download(name: str, file: str) -> FileResponse:
        """A file of a fusion."""
        path = portal.place.fusion_folder(name) / file
        if file not in FILES or not path.is_file() or path.is_symlink():
            raise UnknownError(name, f"there is no file {file!r:.100}", ", ".join(FILES), "choose one of these")
        return FileResponse(path, media_type=FILES[file], filename=file)

    return routes


def checked(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe, unless it names a file. Raises RecipeError."""
    if recipe.get("exclude") is not None:
        fix = "run the audit with its list applied to the data root, or use `foundationx data fuse`"
        raise RecipeError("recipe: exclude", "names a file", "no file: pages name none", fix)
    return recipe


def written(portal: Portal, values: dict[str, Any]) -> dict[str, Any]:
    """Writes a fusion by the functions of the command.

    Args:
        portal: The portal.
        values: The recipe.

    Raises:
        RecipeError: The recipe is wrong; nothing is written.
    """
    recipe = parse_recipe(values, Path("recipe.yaml"), portal.catalog.vocabulary)
    folder = portal.place.fusion_folder(recipe.name)
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_atomically(folder / "recipe.yaml", text)
    recipe = load_recipe(folder / "recipe.yaml", portal.catalog.vocabulary)
    fusion = fuse(recipe, portal.catalog, portal.place.tables, portal.place.data_root)
    fault = None
    try:
        write_fusion(fusion, folder)
    except FoundationXError as error:
        fault = as_json(error)
    return stored(portal, recipe.name) | {"fault": fault, "view": view_of(fusion)}


def stored(portal: Portal, name: str) -> dict[str, Any]:
    """A fusion as its files say."""
    folder = portal.place.fusion_folder(name)
    if not (folder / "recipe.yaml").is_file():
        raise UnknownError(name, "there is no such fusion", f"one of {folder.parent}", "write it first")
    try:
        rows = read_json((folder / "audit.json").read_bytes())
    except (OSError, ValueError):
        rows = []  # a fusion that was cut off: its recipe can be written again
    kept = [row for row in rows if row.get("decision") == "kept"]
    return {
        "name": name,
        "kept": [row["dataset"] for row in kept],
        "trains": {row["dataset"]: row["trains"] for row in kept if row.get("trains")},
        "dropped": [{"dataset": row["dataset"], "why": row["reason"]} for row in chosen_rows(rows)],
        "ready": (folder / "config.py").is_file(),
        "files": [file for file in FILES if (folder / file).is_file()],
        "command": command_of(portal, folder),
    }


def chosen_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Dropped datasets of an audit table that were chosen or that no list was made of."""
    return [row for row in rows if row.get("decision") == "dropped" and not row["reason"].startswith(NOT_CHOSEN)]


def command_of(portal: Portal, folder: Path) -> str:
    """The command that writes the same files."""
    words = ["foundationx", "data", "fuse", folder / "recipe.yaml", "--out", folder]
    words += ["--data-root", portal.place.data_root]
    for table in portal.place.tables:
        words += ["--table", table]
    return shlex.join(map(str, words))


def view_of(fusion: Fusion) -> dict[str, Any]:
    """A fusion for the page."""
    rows = audit_rows(fusion.decisions, fusion.entries)
    kept = [row for row in rows if row["decision"] == "kept"]
    shown = ("dataset", "title", "images", "licence", "trains", "obstacle", "not_known", "shares_images_with")
    dropped = chosen_rows(rows)
    return {
        "kept": [{key: row[key] for key in shown} for row in kept],
        "dropped": [{"dataset": row["dataset"], "title": row["title"], "why": row["reason"]} for row in dropped],
        "not_chosen": len(rows) - len(kept) - len(dropped),
        "licences": licence_report(*fusion.kept_by_use()),
        "alignment": alignment_json(fusion.alignment),
        "groups": group_rows(fusion.groups),
        "notes": notes(fusion),
    }


def notes(fusion: Fusion) -> list[str]:
    """What to know of datasets that show the same images."""
    cards = [entry.card for entry in fusion.entries if entry.card is not None and entry.tasks]
    same = [f"{', '.join(group)} share patients, by name: each is in one split" for group in matched_groups(cards)]
    held = [f"{name} has no image to train on beside {other}: leave one of them out" for name, other in held_out(cards)]
    text = "show the same images and name their patients differently: run the audit"
    return same + held + [f"{', '.join(group)} {text}" for group in unmatched_groups(cards)]


def as_json(error: FoundationXError) -> dict[str, str]:
    """An error for the page."""
    return {
        "kind": type(error).__name__,
        "where": error.where,
        "found": error.found,
        "expected": error.expected,
        "fix": error.fix,
    }

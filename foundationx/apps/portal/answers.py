"""Answers of the portal: JSON of whatever stands in the files of a run, also of others' and of odd names."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from foundationx.core.strict_json import to_json


class Answer(JSONResponse):
    """JSON in ASCII, which can write a name that is no UTF-8 and half a character in a file of somebody else."""

    def render(self, content: Any) -> bytes:
        """The bytes of an answer."""
        return to_json(content).encode("ascii")


class Route(APIRoute):
    """A path whose function returns what is answered: no model that would refuse a text stands between."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options | {"response_model": None, "response_class": Answer})

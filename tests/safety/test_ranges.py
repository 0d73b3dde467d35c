"""Every number of a configuration has a range; what is below, above, or no number at all is refused by name."""

import copy
import math
import re
import runpy
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from foundationx.core.config.describe import keys_of
from foundationx.core.config.load import parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError

START = {
    "name": "run",
    "model": {"backbone": {"type": "mmdet.ResNet", "depth": 18}},
    "datasets": [{"card": "phantom_labels"}],
    "schedule": {"cycles": 1},
}

SWITCHED = {
    "schedule.cap": {"schedule.order": "capped"},
    "schedule.temperature": {"schedule.order": "temperature"},
}
"""Keys that belong to a choice, and that choice."""

BELOW, ABOVE = ("ge", "gt"), ("le", "lt")
TEXT_KEYS = {"lr_scale": "head", "views": "classification", "lock": "classification", "release": "classification"} | {
    "steps": "phantom_labels/classification"
}


def numbers(annotation: Any, metadata: tuple[Any, ...], path: tuple[Any, ...]):
    """Every number inside a type, with its path and its bounds, in the order of the fields."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from numbers(inner, (*metadata, *_parts(more)), path)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from numbers(field.annotation, tuple(field.metadata), (*path, name))
    elif annotation in (int, float):
        bounds = {name: getattr(one, name) for one in metadata for name in (*BELOW, *ABOVE) if hasattr(one, name)}
        validators = [one for one in metadata if hasattr(one, "func")]
        yield path, annotation, bounds, validators
    elif get_origin(annotation) is tuple:
        inner = get_args(annotation)
        if inner[-1] is Ellipsis:
            yield from numbers(inner[0], (), (*path, 0))
        else:
            for index, one in enumerate(inner):
                yield from numbers(one, (), (*path, index))
    elif get_origin(annotation) is dict:
        if path[-1] in TEXT_KEYS:
            yield from numbers(get_args(annotation)[1], (), (*path, TEXT_KEYS[path[-1]]))
    else:
        for one in get_args(annotation):
            yield from numbers(one, metadata, path)


def _parts(metadata):
    """Bounds are kept in one FieldInfo or one by one."""
    for one in metadata:
        yield from getattr(one, "metadata", None) or [one]


KEYS = {}
for found in numbers(RunConfig, (), ()):
    KEYS.setdefault(".".join(map(str, found[0])), found)


def values_with(path, value):
    """A valid configuration with one value in it; what the value needs beside it is filled in."""
    values = copy.deepcopy(START)
    for key, choice in SWITCHED.get(".".join(map(str, path)), {}).items():
        section, name = key.split(".")
        values.setdefault(section, {})[name] = choice
    position = values
    for step, following in zip(path, (*path[1:], None), strict=True):
        if following is None:
            _put(position, step, value)
        else:
            position = _below(position, step, following)
    return values


WHOLE = {"betas": [0.9, 0.99], "crop_scale": [0.5, 1.0], "mean": [0.5] * 3, "std": [0.2] * 3, "pool_scales": [1]}
CURVES = ("momentum", "weight", "curve")


def _below(place, step, following):
    if isinstance(place, list):
        return place[0]
    if step not in place:
        place[step] = list(WHOLE[step]) if step in WHOLE else {}
    if step in CURVES and following in ("start", "end"):
        place[step] = {"type": "linear", "start": 0.5, "end": 0.5}
    return place[step]


def _put(place, step, value):
    place[step] = value


def refused(path, value):
    with pytest.raises(ConfigError) as caught:
        parse_config(values_with(path, value), "here.py")
    names = [str(step) for step in path if not isinstance(step, int)]
    assert caught.value.where.startswith("here.py: ") and names[0] in caught.value.where and caught.value.fix


def test_the_table_holds_every_section():
    sections = {key.partition(".")[0] for key in KEYS}
    assert sections >= {"image_size", "model", "datasets", "schedule", "split", "views", "teacher", "consistency"}
    assert len(KEYS) > 80, "keys are found by walking through the types"


@pytest.mark.parametrize("key", KEYS)
def test_every_number_has_a_range(key):
    path, kind, bounds, validators = KEYS[key]
    if not validators and path[-2:-1] not in (("momentum",), ("weight",)):
        assert set(bounds) & set(BELOW) and set(bounds) & set(ABOVE), f"{key} has no range: {bounds}"
    for value in (True, False, math.nan, math.inf, -math.inf, "many", 10**400 if kind is float else 10**4000):
        refused(path, value)
    below = bounds.get("ge", bounds.get("gt", 0)) - (1 if "gt" not in bounds else 0)
    above = bounds.get("le", bounds.get("lt", 1))
    if "lt" not in bounds:
        above += max(1, above // 10)  # a number of this size plus 1 is itself
    if path[-2:-1] in (("momentum",), ("weight",)):
        below, above = -0.001, 1.001
    refused(path, below)
    refused(path, above)


NAMES = ["", ".", "..", "../../x", "/tmp/x", "a/b", "a\\b", "a\0b", "a\nb", " ", "x" * 129, "a\u2028b", "\ud800"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_plain_file_name(name):
    with pytest.raises(ConfigError, match="name"):
        parse_config(START | {"name": name}, "here.py")


def test_what_makes_sense_is_taken():
    full = START | {
        "consistency": {"weight": {"type": "cosine", "start": 0, "end": 1}},
        "teacher": {"momentum": 1.0},
        "optimizer": {"lr": 1e-3, "betas": [0.0, 0.999], "lr_scale": {"head": 10}},
        "runtime": {"workers": 256, "seed": 2**63 - 1},
        "name": "Run 1, first (a+b).v2",
    }
    assert parse_config(full, "here.py").consistency.weight.end == 1


BAD = {
    "a weight of the consistency loss above 1": {"consistency": {"weight": 7}},
    "below 0": {"consistency": {"weight": -1}},
    "no number": {"consistency": {"weight": math.nan}},
    "at the end of the curve": {"consistency": {"weight": {"type": "linear", "start": 0, "end": 1.5}}},
    "at its start": {"consistency": {"weight": {"type": "linear", "start": -0.1, "end": 1}}},
    "a curve without numbers": {"consistency": {"weight": {"type": "linear", "start": math.nan, "end": 1}}},
    "a negative learning rate at the end": {"optimizer": {"curve": {"type": "linear", "start": 1, "end": -1}}},
    "crops the wrong way round": {"views": {"classification": {"geometry": {"crop_scale": [0.9, 0.5]}}}},
    "empty grids": {"model": START["model"] | {"segmentation": {"pool_scales": []}}},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_nonsense_is_refused(change):
    with pytest.raises(ConfigError):
        parse_config(START | change, "here.py")


def test_the_document_has_the_range_of_every_key():
    root = Path(__file__).resolve().parents[2]
    script = runpy.run_path(str(root / "tools" / "range_table.py"))
    below = (root / "docs" / "safety.md").read_text(encoding="utf-8").partition(script["MARK"])[2]
    assert below.strip() == script["table"]().strip(), "run: python tools/range_table.py"
    rows = [line.split("|")[1].strip(" `") for line in below.splitlines() if line.startswith("| `")]
    assert rows == list(keys_of(RunConfig))
    numbers_in_table = {".".join(str(step) for step in key[0] if not isinstance(step, int)) for key in KEYS.values()}
    described = {line.split("|")[1].strip(" `"): line for line in below.splitlines() if line.startswith("| `")}
    for key in numbers_in_table & set(described):
        assert re.search(r"[<>]=? |in \[", described[key]), f"{key} has no range in the table"

"""Mutation test of the core: changes one operator, number or condition at a time and counts what the tests notice.

    pip install cosmic-ray
    python tools/mutate.py                     # every module of the table below, all mutants
    python tools/mutate.py losses --sample 40  # 40 mutants, drawn with a fixed seed, of the modules of one row

Mutants come from cosmic-ray's operators. Each is run in a process of its own, forked after the libraries are imported,
in which the changed source takes the module's place; files are never changed. Only tests that run in this process see
the mutant, so that a mutant which only a started command would notice counts as a survivor. Mutants that do the same as
the module are listed with the reason in ``equivalent_mutants.yaml``.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.abc
import importlib.util
import itertools
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SUBJECTS: dict[str, tuple[list[str], list[str]]] = {
    "losses": (
        ["tasks/classification/losses", "tasks/segmentation/losses", "models/consistency"],
        ["tests/tasks/test_losses.py"],
    ),
    "matching": (["tasks/detection/matching"], ["tests/tasks/detection/test_set_matching.py"]),
    "targets": (
        ["tasks/segmentation/target", "tasks/detection/target"],
        [
            "tests/data/test_dataset.py",
            "tests/data/test_cache.py",
            "tests/data/test_augment.py",
            "tests/tasks/segmentation",
            "tests/tasks/detection/test_box_targets.py",
            "tests/datasets/test_readers_outlines.py",
        ],
    ),
    "schedule": (
        [f"engine/schedule/{name}" for name in ("concurrent", "curves", "cyclic", "need", "plan")],
        ["tests/engine/schedule"],
    ),
    "splits": (["datasets/splits"], ["tests/datasets/test_splits.py"]),
    "teacher": (["models/ema_teacher"], ["tests/models/test_teacher.py", "tests/models/test_teacher_rest.py"]),
    "trainer": (
        ["engine/trainer", "engine/step", "engine/nonfinite", "engine/optim", "engine/batches"],
        [
            *("tests/engine/test_trainer.py", "tests/engine/test_step.py", "tests/engine/test_nonfinite.py"),
            *(
                "tests/engine/test_optim.py",
                "tests/engine/test_teacher_gate.py",
                "tests/models/test_parameter_groups.py",
            ),
        ],
    ),
    "metrics": (
        [
            *("evaluation/metrics/auroc", "evaluation/metrics/average_precision", "evaluation/metrics/calibration"),
            *("evaluation/metrics/confusion", "evaluation/metrics/dice", "evaluation/metrics/froc"),
            *("evaluation/metrics/surface", "evaluation/matching", "evaluation/ranking", "evaluation/thresholds"),
        ],
        [
            "tests/evaluation/metrics",
            "tests/evaluation/test_thresholds.py",
            "tests/tasks/detection/test_ignored_regions.py",
        ],
    ),
    "readers": (
        [
            *("datasets/readers/coco", "datasets/readers/bbox_csv", "datasets/readers/runs_csv"),
            *("datasets/readers/label_columns_csv", "datasets/readers/findings_csv", "datasets/readers/_geometry"),
            *("datasets/readers/_runs", "datasets/readers/_agreement", "datasets/readers/_patients"),
        ],
        [
            *(
                f"tests/datasets/test_readers_{name}.py"
                for name in (
                    *("numbers", "cells", "coco", "formats", "new_formats", "outlines", "bad_shapes"),
                    *("faults", "json", "marks", "names", "points", "spelling"),
                )
            ),
            *("tests/datasets/test_unknown_labels.py", "tests/datasets/test_patients.py"),
            *("tests/datasets/test_copies.py", "tests/tasks/detection/test_ignored_regions.py"),
        ],
    ),
    "select": (["datasets/fusion/select"], ["tests/datasets/fusion/test_fusion_select.py"]),
}
"""Subject -> modules of the package, and the tests that judge them."""

OPERATORS = (
    *("ReplaceComparisonOperator", "NumberReplacer", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
    *("ReplaceUnaryOperator", "ZeroIterationForLoop", "ReplaceBinaryOperator"),
)
BINARY = (
    "Add_Sub",
    "Sub_Add",
    "Mul_Div",
    "Div_Mul",
    "Mod_FloorDiv",
    "FloorDiv_Mod",
    "Pow_Mul",
    "BitAnd_BitOr",
    "BitOr_BitAnd",
)
"""One replacement per arithmetic operator: the other ten say little more."""

IDENTITY = ("_Is", "_IsNot")
"""``is`` in place of ``==`` compares the same small numbers and names of options."""

SLOWEST = 60
"""Seconds of processor time, beyond three times those without a change, after which a mutant counts as noticed."""


@dataclass(frozen=True)
class Mutant:
    """One change of one module; lines without indentation."""

    module: str
    operator: str
    line: int
    before: str
    after: str


@dataclass(frozen=True)
class Place:
    """Where a module is changed: by which operator of cosmic-ray, at which of its occurrences, in which line."""

    module: str
    operator: Any
    occurrence: int
    line: int


def equivalents() -> dict[tuple[str, str, str], str]:
    """Changes after which the module still does the same, with the reason: (module, before, after) -> why."""
    with (Path(__file__).parent / "equivalent_mutants.yaml").open(encoding="utf-8") as file:
        entries = yaml.safe_load(file)
    return {
        (entry["module"], one["before"], after): one["why"]
        for entry in entries
        for one in entry["changes"]
        for after in one["after"]
    }


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from the changed source."""

    def __init__(self, module: str, path: Path, source: str):
        self.module, self.path, self.source = module, path, source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def _unread_lines(source: str) -> set[int]:
    """Lines of annotations, imports and decorators of classes, where a change changes nothing that is computed."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        spans: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            spans = [node.returns, *(argument.annotation for argument in arguments)]
        elif isinstance(node, ast.AnnAssign):
            spans = [node.annotation]
        elif isinstance(node, ast.ClassDef):
            spans = [*node.decorator_list]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            spans = [node]
        for span in spans:
            if span is not None:
                lines |= set(range(span.lineno, (span.end_lineno or span.lineno) + 1))
    return lines


def _operators() -> list[Any]:
    from cosmic_ray.operators.provider import OperatorProvider

    provider = OperatorProvider()
    chosen = [name for name in provider if name.split("_")[0] in OPERATORS and not name.endswith(IDENTITY)]
    arithmetic = {f"ReplaceBinaryOperator_{pair}" for pair in BINARY}
    return [provider[name]() for name in chosen if not name.startswith("ReplaceBinary") or name in arithmetic]


def _is_other_code(source: str, changed: str) -> bool:
    """Whether a changed source is valid (cosmic-ray takes the stars of ``**values`` for a power) and differs."""
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def places_of(module: str) -> list[Place]:
    """Every place of a module that an operator changes.

    Args:
        module: Path of a module in the package, without suffix.
    """
    from cosmic_ray.ast import ast_nodes, get_ast

    source = (ROOT / "foundationx" / f"{module}.py").read_text(encoding="utf-8")
    nodes, unread = list(ast_nodes(get_ast(source))), _unread_lines(source)
    return [
        Place(module, operator, occurrence, start[0])
        for operator in _operators()
        for occurrence, (start, _) in enumerate(at for node in nodes for at in operator.mutation_positions(node))
        if start[0] not in unread
    ]


def mutant_at(place: Place) -> tuple[Mutant, str] | None:
    """The mutant of a place, with its source; None if that is no valid code, or the same."""
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / "foundationx" / f"{place.module}.py").read_text(encoding="utf-8")
    changed = mutate_code(source, place.operator, place.occurrence)
    if changed is None or not _is_other_code(source, changed):
        return None
    before, after = (text.splitlines()[place.line - 1].strip() for text in (source, changed))
    return Mutant(place.module, type(place.operator).__name__, place.line, before, after), changed


def _child(module: str, source: str | None, tests: list[str], seconds: float) -> None:
    """Runs the tests against a source and leaves with 0 if they pass, with 1 if not."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if source is not None:
        path = ROOT / "foundationx" / f"{module}.py"
        sys.meta_path.insert(0, _Changed("foundationx." + module.replace("/", "."), path, source))
    import pytest
    from hypothesis import Phase, settings

    # An example that fails is enough: looking for a smaller one takes minutes.
    settings.register_profile("mutants", derandomize=True, phases=(Phase.explicit, Phase.generate))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--hypothesis-profile=mutants"]
    passed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    with contextlib.suppress(BaseException):
        for some in filter(None, (tests[:1], tests[1:])):  # most mutants need only the nearest file to be imported
            if pytest.main([*options, *some]) not in passed:
                os._exit(1)
        os._exit(0)
    os._exit(1)


def run(module: str, source: str | None, tests: list[str], seconds: float) -> tuple[bool, float]:
    """Whether the tests pass, and the processor time they took.

    Args:
        module: Path of the module in the package, without suffix.
        source: Changed source, or None for the module as it is.
        tests: Files and folders for pytest.
        seconds: Processor time after which the run is ended.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        os.setsid()
        _child(module, source, tests, seconds)
    deadline = time.monotonic() + 10 * seconds
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status == 0, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def judge(subject: str, sample: int | None, seed: int) -> Iterator[tuple[Mutant, bool]]:
    """The mutants of a subject, each with whether its tests noticed it.

    Args:
        subject: Key of `SUBJECTS`.
        sample: Number of mutants to draw, or None for all.
        seed: Seed of the draw.

    Raises:
        SystemExit: The tests fail without any change.
    """
    modules, tests = SUBJECTS[subject]
    passed, seconds = run(modules[0], None, tests, 3600)
    if not passed:
        raise SystemExit(f"{subject}: {' '.join(tests)} fail without a change; run them first")
    places = [place for module in modules for place in places_of(module)]
    if sample is not None:
        random.Random(seed).shuffle(places)
    print(f"{subject}: {len(places)} places, {seconds:.0f} s for the tests", flush=True)
    for mutant, source in itertools.islice(filter(None, map(mutant_at, places)), sample):
        passed, _ = run(mutant.module, source, nearest_first(tests, mutant.module), 3 * seconds + SLOWEST)
        yield mutant, not passed


def nearest_first(tests: list[str], module: str) -> list[str]:
    """Files of tests, those first whose names have most words of the module's, then those whose text names it.

    The first test that fails ends a run.

    Args:
        tests: Files and folders for pytest.
        module: Path of a module in the package, without suffix.
    """
    files = [path for test in tests for path in (sorted((ROOT / test).rglob("test_*.py")) or [ROOT / test])]
    name = module.rpartition("/")[2]

    def nearness(path: Path) -> tuple[int, bool]:
        return len(set(name.split("_")) & set(path.stem.split("_"))), name.strip("_") in path.read_text("utf-8")

    return [str(path) for path in sorted(files, key=nearness, reverse=True)]


def _warm() -> None:
    """Imports the libraries, but nothing of the package, before the first fork."""
    os.environ.update(CI="1", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    for name in (
        "torch",
        "mmengine.registry",
        "scipy.stats",
        "sklearn.metrics",
        "hypothesis",
        "pycocotools.mask",
        "cv2",
        "monai.metrics",
        "pytest",
        "pydantic",
        "torch.utils.data",
        "torch.nn.parallel",
        "torch.optim",
        "matplotlib",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    os.chdir(ROOT)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"some of {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--sample", type=int, help="mutants to draw per subject (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--out", type=Path, help="JSON Lines file for the mutants and whether they were noticed")
    options = parser.parse_args()
    _warm()
    known = equivalents()
    for subject in options.subjects or SUBJECTS:
        killed = total = same = 0
        for mutant, noticed in judge(subject, options.sample, options.seed):
            equivalent = not noticed and (mutant.module, mutant.before, mutant.after) in known
            killed, total, same = killed + noticed, total + 1, same + equivalent
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"subject": subject, "killed": noticed, **asdict(mutant)}) + "\n")
            if not noticed and not equivalent:
                print(f"  survives  {mutant.module}.py:{mutant.line}  {mutant.operator}")
                print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
        different = max(total - same, 1)
        share = f"{100 * killed / different:.1f} %"
        print(f"{subject}: {killed} of {total - same} noticed ({share}); {same} more change nothing", flush=True)


if __name__ == "__main__":
    main()

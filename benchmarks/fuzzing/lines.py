"""Command lines of odd words and paths, given to the command in this process."""

from __future__ import annotations

import contextlib
import io
import os

import torch

from foundationx.apps.cli.main import FAULT, main
from fuzzing.judge import CRASH, LONGEST, READ, REFUSED, Verdict
from fuzzing.mutate import ODD_TEXTS, Random
from fuzzing.state import HEAD, State

WORDS = {
    "predict": ("RUN", "IMAGE", "--head", "HEAD", "--threshold", "NUMBER", "--model", "MODEL", "--device", "cpu"),
    "export": ("RUN", "--to", "FORMAT", "--model", "MODEL"),
    "report": ("RUN",),
    "compare": ("RUN", "RUN", "--repeats", "NUMBER", "--split", "SPLIT", "--metric", "METRIC", "--seed", "NUMBER"),
    "eval": ("RUN", "--data-root", "PATH", "--split", "SPLIT", "--protocol", "PROTOCOL", "--card", "CARD"),
    "import": ("PATH", "--kind", "KIND", "--entry", "MODEL", "--image-size", "NUMBER", "--heads", "CARD"),
    "list": ("LISTED",),
    "config": ("CONFIG", "--cfg-options", "OPTION", "OPTION", "--changed", "--json"),
    "plan": ("CONFIG", "--data-root", "PATH", "--cfg-options", "OPTION", "OPTION"),
    "train": ("CONFIG", "--data-root", "PATH", "--work-dir", "WRITTEN", "--cfg-options", "OPTION", "OPTION"),
    "data check": ("CARD", "--data-root", "PATH", "--root", "TEXT", "--report", "WRITTEN"),
    "data show": ("CARD",),
    "data fuse": ("RECIPE", "--table", "PATH", "--data-root", "PATH"),
    "portal": ("--out", "WRITTEN", "--table", "PATH"),
    "data audit": ("CARD", "--data-root", "PATH"),
    "completion": ("TEXT",),
}
"""Arguments of the commands; words in capitals stand for odd ones."""

WRITES = {"predict", "export", "compare", "eval", "import", "data fuse", "data audit"}
"""Commands with ``--out``."""

KEYS = (
    "name",
    "image_size",
    "model.backbone",
    "optimizer.lr",
    "schedule.cycles",
    "datasets",
    "x",
    "runtime.cache",
    "a.b",
)


def command_line(state: State, random: Random) -> Verdict:
    """One command line: it ends with an exit code, and with a message if it fails."""
    name = random.choice(list(WORDS))
    words = [*name.split(), *(filled(word, state, random) for word in WORDS[name])]
    if name in WRITES and random.random() < 0.8:
        words += ["--out", written(state, random)]
    for _ in range(random.choice((0, 0, 0, 1))):
        position = random.randrange(len(words) + 1)
        words[position : position + random.choice((0, 1, 1))] = [filled("TEXT", state, random)]
    words = [word.replace("\0", "") or " " for word in words]  # an argument cannot hold it
    before, stored = os.getcwd(), io.StringIO()
    os.chdir(state.fresh(state.run))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stored):
            code = main(words)
    except SystemExit as end:
        code = end.code
    finally:
        os.chdir(before)
        torch.set_num_threads(1)
    return ended(code, stored.getvalue())


def ended(code: object, message: str) -> Verdict:
    """The verdict on an exit code and what was printed as error."""
    if code in (0, 1, None):
        return Verdict(READ)
    if code != FAULT or not message or "Traceback" in message:
        return Verdict(CRASH, f"exit code {code}: {message[:200]}")
    if "usage: " not in message and len(message) > LONGEST:
        return Verdict(CRASH, f"a message of {len(message):,} letters")
    return Verdict(REFUSED)


def filled(word: str, state: State, random: Random) -> str:
    """An odd or a valid word in place of one in capitals."""
    texts = tuple(os.fsdecode(text.encode("utf-8", "surrogatepass")) for text in ODD_TEXTS)
    if random.random() < 0.05:
        return random.choice((*texts, written(state, random)))
    choices = {
        "RUN": (str(state.run), str(state.run), str(state.checkpoint), str(state.folder), "."),
        "IMAGE": (str(state.image), str(state.image), str(state.checkpoint)),
        "TEXT": (*texts, "teacher", "student", "--help", "-h", "--", "--x", "-1", "list"),
        "MODEL": ("teacher", "student", "x"),
        "HEAD": (str(HEAD), str(HEAD), "x"),
        "METRIC": ("AUROC", "x"),
        "KIND": ("auto", "ark", "swin", "x"),
        "LISTED": ("heads", "metrics", "formats", "readers", "x"),
        "NUMBER": ("0", "1", "3", "-1", "1e3", "x", "32", "7"),
        "SPLIT": ("val", "test", "train", "x"),
        "FORMAT": ("backbone", "timm", "huggingface", "mmdet", "list", "x", ""),
        "PROTOCOL": ("linear", "zero-shot", "x"),
        "CARD": ("phantom_labels", "phantom_boxes", "phantom_labels=.", "nih_cxr14", "x", "../x"),
        "CONFIG": ("quickstart/phantom", "quickstart/phantom", "x", str(state.image), str(state.run / "config.json")),
        "RECIPE": ("recipes/commercial_use", "x", str(state.image), str(state.run / "config.json")),
        "PATH": (
            str(state.data),
            str(state.run),
            str(state.image),
            str(state.predictions[0]),
            "nothing/there",
            "/proc/x",
        ),
        "OPTION": (f"{random.choice(KEYS)}={random.choice(texts)}", random.choice(texts)),
        "WRITTEN": (written(state, random),),
    }
    return random.choice(choices[word]) if word in choices else word


def written(state: State, random: Random) -> str:
    """A path to write to that is new, in use, or cannot be written."""
    folder = state.work
    return random.choice(
        (
            *(str(folder / "out"), str(folder / "out" / "a.md"), "x.csv", str(folder), str(folder / "config.json")),
            *(str(folder / "config.json" / "x"), "/proc/x/y", "/dev/full/x", str(folder / ("n" * 300))),
            *(
                str(folder / "/".join(["n" * 50] * 2000)),
                os.fsdecode(os.fsencode(folder) + b"/\xff.md"),
                "/proc/self/x",
            ),
        )
    )

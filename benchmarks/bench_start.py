"""What it costs until a command begins with its work: processor time of processes of their own, started in turns.

python benchmarks/bench_start.py [--runs 5]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import heading, options, table

from foundationx.phantoms.write import write_phantom_datasets

COMMAND = (sys.executable, "-m", "foundationx.apps.cli.main")
MODULES = "import sys; {}; print(len(sys.modules))"
IMPORTS = {
    "import torch": "import torch",
    "what a backbone of mmdet needs": "from foundationx.core.openmmlab import modules_of; modules_of('mmdet')",
    "what the report needs": "import foundationx.evaluation.report",
    "what `train` needs before the network": "import foundationx.apps.run.train",
}
"""Name of a row: statement whose time and modules are measured."""


def main() -> None:
    runs = options(__doc__, runs=5).runs
    heading("Start", "Processor time of a new process; the files it reads are in the page cache.")
    with tempfile.TemporaryDirectory() as where:
        data = Path(where) / "data"
        write_phantom_datasets(data, 24, size=64, processes=1)
        plan = ("plan", "quickstart/phantom", "--data-root", str(data))
        commands = {
            "`foundationx --help`": (*COMMAND, "--help"),
            "`foundationx plan`": (*COMMAND, *plan),
            "`foundationx plan --parameters`": (*COMMAND, *plan, "--parameters"),
            **{name: (sys.executable, "-c", MODULES.format(code)) for name, code in IMPORTS.items()},
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        printed = {}
        for turn in range(runs + 1):
            for name, command in commands.items():
                used, printed[name] = started(command)
                if turn:  # the first one fills the page cache
                    seconds[name].append(used)
    rows = []
    for name, values in seconds.items():
        modules = f"{int(printed[name].split()[-1]):,}" if name in IMPORTS else ""
        rows.append([name, f"{statistics.median(values):.2f}", f"{min(values):.2f}", modules])
    table(["process", "CPU s", "least", "modules"], rows)
    print(
        "`plan` needs neither torch nor the network; `plan --parameters` builds it to count what is trained: torch and "
        "the backbone's library are the bound of what that takes.\n"
    )


def started(command: tuple[str, ...]) -> tuple[float, str]:
    """Processor seconds of a process, and what it printed."""
    before = os.times()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, done.stdout


if __name__ == "__main__":
    main()

"""The files for schedulers: each is checked by what its scheduler publishes, and names commands that exist."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from foundationx.apps.cli.main import build_parser
from foundationx.core.resources import packaged_configs

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "configs" / "cluster"
SCRIPTS = sorted(CLUSTER.glob("*.sbatch"))


def tool(name):
    """A program of a package, beside this Python or beside the packages that it sees."""
    folders = [Path(sys.prefix) / "bin", Path(yaml.__file__).parents[4] / "bin"]
    found = next((folder / name for folder in folders if (folder / name).exists()), None) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install -e .[test]")
    return str(found)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_have_no_fault_that_shellcheck_knows(script):
    ended = subprocess.run([tool("shellcheck"), "-s", "bash", str(script)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_the_dockerfile_has_no_fault_that_hadolint_knows():
    ended = subprocess.run([tool("hadolint"), str(CLUSTER / "Dockerfile")], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    text = (CLUSTER / "Dockerfile").read_text()
    last_stage = text[text.rindex("\nFROM ") :]
    assert not re.search(r"\b(pip|curl|wget|apt-get)\b", last_stage), "nothing is fetched into the last stage"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M)
    assert len(copied) >= 4 and all((ROOT / name).exists() for line in copied for name in line.split())


def test_the_train_job_is_one_of_kubeflow():
    """Every key survives the models that Kubeflow publishes: one that they do not know would be lost."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="pip install -e .[test]")
    job = yaml.safe_load((CLUSTER / "kubernetes_trainjob.yaml").read_text())
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job
    broken = json.loads(json.dumps(job))
    broken["spec"]["trainer"]["numNode"] = 2
    assert models.TrainerV1alpha1TrainJob.from_dict(broken).to_dict() != broken
    trainer = job["spec"]["trainer"]
    check_command([*trainer["args"]])
    assert trainer["command"][0] == "torchrun" and trainer["command"][-1] == "foundationx.apps.cli.main"


def test_the_skypilot_task_follows_its_schema():
    schemas = pytest.importorskip("sky.utils.schemas", reason="skypilot is not installed: it brings 67 packages")
    jsonschema = pytest.importorskip("jsonschema")
    task = yaml.safe_load((CLUSTER / "skypilot.yaml").read_text())
    jsonschema.validate(task, schemas.get_task_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(task | {"num_node": 2}, schemas.get_task_schema())


def test_the_skypilot_task_runs_commands_that_exist():
    """What is between cluster and command: the arguments of torchrun are printed, it is not run."""
    task = yaml.safe_load((CLUSTER / "skypilot.yaml").read_text())
    script = "torchrun() { printf '%s\\n' \"$@\"; }\n" + task["run"].replace(". .venv/bin/activate\n", "")
    variables = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NUM_GPUS_PER_NODE": "4", "SKYPILOT_NODE_RANK": "1"}
    variables |= {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "PATH": os.environ["PATH"]}
    ended = subprocess.run(["bash", "-euc", script], env=variables, capture_output=True, text=True)
    words = ended.stdout.split()
    assert words[: words.index("tools/train.py")] == shlex.split(
        "--nnodes 2 --nproc-per-node 4 --node-rank 1 --master-addr 10.0.0.1 --master-port 29500 --max-restarts 100"
    )
    check_command(["train", *words[words.index("tools/train.py") + 1 :]])


def check_command(words):
    """Raises SystemExit: the command line is not one of ours. The configuration comes with the package."""
    options = build_parser().parse_args(words)
    assert str(options.config).removeprefix("configs/") in packaged_configs()


FAKE = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
exit "${CODE:-0}"
"""


def run_script(script, tmp_path, *arguments, **variables):
    """Runs a batch script with stand-ins for Slurm's commands and ours. Returns its exit code and their calls."""
    for name in ("srun", "scontrol", "foundationx"):
        path = tmp_path / name
        path.write_text(FAKE if name != "scontrol" else FAKE.replace('exit "${CODE:-0}"', "exit 0"))
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")} | variables
    ended = subprocess.run(["bash", str(script), *arguments], env=environment, capture_output=True, text=True)
    return ended.returncode, (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize(("code", "queued_again"), [(0, False), (130, True), (2, False)])
def test_a_stopped_job_queues_itself_again_and_no_other_does(tmp_path, code, queued_again):
    words = ["quickstart/phantom", "--data-root", "d", "--work-dir", "w w"]
    ended, calls = run_script(CLUSTER / "slurm_train.sbatch", tmp_path, *words, CODE=str(code), SLURM_JOB_ID="7")
    assert ended == code and calls[0] == f"srun --kill-on-bad-exit=1 foundationx train {' '.join(words)}"
    assert calls[1:] == (["scontrol requeue 7"] if queued_again else [])
    text = (CLUSTER / "slurm_train.sbatch").read_text()
    assert "#SBATCH --signal=TERM@" in text and "#SBATCH --requeue" in text
    build_parser().parse_args(calls[0].replace("w w", "w").split()[3:])


def test_the_jobs_of_an_array_take_their_shards(tmp_path):
    script, numbers = CLUSTER / "slurm_shards.sbatch", {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}
    ended, calls = run_script(script, tmp_path, "quickstart/phantom", "data", "cache", "audit", **numbers)
    assert ended == 0 and len(calls) == 2 and all("--shard 3/8" in call for call in calls)
    for call in calls:
        build_parser().parse_args(call.split()[1:])
    ended, calls = run_script(script, tmp_path, "x", "data", "cache", "audit", CODE="2", **numbers)
    assert ended == 2, "a shard that fails is not followed by the next command"


def test_files_for_schedulers_are_no_configurations():
    assert not any(name.startswith("cluster/") for name in packaged_configs())

"""Which process writes: one that joins no group is the first of one, whatever variables are left over."""

import pytest
from torch.distributed import HashStore, TCPStore

from foundationx.core import distributed
from foundationx.core.distributed import Place, RankError

VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID",
    "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_NODELIST",
)  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def change(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "1"},
        {"RANK": "3", "LOCAL_RANK": "3"},
        {"RANK": "1", "WORLD_SIZE": "1"},
        {"RANK": "1", "WORLD_SIZE": ""},
        {"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": "", "SLURM_NTASKS": "", "SLURM_PROCID": ""},
        {"WORLD_SIZE": "4"},
        {"SLURM_PROCID": "1"},
        {"SLURM_PROCID": "2", "SLURM_NTASKS": "1"},
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "4"},
        {"RANK": "1", "WORLD_SIZE": "2"},
        # a batch script of a job of four tasks, which is no step of srun
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_NODELIST": "n[1-2]"},
    ],
)
def test_a_process_without_a_group_is_the_first_of_one(environment, variables, capsys):
    environment(**variables)
    assert distributed.rank() == 0 and distributed.is_main_process() and distributed.world_size() == 1
    with distributed.init_process_group():
        assert distributed.is_main_process()
    named = [name for name in ("RANK", "SLURM_PROCID") if variables.get(name) not in (None, "", "0")]
    named += [name for name in ("WORLD_SIZE", "SLURM_NTASKS") if variables.get(name) not in (None, "", "1")]
    printed = capsys.readouterr().out
    assert all(f"{name}={variables[name]}" in printed for name in named)
    assert ("trains alone" in printed) == bool(named)


STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_STEP_NODELIST": "gpu[07-09,12]", "SLURM_PROCID": "1"}


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here"}, Place("torchrun", 1, 2, "here", 29500)),
        (STEP | {"SLURM_STEP_NUM_TASKS": "4"}, Place("Slurm", 1, 4, "gpu07", 20000 + 31 * 7 + 1)),
        (STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4"}, None),
        (STEP | {"SLURM_NTASKS": "4", "MASTER_ADDR": "a", "MASTER_PORT": "5"}, Place("Slurm", 1, 4, "a", 5)),
    ],
)
def test_tasks_of_a_launcher_meet_with_or_without_gpus(environment, variables, place):
    environment(**variables)
    assert distributed._place() == place


def test_a_rank_is_who_has_joined(environment):
    environment(RANK="1", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    assert distributed.rank() == 0 and distributed.is_main_process(), "it has not joined yet"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n1,n2", "n1"), ("gpu[07-09,12],login1", "gpu07"), ("a-[3,5]", "a-3"), ("", "")],
)
def test_the_first_host_of_a_list_of_slurm(nodes, first):
    assert distributed.first_host(nodes) == first


def test_missing_processes_are_named_and_not_waited_for_forever(monkeypatch, capsys):
    monkeypatch.setattr(distributed, "NAMED_AFTER", 0.2)
    monkeypatch.setattr(distributed, "GIVEN_UP_AFTER", 0.5)
    store = HashStore()
    store.set("foundationx/2", "here")
    with pytest.raises(RankError, match=r"process 0 of 4 \(torchrun\): process 1, 3 has not come within"):
        distributed.wait_for_all(store, Place("torchrun", 0, 4, "here", 29500))
    assert "process 0 of 4 (torchrun) has waited 0 s at here:29500 for process 1, 3" in capsys.readouterr().out
    for number in (1, 3):
        store.set(f"foundationx/{number}", "here")
    distributed.wait_for_all(store, Place("torchrun", 0, 4, "here", 29500))


def test_a_variable_that_is_no_number_is_named(environment):
    environment(RANK="one", WORLD_SIZE="2")
    with pytest.raises(RankError, match="environment variable RANK: is 'one'"), distributed.init_process_group():
        pass


def test_ranks_that_are_started_again_do_not_read_what_the_dead_ones_left(monkeypatch):
    """torchrun's agent keeps its store: names and addresses of an earlier attempt must not count in the next one."""
    monkeypatch.setattr(distributed, "NAMED_AFTER", 30)
    agent = TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    place = Place("torchrun", 0, 2, "127.0.0.1", agent.port)
    found = []
    for attempt in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
        store = distributed._open_store(place)
        found.append(store.check(["foundationx/1"]))
        store.set("foundationx/1", "here")
    assert found == [False, False] and store.check(["foundationx/1"])

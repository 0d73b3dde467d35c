"""Which process writes: one that joins no group is the first of one, whatever variables are left over."""

import pytest
import torch

from foundationx.core import distributed
from foundationx.core.distributed import RankError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


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
    ],
)
def test_a_process_without_a_group_is_the_first_of_one(environment, variables, capsys):
    environment(**variables)
    assert distributed.rank() == 0 and distributed.is_main_process() and distributed.world_size() == 1
    with distributed.init_process_group():
        assert distributed.is_main_process()
    named = [name for name in ("RANK", "SLURM_PROCID") if variables.get(name) not in (None, "", "0")]
    printed = capsys.readouterr().out
    assert all(f"{name}={variables[name]}" in printed for name in named)
    assert ("trains alone" in printed) == bool(named)


def test_tasks_of_slurm_without_a_gpu_train_alone_each(environment, monkeypatch):
    environment(SLURM_NTASKS="4", SLURM_PROCID="1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.is_main_process()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert distributed.rank() == 1, "with a GPU they will join one group"


def test_before_it_joins_a_rank_of_a_launcher_knows_its_number(environment):
    environment(RANK="1", WORLD_SIZE="2")
    assert distributed.rank() == 1 and not distributed.is_main_process()


def test_a_variable_that_is_no_number_is_named(environment):
    environment(RANK="one", WORLD_SIZE="2")
    with pytest.raises(RankError, match="environment variable RANK: is 'one'"):
        distributed.rank()

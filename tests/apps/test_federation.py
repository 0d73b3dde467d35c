"""Federation over several processes: bit-equal to the simulation, and only weights and counts leave a site."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from foundationx.apps.cli.main import main
from foundationx.apps.federation.sites import Coordinator, Federation, HeadFacts, Site, check_tensors
from foundationx.apps.run.train import train
from foundationx.core.config.load import load_config
from foundationx.core.errors import CheckpointError, ConfigError, DataError
from foundationx.engine.checkpoint import load_checkpoint
from foundationx.phantoms.write import write_phantom_datasets

CONFIG = Path(__file__).parents[1] / "helpers" / "tiny_config.py"
CARDS = ["phantom_labels", "phantom_boxes", "phantom_masks"]
OPTIONS = {"schedule.type": "federated", "federation.clients": [[card] for card in CARDS], "schedule.max_steps": 2}
QUIET = {"evaluate.every": 0, "evaluate.final": [], "evaluate.examples": 0, "evaluate.models": ["student"]}


@pytest.fixture(scope="module")
def config():
    return load_config(CONFIG, OPTIONS | QUIET)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder per site, with its own dataset alone."""
    root = tmp_path_factory.mktemp("data")
    write_phantom_datasets(root / "all", 14, size=64, processes=1)
    for card in CARDS:
        shutil.copytree(root / "all" / card, root / card / card)
    return root


@pytest.fixture(scope="module")
def simulated(config, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    assert train(config, data / "all", folder)
    return load_checkpoint(folder)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def held_by(card, state):
    """A client's weights without the heads of others: where those begin, their data say, which it does not see."""
    others = tuple(f"heads.{other}__" for other in CARDS if other != card)
    return {name: value for name, value in state.items() if not name.startswith(others)}


@pytest.mark.slow
def test_sites_with_their_own_data_alone_equal_the_simulation(config, data, simulated, tmp_path):
    """In one process, but each site sees its own folder; the second site is started anew between the rounds."""
    sites = [Site(config, n, data / card, tmp_path / card) for n, card in enumerate(CARDS)]
    federation = Federation.of(config, [site.facts() for site in sites])
    coordinator = Coordinator(federation)
    sent = [site.turn(federation, 1, coordinator.master) for site in sites]
    for n, tensors in enumerate(sent):
        others = [card for card in CARDS if card != CARDS[n]]
        assert any(name.startswith(f"heads.{CARDS[n]}") for name in tensors)
        assert not any(name.startswith(f"heads.{card}") for name in tensors for card in others)
    coordinator.end_round(sent)
    sites[1] = Site(config, 1, data / CARDS[1], tmp_path / CARDS[1])
    coordinator.end_round([site.turn(federation, 2, coordinator.master) for site in sites])
    stored = load_checkpoint(coordinator.save(tmp_path / "master"))
    assert same(stored.student, simulated.student) and same(stored.teacher, simulated.student)
    for card, kept in zip(CARDS, simulated.progress["clients"], strict=True):
        assert same(
            *(held_by(card, teacher) for teacher in (load_checkpoint(tmp_path / card).teacher, kept["teacher"]))
        )
    lost = Site(config, 0, data / CARDS[0], tmp_path / "lost")
    with pytest.raises(CheckpointError, match="no state after round 1"):
        lost.turn(federation, 2, coordinator.master)
    check_what_a_coordinator_refuses(coordinator, sent)


def check_what_a_coordinator_refuses(coordinator, sent):
    master = dict(coordinator.master)
    name = next(iter(sent[0]))
    wrong = [
        {**sent[0], "heads.phantom_masks__segmentation.x": torch.zeros(1)},
        {key: value for key, value in sent[0].items() if key != name},
        sent[0] | {name: sent[0][name].double()},
        sent[0] | {name: torch.full_like(sent[0][name], torch.nan)},
    ]
    for tensors in wrong:
        with pytest.raises(DataError, match="client 1"):
            coordinator.end_round([tensors, *sent[1:]])
    assert same(master, coordinator.master)


@pytest.mark.slow
def test_three_processes_of_nvflare_equal_the_simulation(data, simulated, tmp_path, capsys):
    """Its simulator starts a process per site; they talk to the server over the loopback address."""
    pytest.importorskip("nvflare", reason="nvflare is not installed: pip install -e .[flare]")
    words = ["federate", str(CONFIG), "--data-root", str(data / "all"), "--flare", str(tmp_path / "flare")]
    words += [word for card in CARDS for word in ("--client", card)]
    assert main([*words, "--cfg-options", "schedule.max_steps=2", "evaluate.every=0"]) == 0
    assert "nvflare simulator" in capsys.readouterr().out
    command = [sys.executable, "-m", "nvflare.cli", "simulator", str(tmp_path / "flare" / "job")]
    command += ["-w", str(tmp_path / "flare" / "workspace"), "-c", "site-1,site-2,site-3", "-t", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    folders = {name: tmp_path / "flare" / "workspace" / name / "simulate_job" / "foundationx" for name in sites()}
    assert same(load_checkpoint(folders["server"]).student, simulated.student)
    for name, card, kept in zip(sites()[1:], CARDS, simulated.progress["clients"], strict=True):
        assert same(*(held_by(card, teacher) for teacher in (load_checkpoint(folders[name]).teacher, kept["teacher"])))


def sites():
    return ["server", "site-1", "site-2", "site-3"]


def test_what_travels_is_tensors_and_text(tmp_path):
    pytest.importorskip("nvflare", reason="nvflare is not installed: pip install -e .[flare]")
    from foundationx.apps.federation.flare import pack, unpack, write_job, write_workspace

    tensors = {"a": torch.randn(3, 4).T, "count": torch.tensor(7), "half": torch.ones(2, dtype=torch.bfloat16)}
    content = pack(tensors)
    assert b"pickle" not in content and same(unpack(content, "a site"), tensors)
    config = load_config(CONFIG, OPTIONS)
    assert write_job(config, tmp_path / "job", tmp_path) == ["site-1", "site-2", "site-3"]
    assert write_job(config, tmp_path / "job", tmp_path, ["a", "b", "c"]) == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="2 sites for 3 clients"):
        write_job(config, tmp_path / "job", tmp_path, ["a", "b"])
    client = json.loads((tmp_path / "job" / "app" / "config" / "config_fed_client.json").read_text())
    assert client["executors"][0]["executor"]["args"]["sites"] == ["a", "b", "c"]
    assert not list((tmp_path / "job").rglob("*.py")), "no code travels with a job"
    write_workspace(tmp_path / "workspace")
    allowed = json.loads((tmp_path / "workspace" / "local" / "resources.json").read_text())["class_allow_list"]
    assert "foundationx.apps.federation.flare" in allowed and len(allowed) > 10


def test_a_site_says_names_and_numbers_of_its_own_heads(config, data, tmp_path):
    site = Site(config, 1, data / CARDS[1], tmp_path)
    (head,) = site.facts()
    assert head.as_json().keys() == {"head", "classes", "images"}
    assert head.head == "phantom_boxes/detection" and head.images > 0
    assert HeadFacts.from_json(json.loads(json.dumps(head.as_json()))) == head
    with pytest.raises(ConfigError, match="start each site for its own client"):
        Federation.of(config, [[head], [head], [head]])


FACTS = {"head": "phantom_boxes/detection", "classes": ["a", "b"], "images": 9}
HOSTILE = [
    {},
    [],
    "x",
    None,
    {"head": "x"},
    {"head": ["phantom_boxes/detection"]},
    {"head": "phantom_boxes/surgery"},
    {"images": "many"},
    {"images": 10**30},
    {"images": -1},
    {"images": True},
    {"images": 1e308},
    {"classes": "ab"},
    {"classes": []},
    {"classes": ["a", "a"]},
    {"classes": [{"a": 1}]},
    {"classes": ["x" * 10**6]},
    {"classes": [str(number) for number in range(10**5)]},
    {"code": "import os"},
]


@pytest.mark.parametrize("wrong", HOSTILE, ids=lambda wrong: str(wrong)[:30])
def test_facts_of_a_hostile_site_make_no_plan_and_no_network(wrong):
    assert HeadFacts.from_json(FACTS).images == 9
    with pytest.raises(DataError, match="makes no sense") as refused:
        HeadFacts.from_json(FACTS | wrong if isinstance(wrong, dict) and wrong else wrong)
    assert len(str(refused.value)) < 600


def test_what_is_no_message_of_the_federation_is_refused_by_its_sender():
    pytest.importorskip("nvflare", reason="nvflare is not installed: pip install -e .[flare]")
    from foundationx.apps.federation.flare import facts_of, pack, unpack

    good = pack({"a": torch.zeros(2)})
    bomb = struct.pack("<Q", 2**62) + b"{}"
    for content in (None, 7, "text", b"", b"\x80\x04.", good[:-1], bomb, [good], {"a": torch.zeros(1)}):
        with pytest.raises(DataError, match="site-2: has sent no tensors"):
            unpack(content, "site-2")
    for content in (None, b"[]", "", "{", "7", "{}", '[{"head": "x", "head": "y"}]', "[" * 10**5):
        with pytest.raises(DataError, match="site-2: has sent no facts"):
            facts_of(content, "site-2")
    assert facts_of(json.dumps([FACTS]), "site-2") == [HeadFacts.from_json(FACTS)]


def test_weights_of_another_machine_are_those_that_are_expected():
    expected = {"a": torch.zeros(2, 3), "count": torch.zeros((), dtype=torch.long)}
    good = {"a": torch.ones(2, 3), "count": torch.tensor(4)}
    check_tensors("client 2", good, expected)
    wrong = [
        {},
        {"a": good["a"]},
        good | {"b": torch.zeros(1)},
        good | {"a": torch.ones(3, 2)},
        good | {"a": torch.ones(10**6, 3)},
        good | {"a": torch.ones(2, 3, dtype=torch.float64)},
        good | {"a": torch.full((2, 3), torch.inf)},
        good | {"count": torch.tensor(4.0)},
    ]
    for tensors in wrong:
        with pytest.raises(DataError, match="client 2"):
            check_tensors("client 2", tensors, expected)


@pytest.mark.parametrize("number", [0, -1, 10**9])
def test_a_site_takes_no_turn_in_a_round_that_there_is_not(config, data, tmp_path, number):
    site = Site(config, 1, data / CARDS[1], tmp_path)
    with pytest.raises(DataError, match=f"asks for round {number}"):
        site.turn(Federation(config, tuple(site.facts())), number, {})
    assert site.trainer is None, "nothing was built for it"

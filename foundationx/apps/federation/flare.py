"""NVFLARE (the extra ``flare``): the federation as a job of its own controller and executor.

``write_job`` makes the folder that ``nvflare job submit`` takes to a running federation and ``nvflare simulator`` runs
on one machine, a process per site. Tensors travel as safetensors, everything else as JSON: nothing is pickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from safetensors import SafetensorError
from torch import Tensor

from foundationx.apps.federation.sites import Coordinator, Federation, HeadFacts, Site
from foundationx.core.atomic_write import require_folder, write_json
from foundationx.core.config.load import parse_config
from foundationx.core.config.others import as_data
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError, DataError, FoundationXError
from foundationx.core.strict_json import read_json, to_exact_json
from foundationx.engine.federated import clients_of

FACTS, TURN = "facts", "turn"
"""Names of the two tasks that a site is given."""

MODULE = "foundationx.apps.federation.flare"
"""Where NVFLARE finds the two classes."""

DATA_ROOT = "FOUNDATIONX_DATA_ROOT"
"""Environment variable of a site: the folder with its datasets."""


def write_job(config: RunConfig, folder: Path, data_root: Path, sites: Sequence[str] = ()) -> list[str]:
    """Writes a job for NVFLARE.

    Args:
        config: Configuration of the federation.
        folder: Folder of the job; it is made.
        data_root: Folder with the datasets at a site whose environment names none.
        sites: Names of the sites, in the order of the clients; site-1, site-2 ... if none are given.

    Returns:
        The names of the sites.

    Raises:
        ConfigError: There are not as many sites as clients.
    """
    clients = clients_of(config)
    names = list(sites) or [f"site-{number}" for number in range(1, len(clients) + 1)]
    if len(set(names)) != len(clients):
        found = f"{len(set(names))} sites for {len(clients)} clients"
        raise ConfigError("--site", found, "one name per client", "name each site once, in the order of the clients")
    text = to_exact_json(config.model_dump(mode="json"))
    common = {"config": text, "sites": names}
    filters: dict[str, Any] = {
        "format_version": 2,
        "task_data_filters": [],
        "task_result_filters": [],
        "components": [],
    }
    server = filters | {"workflows": [{"id": "rounds", "path": f"{MODULE}.Rounds", "args": common}]}
    executor = {"path": f"{MODULE}.SiteExecutor", "args": common | {"data_root": str(data_root.absolute())}}
    client = filters | {"executors": [{"tasks": [FACTS, TURN], "executor": executor}]}
    require_folder(folder / "app" / "config")
    write_json(folder / "app" / "config" / "config_fed_server.json", server)
    write_json(folder / "app" / "config" / "config_fed_client.json", client)
    meta = {"name": config.name, "resource_spec": {}, "min_clients": len(names), "deploy_map": {"app": ["@ALL"]}}
    write_json(folder / "meta.json", meta | {"mandatory_clients": names})
    return names


def write_workspace(folder: Path) -> None:
    """Writes a workspace for ``nvflare simulator``: its list of classes that a job may name has ours beside NVFLARE's.

    A real site adds the same entry to ``class_allow_list`` in its ``local/resources.json``: no code is in a job.
    """
    from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST

    require_folder(folder / "local")
    allowed = [*DEFAULT_CLASS_ALLOW_LIST, MODULE]
    write_json(folder / "local" / "resources.json", {"format_version": 2, "class_allow_list": allowed})


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as they travel."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def unpack(content: object, sender: str) -> dict[str, Tensor]:
    """Tensors that have travelled. Raises DataError: they are none."""
    try:
        if isinstance(content, bytes):
            return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError):  # a header that lies, a type that torch does not have
        pass
    raise DataError(sender, "has sent no tensors", "safetensors", "use one version everywhere")


def facts_of(content: object, sender: str) -> list[HeadFacts]:
    """Facts that have travelled. Raises DataError: they are none."""
    try:
        if isinstance(content, str) and isinstance(heads := read_json(content), list):
            return [HeadFacts.from_json(head) for head in heads]
    except ValueError:
        pass
    raise DataError(sender, "has sent no facts", "a list of heads as JSON", "use one version everywhere")


class Rounds(Controller):
    """The coordinator's side: asks every site for its facts, then round after round.

    Args:
        config: Configuration of the federation as JSON.
        sites: Names of the sites, in the order of the clients.
    """

    def __init__(self, config: str, sites: list[str]):
        super().__init__()
        self.config, self.sites = config, sites
        self.answers: dict[str, Shareable] = {}

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is prepared."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is kept open."""

    def process_result_of_unknown_task(self, client: Client, task_name: str, *arguments: Any, **further: Any) -> None:
        """A late answer is dropped."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """The federation from its first question to the stored master."""
        try:
            config = parse_config(read_json(self.config), "the job's configuration")
            answers = self._ask(FACTS, {}, abort_signal, fl_ctx)
            heads = [facts_of(answer.get("facts"), site) for site, answer in zip(self.sites, answers, strict=True)]
            federation = Federation.of(config, heads)
            facts = json.dumps([head.as_json() for head in federation.facts])
            coordinator = Coordinator(federation)
            for number in range(1, config.schedule.cycles + 1):
                content = {"round": number, "facts": facts, "master": pack(coordinator.master)}
                turns = self._ask(TURN, content, abort_signal, fl_ctx)
                coordinator.end_round(
                    [unpack(turn.get("student"), site) for site, turn in zip(self.sites, turns, strict=True)]
                )
                self.log_info(fl_ctx, f"round {number} of {config.schedule.cycles} is averaged")
            path = coordinator.save(run_folder(fl_ctx))
            self.log_info(fl_ctx, f"master: {path}")
        except FoundationXError as error:
            self.system_panic(str(error), fl_ctx)

    def _ask(self, name: str, content: dict[str, Any], abort_signal: Signal, fl_ctx: FLContext) -> list[Shareable]:
        """The answers of all sites to a task, in the order of the clients. Raises FoundationXError."""
        self.answers = {}
        data = Shareable()
        data.update(content)
        task = Task(name=name, data=data, result_received_cb=self._keep)
        self.broadcast_and_wait(task, fl_ctx, targets=list(self.sites), min_responses=0, abort_signal=abort_signal)
        silent = [site for site in self.sites if site not in self.answers]
        if silent:
            found, fix = f"{', '.join(silent)} gave no answer to the task {name!r}", "look at the log of these sites"
            raise FoundationXError("federation", found, "an answer of every site", fix)
        return [self.answers[site] for site in self.sites]

    def _keep(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        if client_task.result.get_return_code() == ReturnCode.OK:
            self.answers[client_task.client.name] = client_task.result


class SiteExecutor(Executor):
    """A site's side: answers with facts, and with the tensors that it has trained in a round.

    Args:
        config: Configuration of the federation as JSON. What it names beside datasets and a known backbone is not used.
        sites: Names of the sites, in the order of the clients.
        data_root: Folder with the site's datasets; the environment variable ``FOUNDATIONX_DATA_ROOT`` comes first.
    """

    def __init__(self, config: str, sites: list[str], data_root: str):
        super().__init__()
        self.config, self.sites, self.data_root = config, sites, data_root
        self.site: Site | None = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Carries out a task."""
        try:
            site = self.site = self.site or self._open(fl_ctx)
            reply = Shareable()
            if task_name == FACTS:
                reply["facts"] = json.dumps([head.as_json() for head in site.facts()])
            else:
                federation = Federation(site.config, tuple(facts_of(shareable.get("facts"), "coordinator")))
                number, master = shareable.get("round"), unpack(shareable.get("master"), "coordinator")
                reply["student"] = pack(site.turn(federation, number if isinstance(number, int) else 0, master))
            return reply
        except FoundationXError as error:
            self.log_error(fl_ctx, str(error))
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)

    def _open(self, fl_ctx: FLContext) -> Site:
        config = as_data(parse_config(read_json(self.config), "the job's configuration"), "the job's configuration")
        name = fl_ctx.get_identity_name()
        if name not in self.sites:
            raise ConfigError(f"site {name}", "is not one of the job", ", ".join(self.sites), "name it with --site")
        data_root = Path(os.environ.get(DATA_ROOT) or self.data_root)
        return Site(config, self.sites.index(name), data_root, run_folder(fl_ctx))


def run_folder(fl_ctx: FLContext) -> Path:
    """Folder ``foundationx`` of this job in the workspace of this site or server."""
    engine = fl_ctx.get_engine()
    return Path(engine.get_workspace().get_run_dir(fl_ctx.get_job_id())) / "foundationx"

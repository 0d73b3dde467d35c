"""``foundationx federate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli import command_train
from foundationx.apps.cli.options import parse_options
from foundationx.core.errors import ConfigError

HELP = "simulate federated training: clients that do not share their datasets; or write it as a job for NVFLARE"
EXAMPLE = "foundationx federate ark/ark_plus_federated --client nih_cxr14 --client chexpert,mimic_cxr_jpg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: those of ``train``, and the clients."""
    command_train.add_arguments(parser)
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="CARD[,CARD...]",
        help="datasets of one client, repeated for each client; replaces the clients of the configuration",
    )
    parser.add_argument(
        "--flare",
        type=Path,
        metavar="DIR",
        help="write a job for NVFLARE there (default: none, the federation is simulated)",
    )
    parser.add_argument(
        "--site",
        action="append",
        default=[],
        metavar="NAME",
        help="name of a client's site in NVFLARE, repeated in the order of the clients (default: site-1, site-2 ...)",
    )


def run(options: argparse.Namespace) -> int:
    """Trains a federated configuration, or any other one with the clients that are named."""
    if options.client:
        options.cfg_options += ["schedule.type=federated", *_clients(options.client)]
    elif not _has_clients(options):
        expected = "federation=dict(clients=[[...], [...]]) with schedule.type='federated'"
        raise ConfigError(str(options.config), "has no `federation`", expected, "name the clients with --client")
    return _write_job(options) if options.flare else command_train.run(options)


def _write_job(options: argparse.Namespace) -> int:
    """Writes the job folder and says what takes it."""
    from foundationx.core.config.load import load_config
    from foundationx.core.distribution import install_hint

    try:
        from foundationx.apps.federation.flare import write_job, write_workspace
    except ImportError as error:
        found = f"NVFLARE is not installed ({error})"
        raise ConfigError("--flare", found, "the extra 'flare'", install_hint("flare")) from None
    config = load_config(options.config, parse_options(options.cfg_options))
    job, workspace = options.flare / "job", options.flare / "workspace"
    sites = write_job(config, job, options.data_root, options.site)
    write_workspace(workspace)
    print(f"{job} is for {', '.join(sites)}")
    print(f"on one machine: nvflare simulator {job} -w {workspace} -c {','.join(sites)} -t {len(sites)}")
    print(f"on a running federation: nvflare job submit -j {job}")
    return 0


def _has_clients(options: argparse.Namespace) -> bool:
    from foundationx.core.config.load import load_config

    return load_config(options.config, parse_options(options.cfg_options)).federation is not None


def _clients(named: list[str]) -> list[str]:
    """The clients as a change to the configuration, in OpenMMLab's notation."""
    groups = [[card.strip() for card in client.split(",") if card.strip()] for client in named]
    return [f"federation.clients=[{','.join('[' + ','.join(cards) + ']' for cards in groups)}]"]

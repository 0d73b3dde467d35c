"""``foundationx data cache``."""

from __future__ import annotations

import argparse

from foundationx.apps.cli.options import add_config, add_shard, parse_options

HELP = "decode the images of a configuration into its cache, whole or in shards; trains nothing"
EXAMPLE = "foundationx data cache quickstart/phantom --cfg-options runtime.cache=cache --shard 3/8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    add_config(parser)
    add_shard(parser, "decode this share of the images into a file of its own; the next run without --shard joins them")


def run(options: argparse.Namespace) -> None:
    """Fills the cache."""
    from foundationx.apps.run.data_notes import with_applied_audit
    from foundationx.core.config.load import load_config
    from foundationx.core.errors import ConfigError
    from foundationx.core.progress import print_tenths
    from foundationx.core.shards import Shard
    from foundationx.data.datamodule import open_datasets

    config = with_applied_audit(load_config(options.config, parse_options(options.cfg_options)), options.data_root)
    if config.runtime.cache is None:
        fix = "name a folder, e.g. --cfg-options runtime.cache=cache"
        raise ConfigError("runtime.cache", "is not set", "the folder of the cache", fix)
    shard = Shard.parse(options.shard) if options.shard else None
    data_module = open_datasets(config, options.data_root)
    data_module.fill_cache(print_tenths("cache"), shard)
    print(f"cache: {config.runtime.cache}{f', shard {shard}' if shard else ''} is filled")

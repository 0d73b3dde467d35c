"""What is to be known of a run's data before it is trained on: empty splits, images that several datasets share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import Split, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.exclusion import applied_list, audited_datasets
from foundationx.datasets.relations import unmatched_groups
from foundationx.datasets.splits import official_splits, seed_that_fills


def with_applied_audit(config: RunConfig, data_root: Path) -> RunConfig:
    """The configuration with the exclusion list of the data root's audit, unless it names one itself."""
    found = applied_list(data_root) if config.exclude is None else None
    return config if found is None else config.model_copy(update={"exclude": found})


def data_notes(data_module: DataModule, catalog: Catalog) -> list[str]:
    """Lines to print before training.

    Args:
        data_module: Datasets of the run.
        catalog: Catalogue with their cards.

    Raises:
        ConfigError: A head has no image to train on, or a split that has a share and is evaluated has no image in any
            dataset.
    """
    _check_training(data_module)
    return [*_empty_splits(data_module), *_shared_images(data_module, catalog), *_left_out(data_module)]


def _check_training(data_module: DataModule) -> None:
    """Raises ConfigError if a head has no image to train on, and says which dataset's official split takes them."""
    for key, count in data_module.sizes(Split.TRAIN).items():
        if not count:
            table = data_module.annotations[key]
            holders = _holders(data_module, key)
            taken = [f"{name} holds out {patients:,}" for name, patients in holders.items()]
            found = f"no image is left to train on: of its {len(set(table.patients)):,} patients "
            found += f"the official split of {', of '.join(taken)}" if taken else "none is in train"
            others = [name for name in holders if name != key.dataset]
            fix = "take the dataset out of this run and score it by `foundationx eval RUN --card NAME --split all`"
            if others:
                fix = (
                    f"leave {key.dataset} or {' and '.join(others)} out, or set allow_test = {others} to train on them"
                )
            elif not taken:
                fix = "check split, datasets.limit and exclude"
            raise ConfigError(f"dataset {key}", found, "at least one image", fix)


def _holders(data_module: DataModule, key: TaskKey) -> dict[str, int]:
    """Patients of a head whom official splits keep from training, counted by dataset."""
    patients, allowed = set(data_module.annotations[key].patients), data_module.config.allow_test
    holders: dict[str, set[str]] = {}
    for other, table in data_module.annotations.items():
        held = {patient for patient, split in zip(table.patients, table.splits, strict=True) if _holds_out(split)}
        if other.dataset not in allowed and held & patients:
            holders.setdefault(other.dataset, set()).update(held & patients)
    return {name: len(held) for name, held in holders.items()}


def _holds_out(split: Split | None) -> bool:
    return split in (Split.VAL, Split.TEST)


def _members(data_module: DataModule) -> dict[str, set[str]]:
    """Patients of each dataset."""
    members: dict[str, set[str]] = {}
    for key, table in data_module.annotations.items():
        members.setdefault(key.dataset, set()).update(table.patients)
    return members


def _empty_splits(data_module: DataModule) -> Iterator[str]:
    config = data_module.config
    for split in dict.fromkeys((config.evaluate.during, *config.evaluate.final)):
        without = [str(key) for key, count in data_module.sizes(split).items() if not count]
        if not without or config.split.fractions()[split] == 0:
            continue
        if len(without) == len(data_module.annotations):
            members = ", ".join(f"{name} ({len(who):,})" for name, who in _members(data_module).items())
            found = f"no patient of {members} is in {split.value}"
            expected = f"images in every split that has a share, or split.{split.value}=0"
            raise ConfigError("split", found, expected, _fix(data_module))
        found = f"{', '.join(without)}: no image in {split.value}, so there are no {split.value} figures"
        yield f"{found} ({_fix(data_module)})"


def _fix(data_module: DataModule) -> str:
    """How to get patients into every split."""
    tables, shares = list(data_module.annotations.values()), data_module.config.split.fractions()
    if all(patient in official_splits(tables) for table in tables for patient in table.patients):
        return "the official splits have none: split.file can hold patients out"
    dealt = "`foundationx data split` writes a list without empty splits, for split.file"
    seed = seed_that_fills(tables, shares)
    return dealt if seed is None else f"split.seed={seed} puts patients into every split of every dataset; or {dealt}"


def _shared_images(data_module: DataModule, catalog: Catalog) -> Iterator[str]:
    members, exclude = _members(data_module), data_module.config.exclude
    cards = [catalog.card(name) for name in members]
    for group in unmatched_groups(cards, members, audited_datasets(exclude)):
        yield (
            f"{', '.join(group)} show the same images by their cards, no patient has one name in them, and they were "
            "not audited: held-out images of one may be trained on by another; "
            "`foundationx data audit CONFIG --data-root DIR --apply` finds them and leaves them out of training"
        )


def _left_out(data_module: DataModule) -> Iterator[str]:
    if data_module.config.exclude is not None:
        count = sum(row["excluded"] for row in data_module.summary())
        yield f"{count:,} training images are left out by {data_module.config.exclude}"

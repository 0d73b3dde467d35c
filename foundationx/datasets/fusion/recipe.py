"""The recipe of a fusion: which datasets to select, how to treat unknown facts, and how to train.

The keys are those of the portal of MDFP (in British spelling), and others for permissions, unknown facts and training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, field_validator

from foundationx.core.errors import RecipeError, nearest
from foundationx.core.validation import validation_error
from foundationx.datasets.cards.card import Date
from foundationx.datasets.cards.schema import Part
from foundationx.datasets.cards.strict_yaml import read_yaml
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.aliases import DIMENSIONS, MODALITIES, OTHER, TASKS, compact, modalities_of, tasks_of

Policy = Literal["keep", "drop", "warn"]
Access = Literal["open", "registration", "credentialed", "application", "generated", "private"]

Choices = Annotated[tuple[str, ...], BeforeValidator(lambda value: () if value is None else value)]
"""Accepted values; null or empty: all."""


def _standard_names(
    names: tuple[str, ...], parse: Callable[[str], tuple[str, ...]], known: Iterable[str]
) -> tuple[str, ...]:
    """The standard names of aliases. Raises ValueError for an unknown name."""
    for name in names:
        if parse(name) in ((), (OTHER,)):
            raise ValueError(f"{name!r} is unknown; {nearest(name, known)}")
    return tuple(dict.fromkeys(standard for name in names for standard in parse(name)))


class Cards(Part):
    """Datasets by name; ``*`` and ``?`` match any letters."""

    allow: tuple[str, ...] | None = Field(None, description="only these; null: any")
    deny: tuple[str, ...] = Field((), description="not these, even if allow names them")


class Selection(Part):
    """Conditions on the selected datasets together."""

    min_datasets_per_modality: int = Field(1, ge=1)
    min_organisations_per_modality: int = Field(0, ge=0)
    storage_budget_gb: float | None = Field(None, gt=0, description="total size of all downloads")


class Sampling(Part):
    """Order of the datasets in a cycle: ``schedule.order`` of the configuration."""

    order: Literal["fixed", "shuffled", "temperature", "capped"] = "fixed"
    temperature: float = Field(1.0, ge=1)
    cap: int | None = Field(None, gt=0)


class Run(Part):
    """Settings of the configuration beside its datasets."""

    base: tuple[str, ...] | None = Field(
        None,
        description="presets that come with the package, such as _base_/swin_base; null: Swin-B and defaults",
    )
    image_size: int = Field(224, gt=0, multiple_of=32)
    cycles: int = Field(10, ge=1)
    options: dict[str, Any] = Field(
        default_factory=dict, description="other keys of the configuration, which override all others"
    )


class Recipe(Part):
    """A recipe. Load one with :func:`load_recipe`. Null and the empty list set no condition."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$", description="name of the run")
    cards: Cards = Cards()
    access: tuple[Access, ...] | None = Field(None, description="accepted kinds of access to the data")
    dimension: Literal["2D", "3D", "video"] | None = None
    allow_3d_as_2d_sources: bool = Field(False, description="volumes count as 2D sources: their slices are images")
    modalities: Choices = ()
    task_types: Choices = ()
    licence_allowlist: tuple[str, ...] | None = Field(None, description="names or SPDX identifiers; null: any")
    commercial: Literal["any", "required"] = Field("any", description="required: commercial use is allowed")
    redistribution: Literal["any", "required"] = Field("any", description="required: redistribution is allowed")
    trust_unverified: bool = Field(True, description="false: a permission that nobody has checked counts as unknown")
    anatomy_whitelist: Choices = Field((), description="concepts of the vocabulary; lung is within chest")
    include_unlabelled: bool = True
    prefer_labelled: bool = Field(False, description="labelled datasets come first if the budget is too small for all")
    min_valid_images: int | None = Field(None, ge=1)
    release_date_min: Date | None = None
    selection: Selection = Selection()
    unknown_policy: Policy = Field("warn", description="what to do if a fact that a key checks is unknown")
    unknown_policy_by_key: dict[str, Policy] = Field(default_factory=dict, description="other policies for some keys")
    sampling: Sampling = Sampling()
    exclude: str | None = Field(None, description="exclusion list of images, relative to the recipe")
    run: Run = Run()

    _file: Path = PrivateAttr(default=Path("recipe"))

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _standard_names(names, modalities_of, MODALITIES)

    @field_validator("task_types")
    @classmethod
    def _known_tasks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _standard_names(names, tasks_of, TASKS)

    @field_validator("dimension", mode="before")
    @classmethod
    def _standard_dimension(cls, value: Any) -> Any:
        return DIMENSIONS.get(compact(value), value) if isinstance(value, str) else value

    @field_validator("unknown_policy_by_key")
    @classmethod
    def _are_keys(cls, policies: dict[str, Policy]) -> dict[str, Policy]:
        for key in policies:
            if key not in CONDITIONS:
                raise ValueError(f"{key!r} checks no fact; {nearest(key, CONDITIONS)}")
        return policies

    @property
    def file(self) -> Path:
        """The YAML file that the recipe was read from."""
        return self._file

    def policy(self, key: str) -> Policy:
        """What to do if the fact that ``key`` checks is unknown."""
        return self.unknown_policy_by_key.get(key, self.unknown_policy)


CONDITIONS = (
    *("access", "dimension", "modalities", "task_types", "licence_allowlist", "commercial", "redistribution"),
    *("anatomy_whitelist", "include_unlabelled", "min_valid_images", "release_date_min", "selection"),
)
"""Keys that check a fact of a dataset, which may be unknown."""


def load_recipe(path: str | Path, vocabulary: Vocabulary) -> Recipe:
    """Reads a recipe.

    Raises:
        RecipeError: The file is missing or not YAML, a key or value is wrong, or a concept is not in the vocabulary.
    """
    path = Path(path)
    return parse_recipe(read_yaml(path, RecipeError, "a recipe"), path, vocabulary)


def parse_recipe(values: Any, path: Path, vocabulary: Vocabulary) -> Recipe:
    """A recipe of values that were read or made elsewhere.

    Args:
        values: Keys and values.
        path: File that holds them or will hold them; it is not read.
        vocabulary: Vocabulary of the concepts.

    Raises:
        RecipeError: A key or value is wrong, or a concept is not in the vocabulary.
    """
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise validation_error(error, Recipe, str(path), RecipeError) from None
    for concept in recipe.anatomy_whitelist:
        if concept not in vocabulary:
            expected = nearest(concept, [name for name in vocabulary.names() if vocabulary[name].kind == "anatomy"])
            where = f"{path}: anatomy_whitelist"
            raise RecipeError(where, f"{concept!r} is not in the vocabulary", expected, "correct the concept")
    recipe._file = path
    return recipe

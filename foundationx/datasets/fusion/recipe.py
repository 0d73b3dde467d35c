"""The recipe of a fusion: which datasets, what is to become of what is not known, and how they are trained.

The keys are those of the portal (``mdfp.md`` A.3, in British spelling) and those it lacks: why a dataset is left out,
what to do where a table says nothing, what the licence must allow.
"""

from __future__ import annotations

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
Access = Literal["open", "registration", "credentialed", "application", "generated"]

Wishes = Annotated[tuple[str, ...], BeforeValidator(lambda value: () if value is None else value)]
"""Any of these; null or none: anything."""


def _choices(wanted: tuple[str, ...], read: Any, known: Any) -> tuple[str, ...]:
    """The enumeration's spelling of each entry. Raises ValueError for one outside it."""
    for text in wanted:
        if read(text) in ((), (OTHER,)):
            raise ValueError(f"{text!r} is not known; {nearest(text, known)}")
    return tuple(dict.fromkeys(name for text in wanted for name in read(text)))


class Cards(Part):
    """Datasets by name; ``*`` and ``?`` stand for any letters."""

    allow: tuple[str, ...] | None = Field(None, description="only these; null: any")
    deny: tuple[str, ...] = Field((), description="not these, even where allow names them")


class Selection(Part):
    """What is asked of the chosen datasets together."""

    min_datasets_per_modality: int = Field(1, ge=1)
    min_organisations_per_modality: int = Field(0, ge=0)
    storage_budget_gb: float | None = Field(None, gt=0, description="size of all downloads together")


class Sampling(Part):
    """How a cycle goes through the datasets: ``schedule.order`` of the run's configuration."""

    order: Literal["fixed", "shuffled", "temperature", "capped"] = "fixed"
    temperature: float = Field(1.0, ge=1)
    cap: int | None = Field(None, gt=0)


class Run(Part):
    """What a runnable configuration needs beside its datasets."""

    base: tuple[str, ...] | None = Field(
        None, description="configuration files, beside the recipe; null: the project's Swin-B, schedule and views"
    )
    image_size: int = Field(224, gt=0, multiple_of=32)
    cycles: int = Field(10, ge=1)
    options: dict[str, Any] = Field(default_factory=dict, description="further keys of a configuration, laid over all")


class Recipe(Part):
    """A recipe. Load one with :func:`load_recipe`. Null and the empty list ask for nothing."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$", description="of the run")
    cards: Cards = Cards()
    access: tuple[Access, ...] | None = Field(None, description="ways to get the data")
    dimension: Literal["2D", "3D", "video"] | None = None
    allow_3d_as_2d_sources: bool = Field(False, description="volumes count as 2D sources: their slices are images")
    modalities: Wishes = ()
    task_types: Wishes = ()
    licence_allowlist: tuple[str, ...] | None = Field(None, description="names or SPDX identifiers; null: any")
    commercial: Literal["any", "required"] = Field("any", description="required: commercial use is allowed")
    redistribution: Literal["any", "required"] = Field("any", description="required: passing the data on is allowed")
    trust_unverified: bool = Field(True, description="false: a permission that nobody has checked counts as unknown")
    anatomy_whitelist: Wishes = Field((), description="concepts of the vocabulary; lung is within chest")
    include_unlabelled: bool = True
    prefer_labelled: bool = Field(False, description="labelled datasets come first where the budget cannot hold all")
    min_valid_images: int | None = Field(None, ge=1)
    release_date_min: Date | None = None
    selection: Selection = Selection()
    unknown_policy: Policy = Field("warn", description="where a fact that a key asks for is not known")
    unknown_policy_by_key: dict[str, Policy] = Field(default_factory=dict, description="another policy for some keys")
    sampling: Sampling = Sampling()
    exclude: str | None = Field(None, description="list of images to leave out, beside the recipe")
    run: Run = Run()

    _file: Path = PrivateAttr(default=Path("recipe"))

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, wanted: tuple[str, ...]) -> tuple[str, ...]:
        return _choices(wanted, modalities_of, MODALITIES)

    @field_validator("task_types")
    @classmethod
    def _known_tasks(cls, wanted: tuple[str, ...]) -> tuple[str, ...]:
        return _choices(wanted, tasks_of, TASKS)

    @field_validator("dimension", mode="before")
    @classmethod
    def _spelt(cls, value: Any) -> Any:
        return DIMENSIONS.get(compact(value), value) if isinstance(value, str) else value

    @field_validator("unknown_policy_by_key")
    @classmethod
    def _are_keys(cls, policies: dict[str, Policy]) -> dict[str, Policy]:
        for key in policies:
            if key not in ASKING:
                raise ValueError(f"{key!r} asks for no fact; {nearest(key, ASKING)}")
        return policies

    @property
    def file(self) -> Path:
        """The YAML file that the recipe was read from."""
        return self._file

    def policy(self, key: str) -> Policy:
        """What is done where the fact that ``key`` asks for is not known."""
        return self.unknown_policy_by_key.get(key, self.unknown_policy)


ASKING = (
    *("access", "dimension", "modalities", "task_types", "licence_allowlist", "commercial", "redistribution"),
    *("anatomy_whitelist", "include_unlabelled", "min_valid_images", "release_date_min", "selection"),
)
"""Keys that ask for a fact of a dataset, which may be unknown."""


def load_recipe(path: str | Path, vocabulary: Vocabulary) -> Recipe:
    """Reads a recipe.

    Raises:
        RecipeError: the file is missing or not YAML, a key or value is wrong, or a concept is not in the vocabulary.
    """
    path = Path(path)
    values = read_yaml(path, RecipeError, "a recipe")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise validation_error(error, Recipe, str(path), RecipeError) from None
    for concept in recipe.anatomy_whitelist:
        if concept not in vocabulary:
            expected = nearest(concept, [name for name in vocabulary.names() if vocabulary[name].kind == "anatomy"])
            where = f"{path}: anatomy_whitelist"
            raise RecipeError(where, f"{concept!r} is not in the vocabulary", expected, "correct it")
    recipe._file = path
    return recipe

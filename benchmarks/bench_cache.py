"""Samples from the cache against samples that are decoded: images a second on one core.

Both give the same bytes, which is checked before anything is timed. The images have the size of published ones.

    python benchmarks/bench_cache.py [--runs 7]
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
from image_files import KEY, write_images
from measuring import heading, in_turns, options, table, times

from foundationx.core.config.views import ViewConfig
from foundationx.core.geometry.views import TrainingProgress
from foundationx.core.types import Annotations
from foundationx.data.cache.fill import fill
from foundationx.data.cache.store import Store, TaskCache
from foundationx.data.dataset import CardDataset
from foundationx.data.loader import collate
from foundationx.data.transforms.augment import ViewPipeline, view_pipeline
from foundationx.data.transforms.view_sets import ViewSetDataset
from foundationx.tasks.self_supervision.objective import OBJECTIVES, open_objective

SIDE, COUNT = 2500, 4
SIZES = (512, 224)
"""Training sizes: size of cached images and of views."""

BATCH, BATCHES = 16, 20
"""Cached batches of one timed run; decoding is timed on one image per run."""

LAST = TrainingProgress(turn=3, done=0.99)
"""The last stage of a curriculum, and of several turns the one that takes two crops."""

VIEWS = {
    "resized only": {},
    "photometric": {"photometry": {"brightness": 0.2, "contrast": 0.2}},
    "geometric and photometric": {
        "geometry": {"rotate": 10, "crop_scale": (0.7, 1.0)},
        "photometry": {"brightness": 0.2, "contrast": 0.2},
    },
}


def main() -> None:
    runs = options(__doc__).runs
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        annotations = write_images(folder, COUNT, SIDE)
        for size in SIZES:
            plain = {KEY: CardDataset(annotations, folder, ViewPipeline(size))}
            cache = fill(Store(folder / f"cache_{size}", size), plain, {KEY: np.arange(COUNT)}, 10**9)[KEY]
            title = f"Decoded once ({size} x {size})"
            heading(title, f"{COUNT} PNG images of {SIDE} x {SIDE} pixels, in the page cache.")
            rows = [sample_row(name, view, size, annotations, folder, cache, runs) for name, view in VIEWS.items()]
            table(COLUMNS, rows)
        title = "Decoded once (self-supervised views)"
        heading(title, "The same images at full size; the published views of an image, not collated into a batch.")
        rows = [views_row(name, annotations, folder, runs) for name in OBJECTIVES.names()]
        table(["objective", "views per image", *COLUMNS[1:4]], rows)


COLUMNS = ("samples in batches", "decoded, images/s", "cached, images/s", "times faster", "views alone, images/s")


def sample_row(
    name: str, view: dict, size: int, annotations: Annotations, folder: Path, cache: TaskCache, runs: int
) -> list[str]:
    """Samples by the Dataset class, views and their copy into a batch included; and views of one image, not kept."""
    pipeline = view_pipeline(size, ViewConfig(**{"teacher": "same", **view}))
    decoding, cached = (CardDataset(annotations, folder, pipeline, kept) for kept in (None, cache))
    np.testing.assert_array_equal(cached.sample(1, 7).image, decoding.sample(1, 7).image)

    def batches(dataset: CardDataset, number: int, size: int) -> None:
        for batch in range(number):
            collate([(dataset.sample(place % COUNT, batch * size + place), []) for place in range(size)])

    def views(number: int) -> None:
        image = cache.read(0).image
        for seed in range(number):
            cached.view(image, None, seed)

    count = BATCHES * BATCH
    things = {
        "decoded": lambda: batches(decoding, 1, 1),
        "cached": lambda: batches(cached, BATCHES, BATCH),
        "view": lambda: views(count),
    }
    seconds = in_turns(things, runs)
    slow, quick, alone = seconds["decoded"], seconds["cached"] / count, seconds["view"] / count
    bare = f"{1 / alone:,.0f}" if view else ""  # without any option there is nothing to do
    return [name, f"{1 / slow:.1f}", f"{1 / quick:,.0f}", times(slow, quick), bare]


def views_row(name: str, annotations: Annotations, folder: Path, runs: int) -> list[str]:
    """The views of an objective with its published options, from decoded and from cached images."""
    objective, chosen = open_objective({"type": name})
    plan = functools.partial(objective.views, chosen)
    decoding = ViewSetDataset(annotations, folder, plan, chosen.photometry)
    cache = fill(Store(folder / "cache_whole", None), {KEY: decoding}, {KEY: np.arange(COUNT)}, 10**9)[KEY]
    cached = ViewSetDataset(annotations, folder, plan, chosen.photometry, cache)
    shown, other = cached.sample(1, 7, LAST).views, decoding.sample(1, 7, LAST).views
    for view in shown:
        np.testing.assert_array_equal(shown[view].image, other[view].image)
    things = {
        "decoded": lambda: [decoding.sample(place, place, LAST) for place in range(COUNT)],
        "cached": lambda: [cached.sample(place, place, LAST) for place in range(COUNT)],
    }
    slow, quick = (seconds / COUNT for seconds in in_turns(things, runs).values())
    return [name, str(len(shown)), f"{1 / slow:.1f}", f"{1 / quick:.1f}", times(slow, quick)]


if __name__ == "__main__":
    main()

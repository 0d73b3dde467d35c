"""The public Python API. Its names are imported from :mod:`foundationx` itself, which loads this module on first use.

Every function does what the command of the same name does, by the same code::

    from pathlib import Path
    import foundationx
    model = foundationx.load("work_dirs/demo/run")
    features = model.features(sorted(Path("images").glob("*.png")))  # (N, D)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from foundationx.apps.run.operating_points import fixed_points, operating_points
from foundationx.apps.run.predict import ImagePrediction, Preprocessor, heads_named, predict_images, predicting_heads
from foundationx.core.config.load import load_config, parse_config
from foundationx.core.config.run import RunConfig
from foundationx.core.device import pick_device
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.resources import find_config
from foundationx.core.types import Batch, MetricRow, Sample, Split, Task
from foundationx.data.datamodule import open_datasets
from foundationx.data.loader import collate
from foundationx.data.pixels.read import read_grey
from foundationx.datasets.cards.catalog import Catalog
from foundationx.engine.checkpoint import Checkpoint
from foundationx.evaluation.checkpoint import evaluate_checkpoint
from foundationx.models.backbone import Backbone
from foundationx.weights.imports.imported import open_with_heads

PathLike: TypeAlias = str | Path
Which: TypeAlias = Literal["student", "teacher"]


class Model:
    """A trained or imported model that takes image files. :func:`load` makes it.

    Args:
        checkpoint: Opened run, import or export.
        which: ``student`` or ``teacher``.
        device: Device to compute on.
        source: File or folder that was opened.

    Attributes:
        config: Configuration of the run, with image size, mean and standard deviation.
        network: The torch module: backbone, trunks and heads, in evaluation mode.
        which: ``student`` or ``teacher``.
        device: Device that it computes on.
    """

    def __init__(self, checkpoint: Checkpoint, which: Which, device: torch.device, source: Path):
        self.config: RunConfig = checkpoint.config
        self.network = checkpoint.model(which).to(device)
        self.which = which
        self.device = device
        self._points = operating_points(self.network, which, checkpoint.visit, source)

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """Class names of every head that predicts, by the head's name (``dataset/task``)."""
        return {str(key): self.network.classes[key] for key in predicting_heads(self.network)}

    def features(self, paths: PathLike | Iterable[PathLike], *, batch_size: int = 16) -> np.ndarray:
        """Pooled features of the backbone's last stage.

        Args:
            paths: Image file, or several, in any format that ``foundationx predict`` reads.
            batch_size: Images that go through the backbone at once.

        Returns:
            (N, D) float32, one row per image in the order of ``paths``.

        Raises:
            DataError: An image cannot be read.
        """
        files, prepare = _as_paths(paths), Preprocessor(self.config, self.device)
        rows = [np.zeros((0, self.network.backbone.channels[-1]), dtype=np.float32)]
        for start in range(0, len(files), batch_size):
            images = torch.cat([prepare(read_grey(path)) for path in files[start : start + batch_size]])
            with torch.no_grad():
                rows.append(self.network.backbone(images)[-1].mean(dim=(2, 3)).float().cpu().numpy())
        return np.concatenate(rows)

    def predict(
        self, paths: PathLike | Iterable[PathLike], *, heads: Sequence[str] = (), threshold: float | None = None
    ) -> list[dict[str, Any]]:
        """Predictions of the heads, as ``foundationx predict`` writes them to JSON.

        Args:
            paths: Image file, or several.
            heads: Names of the heads to run (``dataset/task``); if empty, all of :attr:`heads`.
            threshold: Least score of a box, in [0, 1]; None: those that were chosen on validation, by class.

        Returns:
            One dictionary per image with ``image``, ``model`` and ``heads``: class probabilities, boxes x1 y1 x2 y2
            and mask polygons in pixels of the image file.

        Raises:
            ConfigError: The model has no such head.
            DataError: An image cannot be read.
        """
        return [finding.values for finding in self._predictions(paths, heads, threshold)]

    def plot(self, path: PathLike, *, heads: Sequence[str] = (), threshold: float | None = None) -> Image.Image:
        """The image with its predictions drawn over it, as ``foundationx predict`` draws them.

        Args:
            path: Image file.
            heads: Names of the heads to draw; if empty, all of :attr:`heads`.
            threshold: Least score of a box and least probability that is written, in [0, 1]; None as for
                :meth:`predict`.

        Raises:
            ConfigError: The model has no such head.
            DataError: The image cannot be read.
        """
        (finding,) = self._predictions(path, heads, threshold)
        assert finding.picture is not None
        return Image.fromarray(finding.picture)

    def _predictions(
        self, paths: PathLike | Iterable[PathLike], heads: Sequence[str], threshold: float | None
    ) -> Iterable[ImagePrediction]:
        return predict_images(
            self.network,
            self.config,
            self.which,
            _as_paths(paths),
            heads=heads_named(self.network, heads),
            points=self._points if threshold is None else fixed_points(self.network, threshold),
            device=self.device,
        )


class ImageDataset(Dataset[Sample]):
    """The images of one split of one card with their labels; :func:`open_dataset` makes it.

    Pass ``collate_fn=dataset.collate`` to a :class:`torch.utils.data.DataLoader`: it makes a batch of samples.

    Attributes:
        key: Dataset and task.
        classes: Class names, in the order of the labels.
    """

    def __init__(self, config: RunConfig, data_root: Path, catalog: Catalog, split: Split):
        data_module = open_datasets(config, data_root, catalog)
        (self.key,) = data_module.classes
        self.classes = data_module.classes[self.key]
        self._images = data_module.evaluation(split).datasets[self.key]
        self._indices = data_module.indices[self.key][split]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        image = int(self._indices[index])
        return self._images.sample(image, seed=image)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Samples to one batch; boxes become shares of the image and are padded to the largest count."""
        batch = collate([(sample, []) for sample in samples])
        assert isinstance(batch, Batch)
        return batch


def load(path: PathLike, *, model: Which = "teacher", device: str = "auto", allow_code: bool = False) -> Model:
    """Opens a trained run, an import or an export.

    Args:
        path: Work directory of a run, checkpoint (``step_*.pt``), folder written by ``foundationx import``, or file
            written by ``foundationx export --to backbone``.
        model: ``student`` or ``teacher``; an import or export holds only one model.
        device: ``auto``, ``cpu`` or ``cuda``.
        allow_code: Trust the file's source: build whatever network it names, which may run code. Otherwise only known
            backbones are built.

    Returns:
        The model. It has heads if the run or the import has.

    Raises:
        CheckpointError: There is nothing to load, or it cannot be read.
    """
    return Model(open_with_heads(Path(path), allow_code=allow_code), model, pick_device(device), Path(path))


def load_backbone(
    path: PathLike, *, model: Which = "teacher", device: str = "auto", allow_code: bool = False
) -> Backbone:
    """Opens the backbone alone.

    Args:
        path: As for :func:`load`.
        model: ``student`` or ``teacher``.
        device: ``auto``, ``cpu`` or ``cuda``.
        allow_code: As for :func:`load`.

    Returns:
        A torch module in evaluation mode: (B, 3, H, W) normalised images to one feature map per stage, finest first.
        Its attributes ``channels`` and ``strides`` describe the stages.

    Raises:
        CheckpointError: There is nothing to load, or it cannot be read.
    """
    return load(path, model=model, device=device, allow_code=allow_code).network.backbone


def train(
    config: PathLike | Mapping[str, Any] | RunConfig,
    data_root: PathLike,
    work_dir: PathLike | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    resume: Literal["auto", "changed", "never"] = "auto",
) -> Path:
    """Trains, evaluates, reports and exports, as ``foundationx train`` does: it begins, or goes on.

    Args:
        config: Configuration file, or the configuration itself.
        data_root: Folder that holds the datasets.
        work_dir: Folder that the run writes to; ``work_dirs/NAME`` by default.
        changes: Values laid over a configuration file, such as ``{"schedule.cycles": 2}``.
        resume: What to do if ``work_dir`` holds a run: ``auto`` goes on with this very run and refuses another
            configuration, ``changed`` takes changed keys over from here, ``never`` refuses the folder.

    Returns:
        The work directory, for :func:`load` and :func:`evaluate`.

    Raises:
        KeyboardInterrupt: Training was stopped by a signal. A checkpoint is saved; the same call goes on.
        FoundationXError: The configuration, the data or the disk has to be corrected.
    """
    from foundationx.apps.run.train import train as run_training
    from foundationx.engine.resume import Resume

    file = find_config(config) if isinstance(config, str | Path) else None
    if file is None and changes:
        raise ConfigError("changes", "given without a configuration file", "a file", "change the configuration itself")
    checked = load_config(file, dict(changes or {})) if file is not None else _checked(config)
    folder = Path(work_dir) if work_dir is not None else Path("work_dirs") / checked.name
    if not run_training(checked, Path(data_root), folder, config_file=file, resume=Resume(resume)):
        raise KeyboardInterrupt(f"training stopped, everything is saved in {folder}; the same call goes on")
    return folder


def evaluate(
    run: PathLike,
    data_root: PathLike,
    *,
    split: str = "val",
    models: Sequence[Which] = ("student", "teacher"),
    device: str = "auto",
    out: PathLike | None = None,
    exclude: PathLike | None = None,
    allow_code: bool = False,
) -> list[MetricRow]:
    """Evaluates every head of a run, as ``foundationx eval`` does.

    Args:
        run: Work directory or checkpoint.
        data_root: Folder that holds the datasets.
        split: ``train``, ``val`` or ``test``, as the run recorded it; ``all``: every image, as one test set.
        models: ``student``, ``teacher`` or both.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: Folder for metrics, predictions and thresholds; None: nothing is written.
        exclude: List of training images to leave out; the one that the checkpoint names is not read.
        allow_code: As for :func:`load`.

    Returns:
        One row per head, metric, class and model.

    Raises:
        FoundationXError: The checkpoint or the data cannot be read.
    """
    folder, excluded = (Path(path) if path is not None else None for path in (out, exclude))
    return evaluate_checkpoint(
        Path(run),
        Path(data_root),
        "all" if split == "all" else _split(split),
        tuple(models),
        device,
        folder,
        exclude=excluded,
        allow_code=allow_code,
    )


def open_dataset(
    card: str,
    data_root: PathLike,
    *,
    task: str | None = None,
    split: str = "train",
    image_size: int = 224,
    root: str | None = None,
    catalog: Catalog | None = None,
) -> ImageDataset:
    """Opens one task of one dataset card as a torch dataset, without augmentation.

    Patients are split as in a run that has this dataset alone and the default fractions.

    Args:
        card: Name of a card (``foundationx data list``).
        data_root: Folder that holds the datasets.
        task: ``classification``, ``detection`` or ``segmentation``; by default the card's only task.
        split: ``train``, ``val`` or ``test``.
        image_size: Side in pixels that images are resized to, a multiple of 32.
        root: The dataset's folder under ``data_root``; by default the card's own.
        catalog: Cards to look in; by default those of the package and of ``FOUNDATIONX_REGISTRY``.

    Raises:
        CardError: There is no such card.
        ConfigError: ``task``, ``split`` or ``image_size`` is wrong.
        DataError: A file is missing or an annotation is wrong.
    """
    catalog = catalog or Catalog()
    content = {
        "name": card,
        "image_size": image_size,
        "model": {"backbone": {"type": "none"}},  # no network is built
        "datasets": [{"card": card, "root": root, "tasks": [task_named(catalog, card, task)]}],
        "schedule": {"cycles": 1},
    }
    return ImageDataset(parse_config(content, "open_dataset"), Path(data_root), catalog, _split(split))


def _as_paths(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _checked(config: PathLike | Mapping[str, Any] | RunConfig) -> RunConfig:
    """The configuration of a dictionary. Raises ConfigError."""
    if isinstance(config, Mapping):
        return parse_config(dict(config), "config")
    assert isinstance(config, RunConfig)
    return config


def _split(name: str) -> Split:
    """The split of that name. Raises ConfigError: there is none."""
    known = [split.value for split in Split]
    if name not in known:
        raise ConfigError("split", f"found {name!r}", "train, val or test", nearest(name, known))
    return Split(name)


def task_named(catalog: Catalog, card: str, name: str | None) -> Task:
    """The task of that name, or the card's only one. Raises ConfigError and CardError."""
    known = [task.value for task in catalog.card(card).tasks]
    if name is None and len(known) == 1:
        return Task(known[0])
    if name not in known:
        found = "is missing" if name is None else f"found {name!r}"
        raise ConfigError("task", found, f"a task of card {card}", nearest(name or "", known))
    return Task(name)

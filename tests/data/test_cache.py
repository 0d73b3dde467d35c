"""The cache gives bit for bit what decoding gives, and survives being killed, changed files and company."""

import dataclasses
import multiprocessing
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError, DataError, DiskError
from foundationx.core.geometry.views import TrainingProgress
from foundationx.core.runs import Runs
from foundationx.core.shards import Shard
from foundationx.core.types import Annotations, MaskPart, Task, TaskKey
from foundationx.data.cache.fill import fill
from foundationx.data.cache.store import RECORD, Entry, Key, Store, image_key
from foundationx.data.datamodule import open_datasets
from foundationx.data.dataset import CardDataset
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.detection.target import Boxes
from foundationx.tasks.segmentation.target import ImageMasks, pack, unpack
from tests.helpers.selfsup_tiny import OBJECTIVES, tiny_selfsup
from tests.helpers.view_pipelines import make_pipeline

SIZE, IMAGES = 64, 6
KEY = TaskKey("a", Task.CLASSIFICATION)
CONFIG = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"


@pytest.fixture
def root(tmp_path):
    """Images of odd sizes, each with a mask file."""
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        shape = (70 + number, 90 - number)
        write(folder / f"{number}.png", random.integers(0, 256, shape, np.uint8))
        write(folder / f"mask_{number}.png", random.integers(0, 2, shape, np.uint8) * 255)
    return folder


def write(path, pixels):
    assert cv2.imwrite(str(path), pixels)


def tables():
    """One dataset, three tasks, on the same files; masks of every kind."""
    names = [f"{number}.png" for number in range(IMAGES)]
    boxes = [np.array([[3, 4, 40 + number, 50]], np.float32) for number in range(IMAGES)]
    outline = np.array([[1, 1], [30, 2], [20, 50]], np.float32)
    masks = []
    for number, name in enumerate(names):
        runs = Runs(np.array([10], np.int32), np.array([300 + number], np.int32), "rows")
        masks.append((MaskPart(0, file=f"mask_{name}"), MaskPart(1, polygon=outline), MaskPart(1, runs=runs)))
    rows = [f"t.csv row {number}" for number in range(IMAGES)]
    common = {"images": names, "patients": names, "rows": rows, "splits": [None] * IMAGES}
    common["labels"] = np.array([[1, 0, np.nan]] * IMAGES, np.float32)
    targets = {
        Task.CLASSIFICATION: {},
        Task.DETECTION: {"targets": [Boxes(corners, np.zeros(1, np.int64)) for corners in boxes]},
        Task.SEGMENTATION: {"targets": masks},
    }
    keys = {TaskKey("a", task): target for task, target in targets.items()}
    return {key: Annotations(key, ("one", "two", "three"), **common, **target) for key, target in keys.items()}


VIEW = {"geometry": {"rotate": 20, "crop_scale": (0.5, 1.0)}, "photometry": {"brightness": 0.3}, "teacher": "whole"}


def datasets(root, caches=None, view=None):
    pipeline = make_pipeline(SIZE, **(view or {}))
    return {key: CardDataset(table, root, pipeline, (caches or {}).get(key)) for key, table in tables().items()}


def fill_all(root, folder, **options):
    expected = {key: np.arange(IMAGES) for key in tables()}
    return fill(Store(folder, SIZE), datasets(root), expected, options.pop("limit", 10**9), **options)


def no_decoding(*anything):
    raise AssertionError("something was decoded")


def assert_equal_samples(one, other):
    for item in dataclasses.fields(one):
        left, right = getattr(one, item.name), getattr(other, item.name)
        if dataclasses.is_dataclass(left):
            assert type(left) is type(right)
            assert_equal_samples(left, right)
        elif isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, item.name
            np.testing.assert_array_equal(left, right, err_msg=item.name)
        else:
            assert left == right, item.name


TONES = {"photometry": {"brightness": 0.3, "contrast": 0.3, "gamma": 0.3, "noise": 0.1, "blur": 2.0}}


@pytest.mark.parametrize("view", [{}, VIEW, TONES, {"geometry": {"hflip": 0.5}}], ids=["plain", "all", "tones", "flip"])
def test_a_cached_sample_is_the_decoded_one_bit_for_bit(root, tmp_path, view, monkeypatch):
    plain = datasets(root, view=view)
    expected = {key: [dataset.sample(i, seed=i) for i in range(IMAGES)] for key, dataset in plain.items()}
    cached = datasets(root, fill_all(root, tmp_path / "cache"), view)
    monkeypatch.setattr("foundationx.data.pixels.read.read_bytes", no_decoding)
    for key, dataset in cached.items():
        for index in range(IMAGES):
            assert_equal_samples(dataset.sample(index, seed=index), expected[key][index])


def test_pixels_of_a_file_are_stored_once_for_all_tasks(root, tmp_path):
    fill_all(root, tmp_path / "cache")
    assert len(Store(tmp_path / "cache", SIZE).records()) == 2 * IMAGES, "images, and their masks"


def test_a_second_time_nothing_is_decoded(root, tmp_path):
    reported = []
    fill_all(root, tmp_path / "cache", progress=lambda done, total: reported.append((done, total)))
    assert reported == [(IMAGES, IMAGES)], "each file once, for pixels and masks together"
    fill_all(root, tmp_path / "cache", progress=no_decoding)


@pytest.mark.parametrize("changed", ["2.png", "mask_2.png"])
def test_a_file_that_changes_is_decoded_again_and_no_other(root, tmp_path, changed):
    fill_all(root, tmp_path / "cache")
    old = cv2.imread(str(root / changed), cv2.IMREAD_GRAYSCALE)
    write(root / changed, 255 - old)
    reported = []
    caches = fill_all(root, tmp_path / "cache", progress=lambda done, total: reported.append((done, total)))
    assert reported == [(1, 1)]
    for key, dataset in datasets(root).items():
        assert_equal_samples(datasets(root, caches)[key].sample(2, seed=0), dataset.sample(2, seed=0))


def test_an_image_that_cannot_be_read_is_reported_by_whoever_reads_it(root, tmp_path):
    (root / "1.png").write_bytes(b"no image")
    (root / "3.png").unlink()
    caches = fill_all(root, tmp_path / "cache")
    dataset = datasets(root, caches)[TaskKey("a", Task.CLASSIFICATION)]
    for index in (1, 3):
        with pytest.raises(DataError, match=f"t.csv row {index}"):
            dataset.sample(index, seed=0)
    assert (caches[TaskKey("a", Task.SEGMENTATION)].targets["length"] > 0).tolist() == [
        True,
        False,
        True,
        False,
        True,
        True,
    ]


def test_what_does_not_fit_is_decoded(root, tmp_path):
    limit = 2 * (SIZE * SIZE + 4 * RECORD.itemsize) + 2000
    caches = fill_all(root, tmp_path / "cache", limit=limit)
    store = Store(tmp_path / "cache", SIZE)
    cached = sum(store.find(image_key(root / name) for name in tables()[KEY].images)["length"] > 0)
    assert 0 < cached < IMAGES and store.bytes_used() <= limit
    for key, dataset in datasets(root).items():
        for index in range(IMAGES):
            assert_equal_samples(datasets(root, caches)[key].sample(index, seed=1), dataset.sample(index, seed=1))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_self_supervised_views_are_cut_from_whole_cached_images(tmp_path, objective, monkeypatch):
    write_phantom_datasets(tmp_path / "data", {"phantom_labels": 4}, size=150, processes=1)
    plain = open_datasets(tiny_selfsup(objective), tmp_path / "data")
    cached = open_datasets(tiny_selfsup(objective, runtime__cache=str(tmp_path / "cache")), tmp_path / "data")
    cached.fill_cache()
    ((key, decoding),), other = plain.training().datasets.items(), cached.training().datasets
    moments = [TrainingProgress(turn=turn, done=done) for turn in range(4) for done in (0.0, 0.9)]
    expected = [decoding.sample(seed % 4, seed, training_progress) for seed, training_progress in enumerate(moments)]
    monkeypatch.setattr("foundationx.data.pixels.read.read_bytes", no_decoding)
    for seed, training_progress in enumerate(moments):
        result = other[key].sample(seed % 4, seed, training_progress)
        assert expected[seed].target.views.keys() == result.target.views.keys()
        for name, view in expected[seed].target.views.items():
            assert_equal_samples(result.target.views[name], view)


def test_full_size_images_take_the_memory_that_the_others_leave(tmp_path):
    write_phantom_datasets(tmp_path / "data", {"phantom_labels": 4}, size=150, processes=1)
    datasets = [{"card": "phantom_labels", "tasks": ["classification", "self_supervision"]}]
    changes = {"datasets": datasets, "runtime__cache": str(tmp_path / "cache"), "image_size": 64}
    room = 4 * (64 * 64 + RECORD.itemsize)  # the classification images, to the byte
    data_module = open_datasets(tiny_selfsup("peac", **changes, runtime__cache_gb=room / 1e9), tmp_path / "data")
    data_module.fill_cache()
    whole = Store(tmp_path / "cache", None)
    assert (Store(tmp_path / "cache", 64).bytes_used(), whole.bytes_used()) == (room, 0)

    data_module = open_datasets(tiny_selfsup("peac", **changes), tmp_path / "data")
    data_module.fill_cache()
    assert whole.bytes_used() == 4 * (150 * 150 + RECORD.itemsize)


def entries(*names, length=5):
    return [Entry(Key(name.encode().ljust(16, b"\0")), name.encode() * length, 3, 4) for name in names]


@pytest.mark.parametrize("cut", ["index", "pixels", "both"])
def test_what_a_killed_writer_leaves_is_written_over(tmp_path, cut):
    store = Store(tmp_path, SIZE)
    with store.adding() as adder:
        adder.add(entries("a", "b"))
        adder.add(entries("c"))
    if cut in ("index", "both"):
        os.truncate(store.index, 2 * RECORD.itemsize + 7)
    if cut in ("pixels", "both"):
        os.truncate(store.pixels, 12)
    assert len(store.records()) == 2, "the torn entry is not there"
    with store.adding() as adder:
        adder.add(entries("d", "c"))
    result = [
        bytes(store.read(position)) for position in store.find(entry.key for entry in entries("a", "b", "c", "d"))
    ]
    assert result == [b"aaaaa", b"bbbbb", b"ccccc", b"ddddd"]


def flip(path, offset):
    """Changes one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("task", [key.task for key in tables()], ids=str)
def test_a_flipped_bit_is_found_said_once_decoded_again_and_mended_by_the_next_run(root, tmp_path, task):
    fill_all(root, tmp_path / "cache")
    store, key = Store(tmp_path / "cache", SIZE), TaskKey("a", task)
    for record in store.records():
        flip(store.pixels, int(record["start"]) + int(record["length"]) // 2)
    caches, plain = fill_all(root, tmp_path / "cache"), datasets(root)[key]
    with pytest.warns(UserWarning, match="does not have its checksum") as said:
        for turn in range(2):
            for index in range(IMAGES):
                cached = datasets(root, caches)[key]
                assert_equal_samples(cached.sample(index, seed=turn), plain.sample(index, seed=turn))
    assert len(said) == 1
    reported = []
    again = fill_all(root, tmp_path / "cache", progress=lambda done, total: reported.append((done, total)))
    assert reported == [(IMAGES, IMAGES)] and not store.damaged.exists()
    assert all(again[key].read(index) is not None for index in range(IMAGES))
    fill_all(root, tmp_path / "cache", progress=no_decoding)


def test_a_record_of_which_any_bit_is_flipped_is_not_there(tmp_path):
    store = Store(tmp_path, SIZE)
    with store.adding() as adder:
        adder.add(entries("a", "b", "c"))
    intact = store.index.read_bytes()
    for offset in range(RECORD.itemsize, 2 * RECORD.itemsize):
        flip(store.index, offset)
        assert [bytes(store.read(record)) for record in store.records()] == [b"aaaaa", b"ccccc"]
        store.index.write_bytes(intact)
    flip(store.index, RECORD.itemsize)
    with store.adding() as adder:
        adder.add(entries("b"))
    found = store.find(entry.key for entry in entries("a", "b", "c"))
    assert [bytes(store.read(record)) for record in found] == [b"aaaaa", b"bbbbb", b"ccccc"]


@pytest.mark.parametrize("content", [b"", b"x" * 1000, b"\xff" * 4800, bytes(4800)])
@pytest.mark.parametrize("file", ["index.bin", "pixels.bin", "damaged.bin"])
def test_a_cache_of_other_content_is_made_anew(root, tmp_path, file, content):
    fill_all(root, tmp_path / "cache")
    (Store(tmp_path / "cache", SIZE).folder / file).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            caches = fill_all(root, tmp_path / "cache")
            for key, dataset in datasets(root).items():
                assert_equal_samples(datasets(root, caches)[key].sample(2, seed=0), dataset.sample(2, seed=0))


def test_a_cache_that_cannot_be_written_is_read(root, tmp_path, monkeypatch):
    """A damaged entry of it is decoded again; nothing notes it."""
    fill_all(root, tmp_path / "cache")
    store = Store(tmp_path / "cache", SIZE)
    flip(store.pixels, int(store.find([image_key(root / "0.png")])[0]["start"]))
    store.damaged.mkdir()
    caches = fill_all(root, tmp_path / "cache")
    assert_equal_samples(datasets(root, caches)[KEY].sample(0, seed=0), datasets(root)[KEY].sample(0, seed=0))


def fill_in_turn(root, folder):
    fill_all(root, folder, workers=1)


def test_processes_that_fill_at_once_add_every_entry_once(root, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill_in_turn, args=(root, tmp_path / "cache")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    records = Store(tmp_path / "cache", SIZE).records()
    assert len(records) == len({record.tobytes() for record in records["key"]}) == 2 * IMAGES
    assert_equal_samples(
        datasets(root, fill_all(root, tmp_path / "cache"))[KEY].sample(0, seed=0), datasets(root)[KEY].sample(0, seed=0)
    )


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_the_next_run_goes_on(root, tmp_path, monkeypatch):
    decode = CardDataset.decode
    monkeypatch.setattr(CardDataset, "decode", lambda self, index: os._exit(9) if index == 4 else decode(self, index))
    with pytest.raises(DataError, match="a worker process has died"):
        fill_all(root, tmp_path / "cache", workers=1)
    monkeypatch.setattr(CardDataset, "decode", decode)
    fill_all(root, tmp_path / "cache")
    assert len(Store(tmp_path / "cache", SIZE).records()) == 2 * IMAGES


def test_images_decoded_before_a_stop_stay_cached(root, tmp_path, monkeypatch):
    def decode(self, index):
        if index == 4:
            raise KeyboardInterrupt
        return whole(self, index)

    whole = CardDataset.decode
    monkeypatch.setattr(CardDataset, "decode", decode)
    with pytest.raises(KeyboardInterrupt):
        fill_all(root, tmp_path / "cache")
    assert len(Store(tmp_path / "cache", SIZE).records()) == 2 * 4, "images and their masks"


def test_a_folder_that_cannot_be_written_is_named(root, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(DiskError, match="cannot be written"):
        fill_all(root, tmp_path / "cache")


def test_masks_survive_deflating():
    masks = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (3, SIZE, SIZE))
    back = unpack(np.frombuffer(pack(ImageMasks(masks)), np.uint8), SIZE).masks
    np.testing.assert_array_equal(back, masks)
    back[0] = 0  # masks are drawn into


def test_a_run_with_a_cache_sees_the_batches_of_one_without(tmp_path):
    write_phantom_datasets(tmp_path / "data", 10, size=96, processes=1)
    plain = open_datasets(load_config(CONFIG), tmp_path / "data")
    cached = open_datasets(load_config(CONFIG, {"runtime.cache": str(tmp_path / "cache")}), tmp_path / "data")
    cached.fill_cache()
    for pool, other in ((plain.training(), cached.training()), (plain.evaluation("val"), cached.evaluation("val"))):
        for key, dataset in pool.datasets.items():
            for index in pool.indices[key][:3]:
                assert other.datasets[key].cache.read(index) is not None
                assert_equal_samples(other.datasets[key].sample(index, 5), dataset.sample(index, 5))


def entries_of(store):
    return {record["key"].tobytes(): store.read(record).tobytes() for record in store.records()}


def test_shards_join_to_what_one_process_fills(root, tmp_path, monkeypatch):
    fill_all(root, tmp_path / "whole")
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    for shard in (*shards, shards[0]):  # a shard that runs again has nothing to do
        assert fill_all(root, tmp_path / "cache", shard=shard) == {}
    parts = [len(Store(tmp_path / "cache", SIZE).of_shard(shard).records()) for shard in shards]
    assert sum(parts) == 2 * IMAGES, "no image is decoded by two shards, though three tasks have it"
    monkeypatch.setattr("foundationx.data.pixels.read.read_bytes", no_decoding)
    caches = fill_all(root, tmp_path / "cache")
    assert all(cache.read(index) is not None for cache in caches.values() for index in range(IMAGES))
    assert entries_of(Store(tmp_path / "cache", SIZE)) == entries_of(Store(tmp_path / "whole", SIZE))
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [Store(tmp_path, SIZE).folder.name]


def test_a_shard_that_is_being_filled_stays_and_one_that_was_killed_goes_on(root, tmp_path):
    shard = Shard(1, 2)
    fill_all(root, tmp_path / "cache", shard=shard)
    part = Store(tmp_path / "cache", SIZE).of_shard(shard)
    before = entries_of(part)
    with part.adding():
        fill_all(root, tmp_path / "cache")
        assert part.index.exists(), "its process may still add to it"
    with open(part.pixels, "ab") as stream:
        stream.write(b"killed before the record was written")
    fill_all(root, tmp_path / "cache")
    assert not part.folder.exists() and before.items() <= entries_of(Store(tmp_path / "cache", SIZE)).items()


def test_every_name_is_in_one_shard():
    for count in (1, 2, 7):
        shards = [Shard(number, count) for number in range(1, count + 1)]
        assert all(sum(shard.has(f"{name}.png") for shard in shards) == 1 for name in range(100))
    assert Shard.parse("3/8") == Shard(3, 8)
    for text in ("0/8", "9/8", "3", "3/0", "a/b", "-1/2", ""):
        with pytest.raises(ConfigError, match="--shard 3/8"):
            Shard.parse(text)

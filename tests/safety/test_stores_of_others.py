"""Archives, the audit's file of fingerprints and names of cards, as they may come from others."""

from __future__ import annotations

import io
import re
import shutil
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import foundationx
from foundationx.core.errors import FoundationXError
from foundationx.curation.audit.fingerprint import FingerprintStore, fingerprint, fingerprint_all
from foundationx.data.pixels.read import read_bytes, read_grey
from foundationx.datasets.stores import store as stores
from tests.helpers.reader_cards import Folder, make_card

LEADS_OUT = (
    *("../secret.png", "a/../../secret.png", "./../secret.png", "a/b/../../../secret.png", "..", "a/.."),
    *("..\\secret.png", "a\\..\\..\\secret.png", "a\\b.png", "../secret.png\0.png"),
)
"""Names of members that lead out of an archive where it is unpacked."""

PNG = cv2.imencode(".png", np.full((8, 8), 7, np.uint8))[1].tobytes()


def zipped(path: Path, names) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, PNG)


def tarred(path: Path, names, kind=tarfile.REGTYPE, target="", form=tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(PNG) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(PNG) if info.size else None)


def packed(path: Path, names) -> None:
    rows = [{"bytes": PNG, "path": name} for name in names]
    pq.write_table(pa.table({"image": pa.array(rows)}), path)


def zip_tar_or_parquet(folder: Path, kind: str, names) -> Path:
    path = folder / f"a.{kind}"
    {"zip": zipped, "tar": tarred, "parquet": packed}[kind](path, names)
    return path


@pytest.fixture
def folder(tmp_path) -> Folder:
    """A dataset beside a secret that no member of an archive may reach."""
    made = Folder(tmp_path)
    (made.path.parent / "secret.png").write_bytes(PNG)
    (made.path / "secret.png").write_bytes(PNG)
    return made


@pytest.mark.parametrize("name", LEADS_OUT)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_lead_out_of_an_archive_are_not_there(folder, kind, name):
    path = zip_tar_or_parquet(folder.path, kind, [name, "a.png"])
    inside = set(stores.open_store(path).names())
    assert "a.png" in inside and all(".." not in one and "\\" not in one for one in inside)
    with pytest.raises(FoundationXError):
        read_bytes(path / name.replace("\0", ""))


@pytest.mark.parametrize("name", [*LEADS_OUT[:6], "/etc/hostname", "//etc/hostname"])
@pytest.mark.parametrize("kind", ["zip", "tar", "parquet"])
def test_a_table_cannot_name_files_beyond_an_archive(folder, kind, name):
    zip_tar_or_parquet(folder.path, kind, ["a.png"])
    images = "a.parquet/image" if kind == "parquet" else f"a.{kind}"
    folder.write("f.csv", f"file,found\n{name},Mass\n")
    options = {"image_column": "file", "findings_column": "found"}
    with pytest.raises(FoundationXError):
        folder.read(make_card("findings_csv", ["Mass"], file="f.csv", images=images, options=options))


@pytest.mark.parametrize(
    "names", [["../secret.png", "a.png"], ["/etc/hostname", "a.png"], ["x/../../secret.png", "b.png"]]
)
def test_paths_in_parquet_are_names_inside_of_it(folder, names):
    path = zip_tar_or_parquet(folder.path, "parquet", names)
    for name in stores.open_store(path).names():
        assert name.startswith("image/") and ".." not in name.split("/")
        assert (read_grey(path / name) == 7).all(), "the bytes are those of the row, not of a file beside it"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("target", ["../secret.png", "/etc/hostname", "/dev/zero"])
def test_links_and_devices_in_a_tar_are_no_files(folder, kind, target):
    tarred(folder.path / "a.tar", ["link.png"], kind, target)
    assert not list(stores.open_store(folder.path / "a.tar").names())
    with pytest.raises(FoundationXError):
        read_bytes(folder.path / "a.tar" / "link.png")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_every_form_of_tar_do_not_lead_out(folder, form):
    name = "../" + "n" * 60 + "/" + "m" * 60 + ".png"
    tarred(folder.path / "a.tar", [name, "a.png"], form=form)
    assert list(stores.open_store(folder.path / "a.tar").names()) == ["a.png"]


@pytest.mark.parametrize("kind", ["zip", "tar", "parquet"])
def test_an_archive_that_is_a_link_out_of_the_data_is_refused(folder, tmp_path_factory, kind):
    outside = zip_tar_or_parquet(tmp_path_factory.mktemp("outside"), kind, ["a.png"])
    (folder.path / f"a.{kind}").symlink_to(outside)
    images = "a.parquet/image" if kind == "parquet" else f"a.{kind}"
    folder.write("f.csv", "file,found\na.png,Mass\n")
    options = {"image_column": "file", "findings_column": "found"}
    with pytest.raises(FoundationXError):
        folder.read(make_card("findings_csv", ["Mass"], file="f.csv", images=images, options=options))


@pytest.mark.parametrize("name", ["../card", "/etc/passwd", "a/../../b", "..", "card\0", "x" * 5000])
def test_names_of_cards_do_not_lead_out_of_the_registry(name, tmp_path):
    with pytest.raises(FoundationXError):
        foundationx.Catalog().card(name)
    with pytest.raises(FoundationXError):
        foundationx.open_dataset(name, tmp_path, image_size=64)


def test_the_notebook_writes_below_its_own_folder_and_starts_nothing():
    path = Path(__file__).parents[2] / "docs" / "notebooks" / "first_steps.ipynb"
    nbformat = pytest.importorskip("nbformat")
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells and "tempfile.mkdtemp()" in cells[0]
    for line in "\n".join(cells).splitlines():
        assert not line.lstrip().startswith(("!", "%")), "starts a program"
        assert not re.search(r"""["'](/|~|\.\.|https?:)""", line), f"leads elsewhere: {line}"
        assert not re.search(r"\b(subprocess|os\.system|eval|exec|pickle|urllib|requests)\b", line)


COLUMNS = ("path", "size", "changed", "content", "pixels", "thumbnail", "trimmed", "checksum")


@pytest.mark.parametrize("column", COLUMNS[3:])
@pytest.mark.parametrize("how", ["bit", "other row"])
def test_altered_rows_of_the_audits_fingerprints_are_computed_anew(tmp_path, column, how):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for seed, path in enumerate(paths):
        cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (150, 140), np.uint8))
    store = FingerprintStore(tmp_path / "prints.sqlite")
    right, _ = fingerprint_all(paths, store)
    store.close()
    base = sqlite3.connect(tmp_path / "prints.sqlite")
    rows = dict(base.execute(f"SELECT path, {column} FROM fingerprints").fetchall())
    first, second = rows
    value = rows[second] if how == "other row" else bytes([*rows[first][:-1], (rows[first] or b"\0")[-1] ^ 1])
    base.execute(f"UPDATE fingerprints SET {column} = ? WHERE path = ?", (value, first))
    base.commit()
    base.close()
    store = FingerprintStore(tmp_path / "prints.sqlite")
    if value != rows[first]:
        assert store.get(Path(first.decode())) is None
    again, errors = fingerprint_all(paths, store)
    store.close()
    assert not errors
    for one, other in zip(again, right, strict=True):
        assert (one.content, one.pixels) == (other.content, other.pixels)
        assert (one.thumbnail == other.thumbnail).all()


def test_altered_rows_of_a_shard_are_not_joined_unnoticed(tmp_path):
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (150, 140), np.uint8))
    shard = FingerprintStore(tmp_path / "shard.sqlite")
    fingerprint_all([image], shard)
    shard.close()
    base = sqlite3.connect(tmp_path / "shard.sqlite")
    base.execute("UPDATE fingerprints SET pixels = ?", (bytes(32),))
    base.commit()
    base.close()
    shutil.copy(tmp_path / "shard.sqlite", tmp_path / "kept.sqlite")
    store = FingerprintStore(tmp_path / "prints.sqlite")
    store.join(tmp_path / "shard.sqlite")
    assert store.get(image) is None
    (read,), _ = fingerprint_all([image], store)
    store.close()
    assert read.pixels == fingerprint(image).pixels

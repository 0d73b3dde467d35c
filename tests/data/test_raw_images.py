"""MetaImage and JSRT films, made byte by byte; torn and hostile ones."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundationx.core.errors import DataError
from foundationx.curation.audit.fingerprint import fingerprint
from foundationx.data.cache.store import image_key
from foundationx.data.pixels.raw_images import META_TYPES, read_jsrt, read_metaimage
from foundationx.data.pixels.read import read_grey, read_mask

SHORTS = [[0, 100, -100], [255, 1000, 3000]]
"""Two rows of three."""


def header(kind: str = "MET_SHORT", size: str = "3 2", **keys: str) -> bytes:
    """As NODE21 writes it; keys of the call are put in, and ElementDataFile stands last."""
    lines = {"ObjectType": "Image", "NDims": str(len(size.split())), "BinaryData": "True"}
    lines |= {"BinaryDataByteOrderMSB": "False", "CompressedData": "False", "ElementSpacing": "0.139 0.139"}
    lines |= {"DimSize": size, "ElementType": kind} | keys
    data_file = lines.pop("ElementDataFile", "LOCAL")
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    return (text + f"ElementDataFile = {data_file}\n").encode()


def shorts(order: str = "<") -> bytes:
    return struct.pack(f"{order}6h", *SHORTS[0], *SHORTS[1])


def read(tmp_path, content: bytes) -> np.ndarray:
    return read_metaimage(tmp_path / "a.mha", content)


def test_metaimage_rows_come_first_and_both_byte_orders_are_read(tmp_path):
    little = read(tmp_path, header() + shorts())
    big = read(tmp_path, header(BinaryDataByteOrderMSB="True") + shorts(">"))
    assert little.tolist() == big.tolist() == SHORTS
    assert read(tmp_path, header(ElementByteOrderMSB="True") + shorts(">")).tolist() == SHORTS


def test_metaimage_may_be_packed_and_may_have_a_third_dimension_of_one(tmp_path):
    packed = zlib.compress(shorts())
    keys = {"CompressedData": "True", "CompressedDataSize": str(len(packed))}
    assert read(tmp_path, header(size="3 2 1", **keys) + packed).tolist() == SHORTS


@pytest.mark.parametrize(("kind", "code"), META_TYPES.items())
def test_metaimage_pixel_types(tmp_path, kind, code):
    values = np.array([[1, 2, 3], [4, 5, 6]], dtype="<" + code)
    result = read(tmp_path, header(kind) + values.tobytes())
    assert result.dtype == np.dtype(code)
    assert result.tolist() == values.tolist()


def test_a_metaimage_becomes_grey_bytes_whatever_it_is_called(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(header(size="2 2") + struct.pack("<4h", -1000, 0, 1000, 1000))
    assert read_grey(path).tolist() == [[0, 128], [255, 255]]  # scaled: the middle of 255 is rounded to even
    path.write_bytes(header("MET_UCHAR") + bytes([0, 7, 9, 10, 20, 30]))
    assert read_grey(path).tolist() == [[0, 7, 9], [10, 20, 30]]
    assert read_mask(path).tolist() == [[0, 7, 9], [10, 20, 30]]
    path.write_bytes(header("MET_FLOAT", "1 1") + struct.pack("<f", np.nan))
    for reader in (read_grey, read_mask):
        with pytest.raises(DataError):
            reader(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header() + shorts()[:-1], "11 bytes of pixels"),
        (header() + shorts() + b"\0", "13 bytes of pixels"),
        (header()[:-8], "header does not end"),
        (b"ObjectType = Image\n" + b"x" * 100_000, "header does not end"),
        (header(ElementDataFile="a.raw"), "in 'a.raw', which does not exist"),
        (header(BinaryData="False") + b"1 2 3 4 5 6", "as text"),
        (header(size="3 1 2") + shorts(), "DimSize = 3 1 2"),
        (header(size="6") + shorts(), "NDims = 1"),
        (header(NDims="x") + shorts(), "NDims = x"),
        (header(size="3 -2") + shorts(), "DimSize = 3 -2"),
        (header(ElementNumberOfChannels="3") + shorts() * 3, "channels 3"),
        (header("MET_ASCII") + shorts(), "ElementType is 'MET_ASCII'"),
        (header(size="90000 90000"), "claims 90000 x 90000"),
        (header(CompressedData="True") + b"no zlib", "packed pixels are damaged"),
        (header(CompressedData="True") + zlib.compress(shorts())[:-2], "packed pixels are cut off"),
        (header(CompressedData="True") + zlib.compress(bytes(10**7)), "13 bytes of pixels"),
    ],
)
def test_faulty_metaimages_are_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "n0001.mha"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_grey(path)
    assert caught.value.where == str(path)
    assert caught.value.fix


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 250), value=st.integers(0, 255), cut=st.integers(0, 300))
def test_damaged_metaimages_give_an_image_or_a_reason(tmp_path, place, value, cut):
    content = bytearray(header(CompressedData="True") + zlib.compress(shorts()))
    content[place % len(content)] = value
    path = tmp_path / "a.mha"
    path.write_bytes(bytes(content[: max(1, cut)]))
    try:
        assert read_grey(path).dtype == np.uint8
    except DataError as error:
        assert str(path) in error.where


def pair(folder, kind="MET_SHORT", size="3 2", data=None, file="a.raw", name="a.mhd", **keys):
    """A MetaImage in two files."""
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(shorts() if data is None else data)
    (folder / name).write_bytes(header(kind, size, ElementDataFile=file, **keys))
    return folder / name


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (shorts(), {}),
        (shorts(">"), {"BinaryDataByteOrderMSB": "True"}),
        (zlib.compress(shorts()), {"CompressedData": "True", "file": "a.zraw"}),
        (zlib.compress(shorts(">")), {"CompressedData": "True", "ElementByteOrderMSB": "True", "size": "3 2 1"}),
        (b"x" * 7 + shorts(), {"HeaderSize": "7"}),
        (b"x" * 7 + shorts(), {"HeaderSize": "-1"}),
        (shorts(), {"file": "film one.RAW"}),
        (shorts(), {"file": "r\u00f6ntgen.raw"}),
    ],
)
def test_a_metaimage_pair_is_read_as_the_same_image_in_one_file(tmp_path, data, keys):
    """CRASS publishes .mhd with .raw; the same numbers as one .mha are the reference."""
    path = pair(tmp_path, data=data, **keys)
    (tmp_path / "one.mha").write_bytes(header() + shorts())
    assert read_grey(path).tolist() == read_grey(tmp_path / "one.mha").tolist()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "b.mhd").symlink_to(path)
    assert read_grey(tmp_path / "linked" / "b.mhd").tolist() == read_grey(path).tolist()


def test_a_pair_of_masks_is_read_and_its_header_may_end_without_a_line_break(tmp_path):
    path = pair(tmp_path, "MET_UCHAR", data=bytes([0, 1, 1, 0, 0, 1]))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_mask(path).tolist() == [[0, 1, 1], [0, 0, 1]]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_mask(path).tolist() == [[0, 1, 1], [0, 0, 1]]


def test_faulty_pairs_are_refused_with_the_reason(tmp_path):
    path = pair(tmp_path / "set")
    (tmp_path / "set" / "a.raw").unlink()
    with pytest.raises(DataError, match=r"in 'a\.raw', which does not exist") as caught:
        read_grey(path)
    assert caught.value.fix == "put 'a.raw' beside a.mhd, as it was published"
    (tmp_path / "secret.raw").write_bytes(shorts())
    for file in ("../secret.raw", str(tmp_path / "secret.raw"), "a.mhd", "set/../../secret.raw"):
        path.write_bytes(header(ElementDataFile=file))
        with pytest.raises(DataError, match="its pixels are in"):
            read_grey(path)
    (tmp_path / "set" / "a.raw").symlink_to(tmp_path / "secret.raw")
    path.write_bytes(header(ElementDataFile="a.raw"))
    with pytest.raises(DataError, match=r"its pixels are in 'a\.raw'"):
        read_grey(path)
    for file in ("LIST", "LIST 2D", "slice%03d.raw 1 2 1"):
        path.write_bytes(header(ElementDataFile=file))
        with pytest.raises(DataError, match="in several files"):
            read_grey(path)
    path = pair(tmp_path / "short", data=shorts()[:-1])
    with pytest.raises(DataError, match="11 bytes of pixels"):
        read_grey(path)
    path = pair(tmp_path / "odd", HeaderSize="x")
    with pytest.raises(DataError, match="HeaderSize is 'x'"):
        read_grey(path)


def test_the_cache_and_the_fingerprint_see_both_files_of_a_pair(tmp_path):
    one, two = pair(tmp_path / "one"), pair(tmp_path / "two", data=shorts()[::-1])
    assert one.read_bytes() == two.read_bytes()
    assert fingerprint(one).content != fingerprint(two).content
    before = image_key(one)
    (tmp_path / "one" / "a.raw").write_bytes(shorts() + b"more")
    assert image_key(one) != before
    (tmp_path / "one" / "a.raw").unlink()
    with pytest.raises(OSError):
        image_key(one)


def film(values: dict[tuple[int, int], int]) -> bytes:
    """A JSRT file: all 1000 but for some pixels (row, column)."""
    pixels = np.full((2048, 2048), 1000, dtype=">u2")
    for position, value in values.items():
        pixels[position] = value
    return pixels.tobytes()


def test_a_jsrt_film_is_known_by_its_size_and_shown_as_the_negative_of_its_densities(tmp_path):
    path = tmp_path / "JPCLN001.IMG"
    path.write_bytes(film({(0, 1): 0, (2047, 0): 4095}))
    assert path.read_bytes()[2:4] == b"\0\0"
    assert path.read_bytes()[:2] == b"\x03\xe8"  # 1000, the greater byte first
    result = read_grey(path)
    assert result.shape == (2048, 2048)
    assert result[0, 1] == 255  # clear film: dense tissue
    assert result[2047, 0] == 0  # black film: air
    assert result[5, 5] == round((4095 - 1000) / 4095 * 255)


def test_other_bytes_of_that_size_are_no_film(tmp_path):
    path = tmp_path / "JPCLN001.IMG"
    path.write_bytes(film({(3, 3): 4096}))
    assert read_jsrt(path.read_bytes()) is None
    with pytest.raises(DataError, match="not an image that can be read") as caught:
        read_grey(path)
    assert "JSRT" in caught.value.expected
    path.write_bytes(film({})[:-2])
    with pytest.raises(DataError, match="not an image that can be read"):
        read_grey(path)

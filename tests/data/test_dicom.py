"""DICOM as archives hold it: packings, windows, padding, damaged and empty attributes; pydicom is the reference."""

from __future__ import annotations

import importlib.util
import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_rescale, apply_voi, apply_voi_lut, apply_windowing
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLSLossless,
)

from foundationx.core.errors import DataError
from foundationx.data.pixels.read import read_grey

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"
UNPACKS = all(get_decoder(syntax).is_available for syntax in (JPEGLSLossless, JPEGLossless))
"""Whether a package for the packings of archives is installed, as the extra 'dicom' does."""

Y, X = np.mgrid[0:96, 0:96]
BODY = (500 + 2000 * np.exp(-((Y - 48) ** 2 + (X - 48) ** 2) / 900)).astype(np.int32)
"""500 to 2,500, brightest in the middle."""


def dataset(values, photometric="MONOCHROME2", bits=16, signed=False, **tags):
    """A DICOM image; tags are put in as they are."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = *values.shape[:2], 1
    data.PhotometricInterpretation, data.PixelRepresentation = photometric, int(signed)
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PixelData = values.astype(np.int16 if signed else np.uint16).tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def content(data, **options) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(stream, **(options or {"enforce_file_format": True}))
    return stream.getvalue()


def read(tmp_path, values, *args, **tags):
    (tmp_path / "x.dcm").write_bytes(content(dataset(values, *args, **tags)))
    return read_grey(tmp_path / "x.dcm")


def scaled(values):
    """The least becomes 0, the greatest 255."""
    values = np.asarray(values, dtype=np.float64)
    return (values - values.min()) * 255 / (values.max() - values.min())


def near(found, expected) -> bool:
    return bool(abs(found.astype(float) - expected).max() <= 0.51)


def refusal(path):
    with pytest.raises(DataError) as caught:
        read_grey(path)
    assert caught.value.where == str(path) and caught.value.fix
    return caught.value


# ---- what sets the grey range


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (65535, {"PixelPaddingValue": 65535}),
        (-2000, {"signed": True, "PixelPaddingValue": -2000}),
        (0, {"PixelPaddingValue": 0}),
        (65530, {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 65500}),
        (65530, {"PixelPaddingValue": 65500, "PixelPaddingRangeLimit": 65535}),
        (1000, {"PixelPaddingValue": 1000}),  # inside the range of the film: black all the same
        (4095, {"bits": 12, "PixelPaddingValue": 65535}),  # written with bits that are not stored
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_padding_is_black_and_does_not_set_the_range(tmp_path, value, tags, photometric):
    round_film = (Y - 48) ** 2 + (X - 48) ** 2 < 45**2
    film = np.where(BODY == 1000, 1001, BODY)
    found = read(tmp_path, np.where(round_film, film, value), photometric, **tags)
    assert (found[~round_film] == 0).all()
    inside = scaled(film[round_film])
    assert near(found[round_film], inside if photometric == "MONOCHROME2" else 255 - inside)


def test_padding_everywhere_or_nowhere_says_nothing(tmp_path):
    assert near(read(tmp_path, BODY, PixelPaddingValue=7), scaled(BODY))
    assert (read(tmp_path, np.full((8, 8), 7), PixelPaddingValue=7) == 0).all()


@pytest.mark.parametrize("shape", ["left", "frame", "triangle", "disc"])
@pytest.mark.parametrize("value", [0, 65535])
def test_borders_that_no_tag_announces_do_not_set_the_range(tmp_path, shape, value):
    border = {
        "left": X < 20,
        "frame": (X < 9) | (X > 90) | (Y < 12),
        "triangle": X + Y < 60,
        "disc": (Y - 48) ** 2 + (X - 48) ** 2 > 45**2,
    }[shape]
    found = read(tmp_path, np.where(border, value, 30_000 + BODY))
    assert (found[border] == (255 if value else 0)).all()
    assert near(found[~border], scaled(BODY[~border]))


@pytest.mark.parametrize("spots", [1, 5, 60])
@pytest.mark.parametrize("value", ["bright", "dark", "both", "many"])
def test_hot_and_dead_pixels_and_markers_do_not_set_the_range(tmp_path, spots, value):
    random = np.random.default_rng(spots)
    film = 10_000 + BODY
    at = (random.integers(0, 96, spots), random.integers(0, 96, spots))
    spoiled = film.copy()
    values = {"bright": [65535], "dark": [0], "both": [0, 65535], "many": random.integers(15_000, 65535, spots)}[value]
    spoiled[at] = np.resize(values, spots)
    found = read(tmp_path, spoiled)
    kept = np.ones(film.shape, bool)
    kept[at] = False
    assert near(found[kept], scaled(film[kept]))
    if value == "bright":
        assert (found[at] == 255).all()


def test_the_range_of_a_whole_film_is_from_its_least_to_its_greatest_value(tmp_path):
    random = np.random.default_rng(0)
    for film in (BODY, 4095 - BODY, np.arange(9216).reshape(96, 96), random.normal(9000, 2000, (96, 96))):
        assert near(read(tmp_path, np.clip(film, 0, 65535).astype(int)), scaled(np.clip(film, 0, 65535).astype(int)))


# ---- windows, tables and rescale


WINDOWS = [
    {"WindowCenter": 1500, "WindowWidth": 1000},
    {"WindowCenter": [1500, 400], "WindowWidth": [1000, 90]},
    {"WindowCenter": 1500, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
    {"WindowCenter": 1500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
    {"WindowCenter": 900.5, "WindowWidth": 700.25, "RescaleSlope": 0.5, "RescaleIntercept": -20},
    {"WindowCenter": 3000, "WindowWidth": 2500, "RescaleSlope": "2", "RescaleIntercept": "-100.5"},
    {"RescaleSlope": 3, "RescaleIntercept": 7},
]


@pytest.mark.parametrize("tags", WINDOWS)
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_windows_are_those_of_pydicom(tmp_path, tags, photometric):
    data = dataset(BODY, photometric, bits=12, **tags)
    reference = apply_windowing(apply_rescale(BODY, data), data) if "WindowWidth" in tags else BODY
    found = read(tmp_path, BODY, photometric, bits=12, **tags)
    assert near(found, scaled(reference if photometric == "MONOCHROME2" else -reference))


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        ({"WindowCenter": 1500, "WindowWidth": 0}, {}),
        ({"WindowCenter": 1500, "WindowWidth": -5}, {}),
        ({"WindowCenter": 1500, "WindowWidth": 0.5}, {}),
        ({"WindowCenter": "", "WindowWidth": ""}, {}),
        ({"WindowCenter": 1500}, {}),
        ({"WindowCenter": 40, "WindowWidth": 400}, {}),  # lies off the image
        ({"WindowCenter": [900, 1500], "WindowWidth": [0, 1000]}, WINDOWS[0]),
        (WINDOWS[0] | {"VOILUTFunction": ""}, WINDOWS[0]),
        (WINDOWS[0] | {"VOILUTFunction": "LINEAR"}, WINDOWS[0]),
        (WINDOWS[0] | {"VOILUTFunction": "NONE"}, WINDOWS[0]),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, {}),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, {}),
        (WINDOWS[0] | {"RescaleSlope": "", "RescaleIntercept": ""}, WINDOWS[0]),
        ({"VOILUTSequence": pydicom.Sequence(), "ModalityLUTSequence": pydicom.Sequence()}, {}),
        ({"PixelPaddingValue": None}, {}),
        ({"NumberOfFrames": ""}, {}),
        ({"PhotometricInterpretation": ""}, {}),
    ],
)
def test_empty_and_useless_attributes_are_passed_over(tmp_path, odd, plain):
    assert (read(tmp_path, BODY, **odd) == read(tmp_path, BODY, **plain)).all()


CURVE = (np.sqrt(np.arange(4096) / 4095) * 65535).astype(np.uint16)


def table(first=0):
    item = Dataset()
    item.LUTDescriptor = [4096, first, 16]
    item.add_new("LUTData", "OW", CURVE.tobytes())
    return pydicom.Sequence([item])


def test_tables_are_applied_as_by_pydicom(tmp_path):
    voi = table(100)
    expected = apply_voi(BODY.astype(np.uint16), dataset(BODY, VOILUTSequence=voi))
    assert near(read(tmp_path, BODY, VOILUTSequence=voi), scaled(expected))
    modality = table()
    modality[0].ModalityLUTType = "US"
    assert near(read(tmp_path, BODY, ModalityLUTSequence=modality), scaled(CURVE[BODY]))
    both = read(tmp_path, BODY, VOILUTSequence=voi, **WINDOWS[0])
    assert (both == read(tmp_path, BODY, **WINDOWS[0])).all()


@pytest.mark.parametrize("key", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_damaged_table_is_named(tmp_path, key):
    damaged = pydicom.Sequence([Dataset()])
    (tmp_path / "x.dcm").write_bytes(content(dataset(BODY, **{key: damaged})))
    assert refusal(tmp_path / "x.dcm").fix == f"correct {key}"


@pytest.mark.parametrize("key", ["WindowWidth", "RescaleSlope"])
def test_an_attribute_that_is_no_number_is_named(tmp_path, key):
    whole = bytearray(content(dataset(BODY, WindowCenter=1500, **{"WindowWidth": 2, "RescaleIntercept": 0, key: 1234})))
    start = whole.index(b"1234")
    whole[start : start + 4] = b"12,3"
    (tmp_path / "x.dcm").write_bytes(bytes(whole))
    assert refusal(tmp_path / "x.dcm").fix == f"correct {key}"


def test_signed_pixels_and_unused_bits(tmp_path):
    assert near(read(tmp_path, BODY - 1800, signed=True), scaled(BODY))
    twelve = BODY.astype(np.uint16) | ((X % 2) << 15).astype(np.uint16)  # an overlay in the highest bit
    assert near(read(tmp_path, twelve, bits=12), scaled(BODY))


# ---- packings and forms of files


PLAIN = ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_padded.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_expb.dcm"]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_one_image_in_every_packing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(SAMPLES / "MR_small.dcm")
        shown = apply_voi_lut(apply_rescale(data.pixel_array, data), data)
    assert near(read_grey(SAMPLES / name), scaled(shown))


LOSSLESS = ["MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_08.dcm", "SC_rgb_jpeg_gdcm.dcm"]


@pytest.mark.skipif(UNPACKS, reason="a package is installed that reads them: the next test")
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_packing_without_package_names_the_package(name):
    error = refusal(SAMPLES / name)
    assert "which no installed package unpacks" in error.found
    assert "the file is whole" in error.expected
    assert error.fix.startswith("pip install python-gdcm")


@pytest.mark.skipif(not UNPACKS, reason="needs python-gdcm, the extra 'dicom'")
@pytest.mark.parametrize("name", LOSSLESS)
def test_jpeg_ls_and_lossless_jpeg_are_read_with_the_package(name):
    found = read_grey(SAMPLES / name)
    assert found.max() > found.min()
    if name.startswith("MR_small"):
        assert (found == read_grey(SAMPLES / "MR_small.dcm")).all()


def test_a_jpeg_of_12_bits_names_its_package():
    if importlib.util.find_spec("libjpeg") is not None:
        assert read_grey(SAMPLES / "JPGExtended.dcm").max() == 255
        return
    error = refusal(SAMPLES / "JPGExtended.dcm")
    assert "JPEG Extended" in error.found
    assert error.fix.startswith("pip install pylibjpeg-libjpeg")


FRAME = b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x60\x00\x60\x01\x01\x11\x00"


@pytest.mark.skipif(not UNPACKS, reason="needs python-gdcm, the extra 'dicom'")
@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLSLossless])
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\xff\xd8\xff\xd9", "the JPEG in its pixel data holds no image"),
        (FRAME + bytes(40), "the JPEG in its pixel data is cut off"),
        (b"<html>not found</html>", "its pixel data hold no JPEG"),
    ],
)
def test_a_jpeg_that_is_none_is_told_in_plain_words(tmp_path, syntax, frame, reason):
    data = dataset(BODY)
    data.PixelData = encapsulate([frame])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = syntax
    (tmp_path / "film.dcm").write_bytes(content(data))
    error = refusal(tmp_path / "film.dcm")
    assert error.found == f"its pixels cannot be decoded ({reason})"
    assert error.fix == "download it again"


def test_other_packings_are_refused_by_name(tmp_path):
    data = dataset(BODY)
    data.PixelData = encapsulate([b"\0" * 64])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    (tmp_path / "film.dcm").write_bytes(content(data))
    assert "MPEG2" in refusal(tmp_path / "film.dcm").found


def test_a_header_with_two_packings_is_refused(tmp_path):
    whole = content(dataset(BODY))
    two = whole.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\\1\0")
    assert two != whole
    (tmp_path / "film.dcm").write_bytes(two)
    assert "1.2.840.10008.1.2" in refusal(tmp_path / "film.dcm").found


def test_values_beyond_single_precision_are_refused(tmp_path):
    (tmp_path / "film.dcm").write_bytes(content(dataset(BODY, RescaleSlope="1e38", RescaleIntercept="0")))
    error = refusal(tmp_path / "film.dcm")
    assert error.found == "holds a pixel of 2.5e+41"
    assert error.expected == "pixel values up to 1e+37"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("meta", ["none", "whole", "magic"])
def test_files_without_preamble_are_read(tmp_path, syntax, meta):
    data = dataset(BODY)
    if syntax == ExplicitVRBigEndian:
        data.PixelData = BODY.astype(">u2").tobytes()
        data["PixelData"].VR = "OW"
    data.file_meta.TransferSyntaxUID = syntax
    whole = content(data, enforce_file_format=True)
    if meta == "none":
        stream = io.BytesIO()
        plain = pydicom.dcmread(io.BytesIO(whole))
        order = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
        bare = Dataset({key: plain[key] for key in plain.keys()})  # noqa: SIM118 the keys are tags
        pydicom.dcmwrite(stream, bare, enforce_file_format=False, **order)
        part = stream.getvalue()
    else:
        part = whole[128:] if meta == "magic" else whole[132:]
    (tmp_path / "IM0001").write_bytes(part)
    assert near(read_grey(tmp_path / "IM0001"), scaled(BODY))


@pytest.mark.parametrize("start", [b"\x08\x00\x05\x00CS", b"\x08\x00 text", b"\x02\x00\x00\x00UL\x04\x00"])
def test_other_bytes_that_begin_alike_are_no_dicom(tmp_path, start):
    (tmp_path / "x").write_bytes(start + bytes(300))
    assert "not an image that can be read" in refusal(tmp_path / "x").found


@pytest.mark.parametrize("name", ["test-SR.dcm", "rtstruct.dcm", "rtplan.dcm"])
def test_a_file_without_pixels_is_called_so(name):
    error = refusal(SAMPLES / name)
    assert "holds no image (modality" in error.found or "not an image that can be read" in error.found


def test_several_frames_are_refused_with_the_reason(tmp_path):
    assert "holds 15 frames" in refusal(SAMPLES / "rtdose.dcm").found
    assert "holds 30 frames of 3 channels" in refusal(SAMPLES / "examples_ybr_color.dcm").found


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_becomes_grey_as_in_other_formats(tmp_path, planar):
    random = np.random.default_rng(planar)
    rgb = random.integers(0, 256, (32, 40, 3), dtype=np.uint8)
    data = dataset(np.zeros((32, 40)), "RGB", SamplesPerPixel=3, PlanarConfiguration=planar)
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = (rgb if planar == 0 else np.ascontiguousarray(rgb.transpose(2, 0, 1))).tobytes()
    (tmp_path / "x.dcm").write_bytes(content(data))
    Image.fromarray(rgb).save(tmp_path / "x.png")
    assert (read_grey(tmp_path / "x.dcm") == read_grey(tmp_path / "x.png")).all()


@pytest.mark.parametrize("name", ["examples_palette.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"])
def test_published_colour_files_are_read(name):
    found = read_grey(SAMPLES / name)
    assert found.ndim == 2 and found.max() > found.min()

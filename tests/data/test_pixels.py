"""Files to grey bytes: awkward published files, files made bit by bit, torn and hostile ones."""

import csv
import gzip
import io
import struct
import zlib

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from tifffile import TiffWriter

from foundationx.core.errors import DataError
from foundationx.data.pixels.read import MAX_SIDE, read_grey, read_mask

RAMP = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
ANY = [HealthCheck.function_scoped_fixture]

ODD = {
    "RG1_J2KI_monochrome1_15bit_jpeg2000_chest.dcm": (1955, 1841),
    "MR_truncated.dcm": "pixels cannot be decoded",
    "CR1_6154_no_extension": (16, 16),
    "Fake_MONOHR1.dcm": (1024, 1024),
    "siim_monochrome2.dcm": (1024, 1024),
    "rg1_16bit_stored_values_inverted.png": (1955, 1841),
    "rg1_16bit_corrected.png": (1955, 1841),
    "tbx11k_tb_tb0005.png": (512, 512),
    "tbx11k_tb_tb0007.png": (512, 512),
    "tbx11k_health_h0001.png": (512, 512),
    "rotated90_00000061_025.png": (1024, 1024),
    "rotated90_00008168_008.png": (1024, 1024),
    "rotated90_00029358_004.png": (1024, 1024),
    "rgba_png__000001-3.png": (492, 568),
    "png_named_jpg__000001-12.jpg": (361, 373),
    "jpeg_exif__covid-19-pneumonia-19.jpg": (1062, 1296),
    "rgb_jpeg__000001-2.jpg": (645, 715),
    "lateral__000001-9-b.jpg": (359, 287),
    "uppercase_ext__16745_2_1.PNG": (663, 952),
    "cropmask_Ground_Glass_Opacities__top4_left191__ards-secondary-to-tiger-snake-bite.png": (165, 190),
    "cropmask_Left_Lung__top0_left483__ards-secondary-to-tiger-snake-bite.png": (757, 403),
    "truncated.jpg": "truncated or damaged",
    "truncated.png": "truncated or damaged",
    "empty.png": "empty",
    "text_not_image.jpg": "is a web page",
}
"""What each published file gives: height and width, or the reason of its refusal."""


@pytest.fixture(scope="session")
def odd(shared_data):
    return shared_data / "odd"


@pytest.mark.shared
def test_the_list_of_odd_files_is_complete(odd):
    with open(odd / "index.csv", encoding="utf-8") as stream:
        assert {row["file"] for row in csv.DictReader(stream)} == set(ODD)


@pytest.mark.shared
@pytest.mark.parametrize("name", ODD)
def test_odd_files(odd, name):
    expected = ODD[name]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected) as refused:
            read_grey(odd / name)
        assert name in refused.value.where and refused.value.expected and refused.value.fix
        return
    image = read_grey(odd / name)
    assert image.shape == expected and image.dtype == np.uint8
    assert image.max() - image.min() > 70, "no contrast"


@pytest.mark.shared
def test_a_real_dicom_looks_as_its_png_and_monochrome1_as_its_twin(odd):
    image = read_grey(odd / "RG1_J2KI_monochrome1_15bit_jpeg2000_chest.dcm").astype(int)
    assert abs(image - read_grey(odd / "rg1_16bit_corrected.png")).max() <= 1
    assert abs(image - (255 - read_grey(odd / "rg1_16bit_stored_values_inverted.png").astype(int))).max() <= 1
    # The same stored bytes, flagged the one way and the other.
    one, two = read_grey(odd / "Fake_MONOHR1.dcm"), read_grey(odd / "siim_monochrome2.dcm")
    assert abs(one.astype(int) - (255 - two.astype(int))).max() <= 1
    assert image[:100, :100].mean() < image[900:1000, 900:1000].mean(), "air at the rim is darker than the spine"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["RG1_J2KI_monochrome1_15bit_jpeg2000_chest.dcm", "Fake_MONOHR1.dcm",
    "rg1_16bit_corrected.png", "jpeg_exif__covid-19-pneumonia-19.jpg"])  # fmt: skip
def test_real_files_torn_anywhere_are_refused(odd, tmp_path, name):
    content = (odd / name).read_bytes()
    for share in (0.2, 0.5, 0.9, 0.99, 0.999):
        with pytest.raises(DataError, match="expected: a complete"):
            read_grey(written(tmp_path / "torn", content[: int(len(content) * share)]))


@pytest.mark.shared
def test_published_cut_outs_are_masks_though_they_are_opaque_everywhere(odd):
    for path in odd.glob("cropmask_*"):
        mask, coloured = read_mask(path), np.asarray(Image.open(path))[..., :3].any(axis=2)
        assert set(np.unique(mask)) == {0, 255} and ((mask > 0) == coloured).all()


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_grey_bytes_come_as_they_are_whatever_the_file_is_called(tmp_path):
    assert (read_grey(save(Image.fromarray(RAMP), tmp_path / "x.png")) == RAMP).all()
    assert (read_grey(save(Image.fromarray(RAMP), tmp_path / "x.jpg", format="PNG")) == RAMP).all()
    assert (read_grey(save(Image.fromarray(RAMP), tmp_path / "none", format="PNG")) == RAMP).all()
    assert (read_grey(save(Image.fromarray(np.stack([RAMP] * 3, -1)), tmp_path / "c.png")) == RAMP).all()


def test_sixteen_bits_are_scaled_from_the_least_to_the_greatest(tmp_path):
    values = np.array([[1000, 1001, 1500], [2000, 40000, 65535]], dtype=np.uint16)
    result = read_grey(save(Image.fromarray(values), tmp_path / "x.png"))
    exact = (values.astype(float) - 1000) * 255 / (65535 - 1000)
    assert abs(result - exact).max() <= 0.5 and (result[0, 0], result[1, 2]) == (0, 255)
    flat = save(Image.fromarray(np.full((2, 2), 777, np.uint16)), tmp_path / "flat.png")
    assert (read_grey(flat) == 0).all()


def test_transparent_pixels_lie_over_black_and_palettes_are_looked_up(tmp_path):
    rgba = np.stack([RAMP, RAMP, RAMP, np.where(RAMP > 100, 255, 0).astype(np.uint8)], axis=2)
    assert (read_grey(save(Image.fromarray(rgba), tmp_path / "a.png")) == np.where(RAMP > 100, RAMP, 0)).all()
    indexed = Image.fromarray(RAMP % 3, mode="P")
    indexed.putpalette([0, 0, 0, 90, 90, 90, 200, 200, 200])
    assert (read_grey(save(indexed, tmp_path / "p.png")) == np.array([0, 90, 200])[RAMP % 3]).all()
    clear = save(indexed, tmp_path / "t.png", transparency=2)
    assert (read_grey(clear) == np.array([0, 90, 0])[RAMP % 3]).all()


@pytest.mark.parametrize(("tag", "upright"), [
    (1, RAMP), (2, RAMP[:, ::-1]), (3, RAMP[::-1, ::-1]), (4, RAMP[::-1]), (5, RAMP.T), (6, np.rot90(RAMP, -1)),
    (7, RAMP[::-1, ::-1].T), (8, np.rot90(RAMP))])  # fmt: skip
def test_orientation_tags_are_applied(tmp_path, tag, upright):
    exif = Image.Exif()
    exif[0x0112] = tag
    path = save(Image.fromarray(RAMP), tmp_path / "x.png", exif=exif)
    assert (read_grey(path) == upright).all() and (read_mask(path) == upright).all()
    jpeg = save(Image.fromarray(np.kron(RAMP, np.ones((16, 16), np.uint8))), tmp_path / "x.jpg", exif=exif, quality=95)
    large = np.kron(upright, np.ones((16, 16)))
    assert read_grey(jpeg).shape == large.shape and abs(read_grey(jpeg) - large).mean() < 2


def dicom(values, photometric="MONOCHROME2", **tags):
    """Bytes of a 16-bit DICOM image."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = *values.shape[-2:], 1
    data.PhotometricInterpretation, data.PixelRepresentation = photometric, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.astype(np.uint16).tobytes()
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def written(path, content):
    path.write_bytes(content)
    return path


STORED = np.arange(52).reshape(4, 13) * 80
"""Twelve bits; scaled to bytes each step is five."""


def test_monochrome1_is_the_negative_of_monochrome2(tmp_path):
    two = read_grey(written(tmp_path / "two", dicom(STORED)))
    one = read_grey(written(tmp_path / "one", dicom(STORED, "MONOCHROME1")))
    assert (two == STORED / 16).all()
    assert (one == 255 - two).all() and one[0, 0] == 255


def test_the_window_is_applied_after_the_rescale(tmp_path):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 2000, "WindowWidth": 2001}
    result = read_grey(written(tmp_path / "x", dicom(STORED, **tags)))
    share = np.clip((2.0 * STORED - 1000 - 1000) / 2000, 0, 1)  # the window ends at 1000 and at 3000
    assert abs(result - share * 255).max() <= 1
    assert (result == 0).sum() == (share == 0).sum() > 10 and (result == 255).sum() == (share == 1).sum() > 10


def test_dicom_of_several_frames_or_in_colour_is_refused_before_decoding(tmp_path):
    for content in (dicom(np.zeros((3, 4, 5)), NumberOfFrames=3), dicom(STORED, SamplesPerPixel=3)):
        with pytest.raises(DataError, match="expected: one grey frame"):
            read_grey(written(tmp_path / "x.dcm", content))
    with pytest.raises(DataError, match=f"at most {MAX_SIDE} pixels per side"):
        read_grey(written(tmp_path / "x.dcm", dicom(STORED, Rows=65535)))


def bomb(width, height):
    """A PNG of a few bytes that claims any size."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 1), (MAX_SIDE + 1, 10), (12_500, 12_500)])
@pytest.mark.parametrize("read", [read_grey, read_mask])
def test_a_header_that_claims_a_giant_is_refused(tmp_path, read, size):
    with pytest.raises(DataError, match=f"claims.*\n.*at most {MAX_SIDE}"):
        read(written(tmp_path / "x.png", bomb(*size)))


def test_pixels_that_are_no_numbers_are_refused(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert read_grey(save(Image.fromarray(values), tmp_path / "x.tif")).max() == 255
    for bad in (np.nan, np.inf):
        values[1, 1] = bad
        with pytest.raises(DataError, match="no numbers"):
            read_grey(save(Image.fromarray(values), tmp_path / "x.tif"))
    values[1, 1] = 3e38
    with pytest.raises(DataError, match=r"a pixel of 3e\+38"):
        read_grey(save(Image.fromarray(values), tmp_path / "x.tif"))


@pytest.mark.parametrize("width, greatest", [(1e-30, 255), (1e-37, 0), (1e-44, 0)])
def test_a_range_too_narrow_for_single_precision_is_one_value(tmp_path, width, greatest):
    values = (np.linspace(0, 1, 12) * width).astype(np.float32).reshape(3, 4)
    with np.errstate(all="raise"):
        assert read_grey(save(Image.fromarray(values), tmp_path / "x.tif")).max() == greatest


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(DataError, match="cannot be opened") as refused:
            read_grey(path)
        assert refused.value.where == str(path)


def formats():
    """One image of 60 x 80 noisy pixels in each format, as bytes."""
    image = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8)
    result = {"dicom": dicom(image)}
    kinds = (("png", {}), ("jpeg", {}), ("jpeg", {"progressive": True}), ("tiff", {}), ("bmp", {}), ("gif", {}))
    for kind, options in kinds:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format=kind, **options)
        result["-".join([kind, *options])] = stream.getvalue()
    return result


FORMATS = formats()


@pytest.mark.parametrize("name", FORMATS)
def test_a_torn_file_never_gives_a_part_of_the_image(tmp_path, name):
    content = FORMATS[name]
    whole = read_grey(written(tmp_path / "whole", content))
    refused = 0
    for length in {*range(0, len(content), 97), *range(len(content) - 40, len(content))}:
        try:
            result = read_grey(written(tmp_path / "torn", content[:length]))
        except DataError as error:
            assert str(tmp_path / "torn") in str(error)
            refused += 1
        else:  # only the end mark was lost
            assert length > len(content) - 40 and (result == whole).all(), length
    assert refused > len(content) // 97 - 1


@settings(max_examples=300, deadline=None, suppress_health_check=ANY)
@given(
    name=st.sampled_from(sorted(FORMATS)),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    near=st.booleans(),
)
def test_damaged_bytes_give_an_image_or_a_reason(tmp_path, name, places, near):
    content = bytearray(FORMATS[name])
    for position, value in places:
        content[int(position * (min(600, len(content)) if near else len(content)) * 0.999)] = value
    for read in (read_grey, read_mask):
        try:
            result = read(written(tmp_path / "x", bytes(content)))
        except DataError:
            continue
        assert result.ndim == 2 and result.dtype == np.uint8


def test_masks_keep_their_values(tmp_path):
    values = np.array([[0, 1, 127], [2, 128, 255]], dtype=np.uint8)
    assert (read_mask(save(Image.fromarray(values), tmp_path / "g.png")) == values).all()
    assert (read_mask(save(Image.fromarray(values.astype(np.uint16)), tmp_path / "w.png")) == values).all()
    assert (read_mask(save(Image.fromarray(np.stack([values] * 3, -1)), tmp_path / "c.png")) == values).all()
    assert (read_mask(save(Image.fromarray(values > 1), tmp_path / "b.png")) == np.where(values > 1, 255, 0)).all()
    palette = Image.fromarray(values, mode="P")
    palette.putpalette([7, 7, 7] * 256)
    assert (read_mask(save(palette, tmp_path / "p.png")) == values).all()


def test_opacity_is_a_mask_if_it_varies(tmp_path):
    shape = np.array([[0, 255, 0], [255, 255, 0]], dtype=np.uint8)
    full, grey = np.full_like(shape, 255), np.full_like(shape, 90)
    cut_out = np.stack([grey, grey, grey, shape], axis=2)
    assert (read_mask(save(Image.fromarray(cut_out), tmp_path / "cut.png")) == shape).all()
    opaque = np.stack([shape, shape, shape, full], axis=2)
    assert (read_mask(save(Image.fromarray(opaque), tmp_path / "opaque.png")) == shape).all()
    green = np.stack([shape * 0, shape // 255 * 200, shape * 0], axis=2)
    assert (read_mask(save(Image.fromarray(green), tmp_path / "green.png")) == shape // 255 * 200).all()


def test_masks_in_several_colours_or_beyond_a_byte_are_refused(tmp_path):
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[0, 0], colours[1, 1] = (255, 0, 0), (0, 255, 0)
    with pytest.raises(DataError, match="several colours"):
        read_mask(save(Image.fromarray(colours), tmp_path / "c.png"))
    with pytest.raises(DataError, match="values from 3 to 300"):
        read_mask(save(Image.fromarray(np.array([[3, 300]], np.uint16)), tmp_path / "w.png"))


def test_a_file_of_several_images_is_refused_but_a_reduced_copy_does_not_count(tmp_path):
    pages = [Image.fromarray(np.roll(RAMP, number)) for number in range(3)]
    for name in ("x.tif", "x.gif"):
        path = save(pages[0], tmp_path / name, save_all=True, append_images=pages[1:])
        for read in (read_grey, read_mask):
            with pytest.raises(DataError, match="holds 3 images"):
                read(path)
    with TiffWriter(tmp_path / "thumb.tif") as tiff:
        tiff.write(RAMP)
        tiff.write(RAMP[::2, ::2], subfiletype=1)
    assert (read_grey(tmp_path / "thumb.tif") == RAMP).all()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [(b"\xc1\x00\x0b\x0c", "12 bits"), (b"\xc3\x00\x0b\x10", "lossless")],
)
def test_a_jpeg_that_pillow_cannot_read_is_not_called_damaged(tmp_path, frame, reason):
    stream = io.BytesIO()
    Image.fromarray(np.kron(RAMP, np.ones((40, 40), np.uint8))).save(stream, "JPEG")
    content = stream.getvalue()
    start = content.index(b"\xff\xc0")
    other = content[: start + 1] + frame + content[start + 5 :]
    with pytest.raises(DataError, match=f"is a JPEG of.*{reason}") as refused:
        read_grey(written(tmp_path / "x.jpg", other))
    assert refused.value.fix == "convert it to PNG; the file may be whole"
    with pytest.raises(DataError, match="truncated or damaged"):
        read_grey(written(tmp_path / "x.jpg", content[:-20]))


@pytest.mark.parametrize(
    ("content", "found", "fix"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "a pointer of Git LFS",
            "git lfs pull",
        ),
        (b"\r\n<!DOCTYPE html><html>Sign in</html>", "a web page", "signed in"),
        (b"<HTML><body>404</body></HTML>", "a web page", "signed in"),
        (b"PK\x03\x04" + bytes(30), "packed as a whole", "unpack it"),
        (gzip.compress(b"film", mtime=0), "packed as a whole", "unpack it"),
        (bytes(5000), "nothing but zeros", "download it again"),
        (bytes(4999) + b"x", "not an image that can be read", "download it again"),
    ],
)
def test_what_a_download_left_instead_of_an_image_is_named(tmp_path, content, found, fix):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_grey(tmp_path / "a.jpg")
    assert found in caught.value.found
    assert fix in caught.value.fix

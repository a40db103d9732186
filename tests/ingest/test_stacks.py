import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fishray.errors import RecordingError
from fishray.ingest.readers import open_source

LEVELS_THW = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((4, 6), np.uint8)


def levels(path):
    return [int(frame_hw[0, 0]) for frame_hw in open_source(path).frames()]


def inside(path, name):
    return Path(f"{path}:{name}")


@pytest.fixture(params=["a.npz", "a.h5"])
def two_stacks(request, tmp_path):
    """A file with two arrays of frames, `top` and `side`, and a series."""
    path = tmp_path / request.param
    if path.suffix == ".npz":
        np.savez(path, top=LEVELS_THW, side=LEVELS_THW + 10, lamp=np.zeros(5))
    else:
        with h5py.File(path, "w") as file:
            file["top"], file["side"], file["lamp"] = LEVELS_THW, LEVELS_THW + 10, np.zeros(5)
    return path


def test_of_several_stacks_one_is_to_be_chosen(two_stacks):
    with pytest.raises(RecordingError, match=r"holds 2 arrays .*top \(5, 4, 6\).*choose one, such as .*:/?(side|top)"):
        open_source(two_stacks)


def test_a_chosen_stack_is_read(two_stacks):
    assert levels(inside(two_stacks, "side")) == [10, 11, 12, 13, 14]
    assert levels(inside(two_stacks, "top")) == [0, 1, 2, 3, 4]


def test_two_stacks_of_one_file_are_two_sources(two_stacks):
    assert open_source(inside(two_stacks, "side")).sha256() != open_source(inside(two_stacks, "top")).sha256()


def test_a_stack_that_is_not_there_is_refused_with_those_that_are(two_stacks):
    with pytest.raises(RecordingError, match=r"holds no /?front, but .*top .*choose one of those"):
        open_source(inside(two_stacks, "front"))


def test_a_chosen_array_that_is_no_stack_is_refused(two_stacks):
    with pytest.raises(RecordingError, match=r"has shape \(5,\); a stack of frames has"):
        open_source(inside(two_stacks, "lamp"))


def test_a_dataset_in_groups_is_named_by_its_path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["day/1/frames"], file["day/2/frames"] = LEVELS_THW, LEVELS_THW + 10
    assert levels(inside(tmp_path / "a.h5", "/day/2/frames")) == [10, 11, 12, 13, 14]


def test_a_file_without_frames_lists_what_it_holds(tmp_path):
    np.savez(tmp_path / "a.npz", lamp=np.zeros(5))
    with pytest.raises(RecordingError, match=r"no array of frames .* but lamp \(5,\)"):
        open_source(tmp_path / "a.npz")


def test_a_stack_beside_pickled_objects_is_read_without_them(tmp_path):
    np.savez(tmp_path / "a.npz", frames=LEVELS_THW, notes=np.array({"fish": 6}, object))
    assert levels(tmp_path / "a.npz") == [0, 1, 2, 3, 4]


def test_without_h5py_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    (tmp_path / "a.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RecordingError, match=r'needs h5py; install it: pip install "fishray\[hdf5\]"'):
        open_source(tmp_path / "a.h5")


def test_a_stack_stored_by_columns_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(LEVELS_THW))
    with pytest.raises(RecordingError, match=r"column by column.*ascontiguousarray"):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, bool, complex])
def test_numbers_that_are_no_grey_levels_are_refused(tmp_path, dtype):
    np.save(tmp_path / "a.npy", LEVELS_THW.astype(dtype))
    with pytest.raises(RecordingError, match="not grey levels of 8 or 16 bits; save it with 8"):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(4, 6, 3), (5, 4, 6, 2), (5, 3, 4, 6), (1, 5, 4, 6, 3)])
def test_an_array_of_another_shape_is_refused(tmp_path, shape):  # the first is one colour image
    np.savez(tmp_path / "a.npz", frames=np.zeros(shape, np.uint8))
    with pytest.raises(RecordingError, match=r"has shape|no array of frames"):
        open_source(tmp_path / "a.npz")


def test_a_dark_first_frame_of_16_bits_may_be_black(tmp_path):
    frames_thw = np.array([0, 40_000], np.uint16)[:, None, None] * np.ones((4, 6), np.uint16)
    np.save(tmp_path / "a.npy", frames_thw)
    assert levels(tmp_path / "a.npy") == [0, 40_000 >> 8]


def test_pages_that_are_turned_are_turned_back(tmp_path):
    turned = ImageFileDirectory_v2()
    turned[0x0112] = 6  # to be turned clockwise by a quarter
    pages = [Image.fromarray(np.array([[level, 0], [0, 0], [0, 0]], np.uint8)) for level in (200, 100)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], tiffinfo=turned)
    assert [frame_hw.tolist() for frame_hw in open_source(tmp_path / "a.tif").frames()] == [
        [[0, 0, 200], [0, 0, 0]],
        [[0, 0, 100], [0, 0, 0]],
    ]


def test_a_tiff_that_was_cut_off_anywhere_never_gives_fewer_frames(tmp_path):
    path = tmp_path / "a.tif"
    pages = [Image.fromarray(frame_hw) for frame_hw in LEVELS_THW]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    whole = path.read_bytes()
    refused = 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            assert levels(path) == [0, 1, 2, 3, 4]
        except RecordingError:
            refused += 1
    assert refused > 0.9 * len(whole)


def test_a_tiff_of_imagej_above_4_gb_is_refused_with_what_to_do(tmp_path):
    Image.new("L", (6, 4)).save(tmp_path / "a.tif", description="ImageJ=1.54f\nimages=90000\nslices=90000\n")
    with pytest.raises(RecordingError, match="save it in ImageJ as an image sequence"):
        open_source(tmp_path / "a.tif")


def test_a_tiff_of_fractions_is_refused(tmp_path):
    pages = [Image.fromarray(np.full((4, 6), 0.5, np.float32)) for _ in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(RecordingError, match=r"a\.tif holds fractions"):
        levels(tmp_path / "a.tif")

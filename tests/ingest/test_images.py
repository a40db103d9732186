import numpy as np
import pytest
from PIL import Image

from fishray.errors import RecordingError
from fishray.ingest.grey import grey_frame
from fishray.ingest.images import ImageFolder, read_image


def read_grey(path):
    return grey_frame(read_image(path))


def save(folder, name, level, size=(4, 6)):
    Image.fromarray(np.full(size, level, np.uint8)).save(folder / name)


def test_images_come_in_natural_order(tmp_path):
    for name, level in (("frame10.png", 10), ("frame9.pgm", 9), ("frame1.tif", 1), ("frame11.JPG", 11)):
        save(tmp_path, name, level)
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._frame1.png").write_bytes(b"what some file servers leave")
    folder = ImageFolder(tmp_path)
    assert (folder.frame_count, folder.fps) == (4, None)
    assert [frame_hw[0, 0] for frame_hw in folder.frames()] == [1, 9, 10, 11]


def test_colour_becomes_grey(tmp_path):  # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B
    Image.new("RGB", (2, 1), (100, 200, 50)).save(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png").tolist() == [[153, 153]]


def test_a_tiff_is_turned_as_its_tag_says(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # clockwise by a quarter
    Image.fromarray(np.array([[200, 0], [0, 0], [0, 0]], np.uint8)).save(tmp_path / "a.tif", exif=turned)
    assert read_grey(tmp_path / "a.tif").tolist() == [[0, 0, 200], [0, 0, 0]]


def test_notes_of_a_camera_that_are_garbled_leave_the_picture(tmp_path):
    Image.new("L", (2, 1), 7).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert read_grey(tmp_path / "a.jpg").tolist() == [[7, 7]]


def test_of_16_bits_the_upper_8_are_kept(tmp_path):
    Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png").tolist() == [[0, 0, 1, 255]]


def test_only_the_first_image_of_16_bits_tells_how_many_are_used(tmp_path):  # going on at a dark one is no fault
    for position, level in enumerate((40_000, 400)):
        Image.fromarray(np.full((1, 1), level, np.uint16)).save(tmp_path / f"{position}.png")
    assert [frame_hw.tolist() for frame_hw in ImageFolder(tmp_path).frames(start=1)] == [[[400 >> 8]]]
    (tmp_path / "0.png").unlink()
    with pytest.raises(RecordingError, match="goes up to 400 of 65535"):
        next(ImageFolder(tmp_path).frames())


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="no images in"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.pgm"])
@pytest.mark.parametrize("share", [0, 0.3, 0.7])
def test_a_damaged_image_is_refused_by_name(tmp_path, name, share):
    noise_hw = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise_hw).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(RecordingError, match=rf"{name} cannot be read as an image"):
        read_grey(path)


def test_a_stack_of_images_in_one_file_is_refused(tmp_path):
    pages = [Image.new("L", (2, 2), level) for level in (1, 2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(RecordingError, match="holds several images"):
        read_grey(tmp_path / "a.tif")


def test_a_preview_behind_a_jpeg_is_left_alone(tmp_path):  # as some phones save it
    picture, preview = Image.new("L", (4, 2), 7), Image.new("L", (2, 1), 9)
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    assert read_grey(tmp_path / "a.jpg").tolist() == [[7] * 4] * 2


def test_the_digest_depends_on_names_and_contents(tmp_path):
    save(tmp_path, "a.png", 1)
    first = ImageFolder(tmp_path).sha256()
    assert ImageFolder(tmp_path).sha256() == first
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    renamed = ImageFolder(tmp_path).sha256()
    save(tmp_path, "b.png", 2)
    assert len({first, renamed, ImageFolder(tmp_path).sha256()}) == 3

import numpy as np
import pytest
from PIL import Image

from fishray.errors import RecordingError
from fishray.ingest.arrays import NumpyStack
from fishray.ingest.images import ImageFolder
from fishray.ingest.readers import open_source
from fishray.ingest.series import SpeedSeries
from fishray.ingest.tiff import TiffStack
from fishray.ingest.video import Video


def test_the_kind_of_source_chooses_its_reader(tmp_path, make_video, noise_thw):
    folder = tmp_path / "frames"
    folder.mkdir()
    pages = [Image.fromarray(frame_hw) for frame_hw in noise_thw]
    pages[0].save(folder / "0.png")
    pages[0].save(tmp_path / "a.TIF", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "speed.npy", np.zeros(3))
    np.save(tmp_path / "frames.npy", noise_thw)
    assert isinstance(open_source(folder), ImageFolder)
    assert isinstance(open_source(tmp_path / "a.TIF"), TiffStack)
    assert isinstance(open_source(tmp_path / "speed.npy"), SpeedSeries)
    assert isinstance(open_source(tmp_path / "frames.npy"), NumpyStack)
    assert isinstance(open_source(make_video(noise_thw)), Video)


def test_a_missing_source_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="no file or folder at"):
        open_source(tmp_path / "fish.mp4")


def test_one_image_points_to_its_folder(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "0.png")
    with pytest.raises(RecordingError, match="is one image; give the folder"):
        open_source(tmp_path / "0.png")

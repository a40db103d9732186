import numpy as np
import pytest
from PIL import Image

from fishray.errors import RecordingError
from fishray.ingest.images import ImageFolder
from fishray.ingest.readers import open_source
from fishray.ingest.series import SpeedSeries
from fishray.ingest.video import Video


def test_the_kind_of_source_chooses_its_reader(tmp_path, make_video, noise_thw):
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(noise_thw[0]).save(folder / "0.png")
    np.save(tmp_path / "speed.npy", np.zeros(3))
    assert isinstance(open_source(folder), ImageFolder)
    assert isinstance(open_source(tmp_path / "speed.npy"), SpeedSeries)
    assert isinstance(open_source(make_video(noise_thw)), Video)


def test_a_missing_source_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="no file or folder at"):
        open_source(tmp_path / "fish.mp4")


def test_one_image_points_to_its_folder(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "0.png")
    with pytest.raises(RecordingError, match="is one image; give the folder"):
        open_source(tmp_path / "0.png")

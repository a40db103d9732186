import numpy as np
import pytest

from fishray.errors import RecordingError
from fishray.ingest.video import Video


def decode(path):
    return np.stack(list(Video(path).frames()))


def test_a_video_without_loss_gives_its_grey_levels_back(make_video, noise_thw):
    video = Video(make_video(noise_thw, fps=25))
    assert video.fps == 25.0
    assert np.array_equal(decode(video.path), noise_thw)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("fish.mp4", "libx264", "yuv420p"), ("fish.mkv", "ffv1", "gray")]
)
def test_frames_are_counted_before_they_are_decoded(make_video, noise_thw, name, codec, pixels):
    assert Video(make_video(noise_thw, name, codec, pixels)).frame_count == 60


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv444p"])
def test_black_is_0_and_white_255_in_either_range(make_video, pixels):  # a raw Y plane would say 16 and 235
    levels = np.array([0, 51, 128, 204, 255], np.uint8)
    frames_thw = np.broadcast_to(levels[:, None, None], (5, 32, 32))
    video = make_video(np.ascontiguousarray(frames_thw), "fish.mp4", "libx264", pixels)
    means = decode(video).mean(axis=(1, 2))
    assert means == pytest.approx(levels, abs=2)
    assert (means[0], means[-1]) == pytest.approx((0, 255), abs=0.5)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("fish.mp4", "libx264", "yuv420p", {"movflags": "faststart"}),
        ("fish.mkv", "libx264", "yuv420p", {}),
        ("fish.mkv", "ffv1", "gray", {}),
        ("fish.avi", "mjpeg", "yuvj420p", {}),
    ],
)
def test_a_video_that_was_cut_off_is_refused(make_video, noise_thw, name, codec, pixels, options):
    path = make_video(noise_thw, name, codec, pixels, options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(RecordingError, match=r"damaged or cut off after frame \d+ .*re-encode"):
        decode(path)


def test_a_video_with_a_hole_is_refused(make_video, noise_thw):
    path = make_video(noise_thw, "fish.mp4", "libx264", "yuv420p")
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 4000] = bytes(4000)
    path.write_bytes(damaged)
    with pytest.raises(RecordingError, match="damaged or cut off after frame"):
        decode(path)


@pytest.mark.parametrize("content", [b"", b"this is a letter, not a video\n" * 99])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "fish.mp4"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"fish\.mp4 cannot be read as a video \(invalid data"):
        Video(path)


def test_a_video_whose_index_is_missing_is_refused(make_video, noise_thw):  # the camera stopped before writing it
    path = make_video(noise_thw, "fish.mp4", "libx264", "yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RecordingError, match="cannot be read as a video"):
        Video(path)

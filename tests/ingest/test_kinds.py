"""Each kind of source gives the right frames, or an error that says what to do."""

import av
import h5py
import numpy as np
import pytest
from ffmpeg import FPS, FRAMES, HEIGHT, WIDTH, greys, greys_of, run_ffmpeg, scene, write
from PIL import Image

from fishray.config.ingest import IngestSettings
from fishray.errors import RecordingError
from fishray.ingest.readers import open_source
from fishray.ingest.writing import ingest

SCENE_THWC = scene()

VIDEOS = {  # what a person would call it: a file, and how ffmpeg makes it
    "mp4 as phones write it": ("a.mp4", "-c:v libx264 -pix_fmt yuv420p"),
    "mp4 in 10 bits": ("a.mp4", "-c:v libx264 -pix_fmt yuv420p10le"),
    "mp4 in 4:4:4": ("a.mp4", "-c:v libx264 -pix_fmt yuv444p"),
    "mp4 of full range": ("a.mp4", "-vf scale=out_range=full -color_range pc -c:v libx264 -pix_fmt yuv420p"),
    "mp4 of yuvj": ("a.mp4", "-c:v libx264 -pix_fmt yuvj420p"),
    "mp4 with a single key frame": ("a.mp4", "-c:v libx264 -pix_fmt yuv420p -g 999 -sc_threshold 0"),
    "mp4 of HEVC in 10 bits": ("a.mp4", "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p10le"),
    "mkv of grey FFV1": ("a.mkv", "-c:v ffv1 -pix_fmt gray"),
    "mkv of grey FFV1 in 16 bits": ("a.mkv", "-c:v ffv1 -pix_fmt gray16le"),
    "mkv of H.264": ("a.mkv", "-c:v libx264 -pix_fmt yuv420p"),
    "avi of MJPEG": ("a.avi", "-c:v mjpeg -q:v 2"),
    "avi of 2009, MPEG-4 with B frames": ("a.avi", "-c:v mpeg4 -q:v 2 -bf 2"),
    "avi without compression": ("a.avi", "-c:v rawvideo -pix_fmt bgr24"),
    "mov of ProRes": ("a.mov", "-c:v prores_ks"),
    "wmv": ("a.wmv", "-c:v wmv2 -q:v 2"),
    "animated gif": ("a.gif", ""),
    "webm": ("a.webm", "-c:v libvpx-vp9"),
    "MPEG transport stream": ("a.ts", "-c:v mpeg2video -q:v 2"),
    "folder of PNG": ("frames/%d.png", ""),
    "folder of PNG in 16 bits": ("frames/%d.png", "-pix_fmt gray16be"),
    "folder of JPEG": ("frames/%d.jpg", "-q:v 2"),
    "folder of TIFF": ("frames/%d.tif", ""),
    "folder of PGM": ("frames/%d.pgm", ""),
}


def ingested(source, size):
    recording = ingest(source, source.parent / "tank.zarr", IngestSettings(size=size))
    return recording.read_frames(0, recording.frame_count)


def check(source, expected_thw, size=(HEIGHT, WIDTH)):
    """Assert that a source has these greys to one level on average, and goes on anywhere as it went before."""
    frames_thw = ingested(source, size)
    assert frames_thw.shape == expected_thw.shape
    assert difference(frames_thw, expected_thw) <= 1
    reader = open_source(source)
    assert reader.frame_count == len(expected_thw)
    assert np.array_equal(np.stack(list(reader.frames(start=7))), frames_thw[7:])


def difference(frames_thw, expected_thw):
    return np.abs(frames_thw.astype(int) - expected_thw).mean()


@pytest.mark.parametrize(("name", "options"), VIDEOS.values(), ids=VIDEOS)
def test_frames_have_the_greys_that_ffmpeg_gives(tmp_path, name, options):
    source = write(tmp_path / name, SCENE_THWC, options)
    expected_thw = greys_of(tmp_path / name, HEIGHT, WIDTH)
    assert len(expected_thw) == FRAMES
    assert difference(expected_thw, GREY_THW) <= (
        10 if name == "a.gif" else 3
    )  # lest both be wrong; GIF has 256 colours
    check(source, expected_thw)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("odd.mp4", "-c:v libx264 -pix_fmt yuv444p"),
        ("odd.mkv", "-c:v ffv1 -pix_fmt yuv420p"),
        ("odd.avi", "-c:v mjpeg -q:v 2"),
    ],
)
def test_odd_sizes_keep_their_last_column_and_row(tmp_path, name, options):
    source = write(tmp_path / name, scene(8, 193, 255), options)
    check(source, greys_of(source, 193, 255), size=(193, 255))


def test_the_only_key_frame_is_the_first(tmp_path):  # so that the kind above is what it says
    source = write(tmp_path / "a.mp4", SCENE_THWC, VIDEOS["mp4 with a single key frame"][1])
    with av.open(source) as container:
        assert [packet.is_keyframe for packet in container.demux(video=0) if packet.size] == [True] + 23 * [False]


@pytest.mark.parametrize(
    ("held", "turned"),
    [
        (("-display_rotation", 90), lambda thw: np.rot90(thw, 1, (1, 2))),  # counterclockwise, both of them
        (("-display_rotation", 180), lambda thw: np.rot90(thw, 2, (1, 2))),
        (("-display_rotation", 270), lambda thw: np.rot90(thw, 3, (1, 2))),
        (("-display_hflip",), lambda thw: thw[:, :, ::-1]),
        (("-display_vflip",), lambda thw: thw[:, ::-1]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_a_video_is_turned_as_its_camera_was_held(tmp_path, held, turned, suffix):
    lying = write(tmp_path / f"lying{suffix}", SCENE_THWC, "-c:v libx264 -pix_fmt yuv420p")
    source = tmp_path / f"held{suffix}"
    run_ffmpeg(*held, "-i", lying, "-c", "copy", source)
    expected_thw = turned(greys_of(lying, HEIGHT, WIDTH))
    size = expected_thw.shape[1:]
    assert np.array_equal(greys_of(source, *size), expected_thw)
    check(source, expected_thw, size)


def test_a_jpeg_is_turned_as_its_camera_was_held(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise by a quarter
    for position, frame_hwc in enumerate(SCENE_THWC):
        Image.fromarray(frame_hwc).save(folder / f"{position}.jpg", exif=exif, quality=95)
    expected_thw = greys_of(folder / "%d.jpg", WIDTH, HEIGHT)
    assert difference(expected_thw, np.rot90(greys(SCENE_THWC), -1, (1, 2))) <= 3
    check(folder, expected_thw, size=(WIDTH, HEIGHT))


def save_tiff(path, frames):
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def save_hdf5(path, frames):
    with h5py.File(path, "w") as file:
        file.create_dataset("camera/frames", data=frames, chunks=(5, *frames.shape[1:]), compression="gzip")
        file["camera/exposure_ms"] = np.zeros(len(frames))


GREY_THW = greys(SCENE_THWC)
STACKS = {
    "TIFF stack": ("a.tif", save_tiff, GREY_THW),
    "TIFF stack in colour": ("a.tif", save_tiff, SCENE_THWC),
    "TIFF stack in 16 bits": ("a.tiff", save_tiff, GREY_THW.astype(np.uint16) * 257),
    "npy": ("a.npy", np.save, GREY_THW),
    "npy in colour": ("a.npy", np.save, SCENE_THWC),
    "npy in 16 bits": ("a.npy", np.save, GREY_THW.astype(np.uint16) * 257),
    "npy in 16 bits of a Mac of old": ("a.npy", np.save, (GREY_THW.astype(np.uint16) * 257).astype(">u2")),
    "npy with one channel": ("a.npy", np.save, GREY_THW[..., None]),
    "npz": ("a.npz", lambda path, frames: np.savez(path, clip=frames, frame_s=np.arange(9.0)), GREY_THW),
    "npz, compressed": ("a.npz", np.savez_compressed, SCENE_THWC),
    "HDF5": ("a.h5", save_hdf5, GREY_THW),
    "HDF5 in colour": ("a.hdf5", save_hdf5, SCENE_THWC),
    "HDF5 in 16 bits": ("a.h5", save_hdf5, GREY_THW.astype(np.uint16) * 257),
}


@pytest.mark.parametrize(("name", "save", "frames"), STACKS.values(), ids=STACKS)
def test_a_stack_gives_its_frames(tmp_path, name, save, frames):
    save(tmp_path / name, frames)
    check(tmp_path / name, GREY_THW)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", "-c:v libx264 -pix_fmt yuv420p"),
        ("a.mkv", "-c:v libx264 -pix_fmt yuv420p"),
        ("a.avi", "-c:v mjpeg -q:v 2"),
        ("a.wmv", "-c:v wmv2"),
        ("a.gif", ""),
    ],
)
def test_a_varying_frame_rate_keeps_its_times(tmp_path, name, options):  # 24 frames, 40 ms apart; 200 ms after each 8
    pauses = "-vf setpts='N/25/TB+floor(N/8)*0.16/TB' -fps_mode vfr "
    source = write(tmp_path / name, SCENE_THWC, pauses + options)
    reader = open_source(source)
    assert reader.times_s == pytest.approx(np.arange(24) * 0.04 + np.arange(24) // 8 * 0.16, abs=1e-9)
    assert reader.fps == pytest.approx(23 / (23 * 0.04 + 2 * 0.16))
    check(source, greys_of(source, HEIGHT, WIDTH))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.wmv", "a.gif"])
def test_a_constant_frame_rate_needs_no_times(tmp_path, name):
    reader = open_source(write(tmp_path / name, SCENE_THWC))
    assert (reader.fps, reader.times_s) == (FPS, None)


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def saved(path, frames, save=np.save):
    save(path, frames)
    return path


def with_a_broken_png(at):
    folder = write(at / "frames/%d.png", SCENE_THWC)
    cut(folder / "12.png", 0.5)
    return folder


def with_a_larger_png(at):
    folder = write(at / "frames/%d.png", SCENE_THWC)
    Image.fromarray(scene(1, 50, 64)[0]).save(folder / "12.png")
    return folder


def empty_folder(at):
    (at / "frames").mkdir()
    return at / "frames"


def sound(path):
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", path)
    return path


def song_with_a_cover(path):
    write(path.parent / "cover.jpg", SCENE_THWC[:1])
    picture = ("-i", path.parent / "cover.jpg", "-map", 0, "-map", 1, "-disposition:v", "attached_pic")
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", *picture, path)
    return path


NOISE_THWC = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), np.uint8)
H264 = "-c:v libx264 -pix_fmt yuv420p"
ERRORS = {
    "one frame": (lambda at: write(at / "a.mp4", SCENE_THWC[:1], H264), "holds a single frame"),
    "mp4 cut off": (
        lambda at: cut(write(at / "a.mp4", NOISE_THWC, f"{H264} -movflags faststart"), 0.9),
        r"cut off after frame 5\d \(the rest is missing or damaged\); copy it again, or re-encode",
    ),
    "mp4 cut off, its index at the end": (
        lambda at: cut(write(at / "a.mp4", NOISE_THWC, H264), 0.9),
        "cannot be read as a video .*; give a complete video file",
    ),
    "mkv cut off": (
        lambda at: cut(write(at / "a.mkv", NOISE_THWC, H264), 0.95),
        r"cut off after frame 5\d \(it stops after 2\.\d s of 2\.4 s\); copy it again, or re-encode",
    ),
    "wmv cut off": (lambda at: cut(write(at / "a.wmv", NOISE_THWC), 0.9), r"bytes are there of .*; copy it again"),
    "gif cut off": (lambda at: cut(write(at / "a.gif", NOISE_THWC), 0.9), "the mark at its end is missing"),
    "sound": (lambda at: sound(at / "a.m4a"), "holds no moving picture, only sound or data; give a video"),
    "a song with a cover": (lambda at: song_with_a_cover(at / "a.mp3"), "holds no moving picture"),
    "no such file": (lambda at: at / "a.mp4", "no file or folder at"),
    "empty folder": (empty_folder, "no images in .*; give a folder of"),
    "mixed sizes": (with_a_larger_png, "frame 11 is 64x50 pixels, those before are 64x48"),
    "a corrupt image in the middle": (with_a_broken_png, r"12\.png cannot be read as an image .*; replace or remove"),
    "tif of one page": (lambda at: saved(at / "a.tif", GREY_THW[:1], save_tiff), "is one image; give the folder"),
    "tif cut off": (
        lambda at: cut(saved(at / "a.tif", GREY_THW, save_tiff), 0.9),
        "damaged or cut off: its pages cannot be counted",
    ),
    "npy cut off": (lambda at: cut(saved(at / "a.npy", GREY_THW), 0.8), "cut off after frame 19 of 24; copy it again"),
    "npz cut off": (lambda at: cut(saved(at / "a.npz", GREY_THW, np.savez), 0.9), "cannot be read as an array"),
    "h5 cut off": (lambda at: cut(saved(at / "a.h5", GREY_THW, save_hdf5), 0.9), "cannot be read as HDF5"),
    "fractions": (lambda at: saved(at / "a.npy", GREY_THW / 255), r"fractions \(float64\).*save it with 8 bits"),
    "12 bits in 16": (
        lambda at: saved(at / "a.npy", GREY_THW.astype(np.uint16) * 16),
        r"first frame goes up to \d+ of 65535.*multiply all of it by the same number first \(16 for a camera of 12",
    ),
    "two axes": (lambda at: saved(at / "a.npy", GREY_THW[0]), "one axis of numbers, a stack of frames three"),
    "colours first": (lambda at: saved(at / "a.npy", np.moveaxis(SCENE_THWC, 3, 1)), r"order its axes"),
}


@pytest.mark.parametrize(("make", "message"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_used_says_why_and_what_to_do(tmp_path, make, message):
    source = make(tmp_path)
    with pytest.raises(RecordingError, match=message):
        ingest(source, tmp_path / "tank.zarr")
    assert not (tmp_path / "tank.zarr").exists()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "frames", "fps", "size"),
    [
        ("two_flies_1024px_25fps.mp4", 3000, 25, (1024, 1024)),
        ("openfield_mouse_640px_30fps.mp4", 2330, 30.0003, (480, 640)),
    ],
)
def test_real_videos_have_the_greys_that_ffmpeg_gives(shared, name, frames, fps, size):
    source = open_source(shared / "data" / "video" / name)
    assert (source.frame_count, source.times_s) == (frames, None)
    assert source.fps == pytest.approx(fps)
    expected_thw = greys_of(source.path, *size, "-frames:v", 40)
    frames_thw = np.stack([frame_hw for frame_hw, _ in zip(source.frames(), range(40), strict=False)])
    assert difference(frames_thw, expected_thw) <= 1

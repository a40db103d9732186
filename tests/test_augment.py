import pytest
import torch

from fishray.augment import BRIGHTNESS, pixel_transform, speed_transform


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def clip_tchw():
    """Five frames of random grey levels and differences, below the level at which brightness would clip."""
    return torch.rand((5, 2, 8, 12)) * 0.8


def flipped(clip_tchw):
    """As it is, and flipped in the three ways."""
    return [clip_tchw, clip_tchw.flip(3), clip_tchw.flip(2), clip_tchw.flip(2, 3)]


def test_none_is_no_transform():
    assert pixel_transform("none") is None
    assert speed_transform("none", 0.1) is None


def test_flips_are_one_of_four_for_all_frames_and_channels_of_a_clip(clip_tchw):
    transform = pixel_transform("flips")
    found = [
        [torch.equal(each, other) for other in flipped(clip_tchw)] for each in (transform(clip_tchw) for _ in range(60))
    ]
    assert all(sum(matches) == 1 for matches in found)
    counts = torch.tensor(found).sum(0)
    assert counts.min() >= 5  # each has a chance of a quarter: 15 of 60 are expected


def test_flips_keep_the_pixels(clip_tchw):
    transform = pixel_transform("flips")
    for _ in range(8):
        after = transform(clip_tchw)
        assert torch.equal(after.flatten(2).sort().values, clip_tchw.flatten(2).sort().values)


def test_an_affine_transform_is_one_for_all_frames_and_channels_of_a_clip(clip_tchw):
    alike = clip_tchw[:1, :1].expand_as(clip_tchw)
    transform = pixel_transform("affine")
    for _ in range(8):
        after = transform(alike)
        assert torch.equal(after, after[:1, :1].expand_as(after))
        assert not any(torch.equal(after, other) for other in flipped(alike))


def test_an_affine_transform_is_drawn_anew_for_every_clip(clip_tchw):
    transform = pixel_transform("affine")
    assert not torch.equal(transform(clip_tchw), transform(clip_tchw))


def test_an_affine_transform_is_a_small_one():
    """A grey square in the middle stays where it was, but for its rim; its brightness changes by a fifth at most."""
    clip_tchw = torch.zeros((3, 2, 40, 40))
    clip_tchw[:, :, 10:30, 10:30] = 0.5
    transform = pixel_transform("affine")
    levels = set()
    for _ in range(20):
        after = transform(clip_tchw)
        assert after.min() >= 0
        assert after.max() <= 1
        middle = after[:, :, 17:23, 17:23]
        assert middle.min() == pytest.approx(middle.max().item(), abs=1e-5)
        assert abs(middle.max().item() / 0.5 - 1) <= BRIGHTNESS + 1e-5
        assert (after[:, :, :3] == 0).all()
        levels.add(round(middle.max().item(), 4))
    assert len(levels) > 10


@pytest.mark.parametrize("kind", ["flips", "affine"])
def test_a_still_clip_stays_still(kind):  # a difference of zero must not become motion
    clip_tchw = torch.rand((1, 2, 8, 12)).expand(5, 2, 8, 12).clone()
    clip_tchw[:, 1] = 0
    for _ in range(5):
        after = pixel_transform(kind)(clip_tchw)
        assert (after[:, 1] == 0).all()
        assert (after[:, 0] == after[:1, 0]).all()


def test_noise_has_its_standard_deviation_and_nothing_else():
    speed_bt = torch.full((20, 5000), 3.0)
    noise = speed_transform("noise", 0.25)(speed_bt) - 3.0
    assert noise.std().item() == pytest.approx(0.25, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert abs(torch.corrcoef(noise)[0, 1].item()) < 0.1  # each series its own
    assert abs(torch.corrcoef(torch.stack([noise[0, 1:], noise[0, :-1]]))[0, 1].item()) < 0.1  # each frame its own


def test_what_is_unknown_stays_unknown_under_noise():
    speed_bt = torch.tensor([[torch.nan, 1.0, 2.0]])
    assert torch.isnan(speed_transform("noise", 0.1)(speed_bt))[0].tolist() == [True, False, False]


@pytest.mark.parametrize("kind", ["flips", "affine"])
def test_the_same_seed_is_the_same_transform(clip_tchw, kind):
    transform = pixel_transform(kind)
    torch.manual_seed(7)
    first = [transform(clip_tchw) for _ in range(4)]
    torch.manual_seed(7)
    assert all(torch.equal(each, transform(clip_tchw)) for each in first)


def test_what_goes_in_is_left_as_it_was(clip_tchw):
    before = clip_tchw.clone()
    for kind in ("flips", "affine"):
        pixel_transform(kind)(clip_tchw)
    assert torch.equal(clip_tchw, before)

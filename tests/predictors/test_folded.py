import numpy as np
import pytest
import torch

from fishray.errors import WeightsError
from fishray.predictors.folded import FoldedPredictor, load_trained, together
from fishray.predictors.network import NetworkPredictor, normalise_by
from fishray.weights import BEST, read_weights, under, write_weights

LOOK_BACK = 24
SIZES = ((24, 32), (12, 16))


@pytest.fixture(params=["lstm", "convlstm"])
def networks(request, make_trial, tank):
    """Three networks with other weights each."""

    def make(seed):
        torch.manual_seed(seed)
        predictor = NetworkPredictor(make_trial(request.param), LOOK_BACK, SIZES)
        normalise_by(predictor.network, tank.train, [predictor.inputs(s) for s in tank.train])
        return predictor

    return [make(seed) for seed in range(3)]


def test_the_probability_is_the_mean_of_the_networks(networks, tank):
    for mode in (None, "clip", "dense"):
        each = [network.predict(tank.validation[0], mode) for network in networks]
        mean = FoldedPredictor(networks).predict(tank.validation[0], mode)
        np.testing.assert_array_equal(mean, (each[0] + each[1] + each[2]) / 3)
        assert np.abs(each[0] - each[1])[LOOK_BACK:].max() > 1e-3
        assert np.flatnonzero(np.isnan(mean)).tolist() == list(range(LOOK_BACK - 1))


def test_a_trial_without_folds_is_its_only_network(networks):
    assert together(networks[:1]) is networks[0]
    assert together(networks).networks == tuple(networks)


def test_it_reads_what_each_of_them_reads(networks):
    assert FoldedPredictor(networks).reads == networks[0].reads


def test_all_folds_are_one_file_and_predict_the_same(networks, tank, tmp_path):
    FoldedPredictor(networks).save(tmp_path / "best", validation_probability=np.array([0.5, 0.25], np.float32))
    loaded = load_trained(tmp_path / "best")
    assert isinstance(loaded, FoldedPredictor)
    for one, other in zip(loaded.networks, networks, strict=True):
        assert (one.config, one.look_back, one.frame_sizes) == (other.config, LOOK_BACK, SIZES)
        np.testing.assert_array_equal(one.predict(tank.test[0]), other.predict(tank.test[0]))
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert read_weights(tmp_path / "best")[0]["array.validation_probability"].tolist() == [0.5, 0.25]


def test_one_network_is_loaded_as_one(networks, tmp_path):
    networks[0].save(tmp_path / "best")
    assert isinstance(load_trained(tmp_path / "best"), NetworkPredictor)
    with pytest.raises(WeightsError, match=r"no usable weights at .*best \(they are of one network, not of folds\)"):
        FoldedPredictor.load(tmp_path / "best")


def test_a_checkpoint_is_loaded_as_its_best_epoch(networks, tank, tmp_path):
    arrays, metadata = FoldedPredictor(networks).packed()
    write_weights(tmp_path / "checkpoint", under(arrays, BEST), {"epoch": 3, **under(metadata, BEST)})
    loaded = load_trained(tmp_path / "checkpoint")
    np.testing.assert_array_equal(loaded.predict(tank.test[0]), FoldedPredictor(networks).predict(tank.test[0]))


def test_a_fold_that_is_missing_is_one_line_for_a_person(networks, tmp_path):
    arrays, metadata = FoldedPredictor(networks).packed()
    kept = {name: array for name, array in arrays.items() if not name.startswith("fold-2.")}
    write_weights(tmp_path / "best", kept, metadata)
    with pytest.raises(WeightsError, match=r"no usable weights at .*best \(") as caught:
        load_trained(tmp_path / "best")
    assert "\n" not in str(caught.value)


def test_weights_go_to_a_device_together(networks):
    predictor = FoldedPredictor(networks)
    predictor.to(torch.device("meta"))  # no memory, on any machine
    assert [network.device.type for network in predictor.networks] == ["meta"] * 3

import pytest

from fishray.config.sweep import Resources
from fishray.config.trial import LstmSettings, TrialConfig
from fishray.tuning.advice import Advice, advise
from fishray.tuning.node import Node
from fishray.tuning.probing import Model, Probed

GB = 10**9
CONFIG = TrialConfig(id="lstm-0000", family="lstm", number=0, seed=0, settings=LstmSettings())


def advised(node, memory_gb, needs_gb=1, cpus=1, busy=None):
    probed = Probed(Model(CONFIG, 1, 1.0), 1.0, 1.0, 1.0, 0.0, needs_gb * GB, busy)
    return advise(probed, Resources(cpus=cpus), node, memory_gb * GB, on_gpu=busy is not None)


@pytest.mark.parametrize(
    ("advice", "expected"),
    [
        (advised(Node(8, ()), 64, cpus=2), Advice(4, "CPUs")),
        (advised(Node(8, ()), 4), Advice(3, "memory")),  # a tenth of it is not planned with
        (advised(Node(8, ()), 1, needs_gb=2), Advice(1, "memory")),
        (advised(Node(64, ("A100",) * 4), 40, busy=0.1), Advice(10, "GPU time")),
        (advised(Node(64, ("A100",) * 4), 40, needs_gb=9, busy=0.1), Advice(4, "GPU memory")),
        (advised(Node(16, ("A100",) * 4), 40, busy=0.1), Advice(4, "CPUs")),
        (advised(Node(16, ("A100",)), 40, busy=0.8), Advice(1, "GPU time")),
    ],
)
def test_as_many_trials_as_nothing_is_short_for(advice, expected):
    assert advice == expected

from pathlib import Path
from textwrap import dedent

import pytest
from ruamel.yaml import YAML

from fishray.config.loader import dump_sweep, load_sweep, parse_override
from fishray.errors import SettingError, SweepFileError

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))

GOOD = """\
name: mine
seed: 1
data:
  store: tank.zarr
  split: {train: 0.6, validation: 0.2, test: 0.2}
families:
  lstm:
    trials: 2
    space:
      learning_rate: {loguniform: [0.001, 0.1]}
search: {max_epochs: 9}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text, *overrides):
        path = tmp_path / "mine.yaml"
        path.write_text(dedent(text))
        return load_sweep(path, overrides)

    return load_text


def faults_of(load, text, *overrides):
    """Rows below the heading, in the order in which they are printed."""
    with pytest.raises(SweepFileError) as caught:
        load(text, *overrides)
    heading, *rows = str(caught.value).splitlines()
    assert heading.endswith(f"mine.yaml: {len(rows)} fault{'s' if len(rows) > 1 else ''}")
    return [" ".join(row.split()) for row in rows]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_shipped_sweep_loads(path):
    assert load_sweep(path).name == path.stem


def test_there_is_a_shipped_sweep():
    assert "small" in [path.stem for path in SWEEPS]


def test_the_good_sweep_is_good(load):
    sweep = load(GOOD)
    assert (sweep.name, sweep.seed, sweep.families["lstm"].trials) == ("mine", 1, 2)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("learning_rate:", "learnin_rate:",
         "line 10 families.lstm.space.learnin_rate unknown setting; did you mean learning_rate?"),
        ("search:", "saerch:", "line 11 saerch unknown setting; did you mean search?"),
        ("seed: 1", "seed: 1\nmovie: red",
         "line 3 movie unknown setting; one of name, seed, data, labels, families, search, report, trackers, cluster, "
         "access"),
        ("store: tank.zarr", "store: tank.zarr\n  lookback: 100",
         "line 5 data.lookback unknown setting; did you mean look_back?"),
        ("trials: 2", "trials: 2\n    resource: {cpus: 1}",
         "line 9 families.lstm.resource unknown setting; did you mean resources?"),
        ("trials: 2", "trials: 2\n    resources: {cpu: 1}",
         "line 9 families.lstm.resources.cpu unknown setting; did you mean cpus?"),
        ("loguniform", "logunifrom",
         "line 10 families.lstm.space.learning_rate.logunifrom unknown setting; did you mean loguniform?"),
        ("seed: 1", "seed: 1\nseed: 2", "line 3 seed stands twice; first on line 2"),
        ("trials: 2", "trials: 2\n    trials: 2", "line 9 families.lstm.trials stands twice; first on line 8"),
        ("seed: 1", "seed: one", "line 2 seed 'one': must be a valid integer"),
        ("seed: 1", "seed: 1.5", "line 2 seed 1.5: must be a valid integer"),
        ("seed: 1", "seed: '1'", "line 2 seed '1': must be a valid integer"),
        ("max_epochs: 9", "max_epochs: true", "line 11 search.max_epochs True: must be a valid integer"),
        ("{max_epochs: 9}", "9", "line 11 search 9: must be a mapping of settings"),
        ("{max_epochs: 9}", "", "line 11 search is empty; give it a value or leave it out"),
        ("seed: 1", "labels: {low_fraction: .nan}", "line 2 labels.low_fraction nan: must be a finite number"),
        ("seed: 1", "labels: {range_threshold: .inf}",
         "line 2 labels.range_threshold inf: must be auto or a speed above 0"),
        ("seed: 1", "labels: {range_threshold: automatic}",
         "line 2 labels.range_threshold 'automatic': must be auto or a speed above 0"),
        ("seed: 1", "labels: {horizon: 45, horizon_s: 1.5}",
         "line 2 labels give horizon (frames) or horizon_s (seconds), not both"),
        ("name: mine", "name: my/sweep",
         "line 1 name 'my/sweep': must be letters, digits, _, . and -, and begin with a letter or a digit"),
        ("store: tank.zarr", "look_back: 100", "line 3 data.store is missing"),
        ("trials: 2", "trials: 0", "line 8 families.lstm.trials 0: must be greater than 0"),
        ("trials: 2", "fixed: {}", "line 7 families.lstm.trials is missing"),
        ("max_epochs: 9", "max_epochs: 9, grace_epochs: 12",
         "line 11 search.grace_epochs 12 is above max_epochs 9"),
        ("train: 0.6", "train: 0.7", "line 5 data.split train + validation + test = 1.10, must be 1"),
        (", test: 0.2", "", "line 5 data.split train + validation = 0.80, must be 1"),
        ("train: 0.6", "train: 1.6",
         "line 5 data.split.train a share of each recording must lie between 0 and 1, not 1.6"),
        ("train: 0.6", "train: most",
         "line 5 data.split.train must be a share of each recording (0.6) or a list of recordings ([a, b])"),
        ("train: 0.6", "train: [a]", "line 5 data.split mixes shares and lists of recordings; give one kind"),
        ("{train: 0.6, validation: 0.2, test: 0.2}", "{train: [a, b], validation: [b], test: [c]}",
         "line 5 data.split recording b stands in more than one place; splits must not overlap"),
        ("max_epochs: 9", "metric: validation_acu",
         "line 11 search.metric 'validation_acu' is not allowed; did you mean validation_auc?"),
        ("max_epochs: 9", "metric: loss",
         "line 11 search.metric 'loss' is not allowed; one of validation_auc, validation_average_precision, "
         "validation_youden_j"),
        ("  lstm:", "  lsmt:", "line 7 families.lsmt.model unknown model; did you mean lstm?"),
        ("trials: 2", "trials: 2\n    model: transformer",
         "line 9 families.lstm.model unknown model; one of lstm, convlstm"),
        ("trials: 2", "trials: 2\n    fixed: {learning_rate: 0.1}",
         "line 9 families.lstm.fixed.learning_rate stands in space as well; keep one"),
        ("trials: 2", "trials: 2\n    fixed: {hidden: 0}",
         "line 9 families.lstm.fixed.hidden 0: must be greater than 0"),
        ("learning_rate: {loguniform: [0.001, 0.1]}", "hidden: {choice: [8, 0, 16]}",
         "line 10 families.lstm.space.hidden 0: must be greater than 0"),
        ("learning_rate: {loguniform: [0.001, 0.1]}", "cell: {choice: [lstm, rnn]}",
         "line 10 families.lstm.space.cell 'rnn': must be 'lstm' or 'gru'"),
        ("learning_rate: {loguniform: [0.001, 0.1]}", "cell: {choice: []}",
         "line 10 families.lstm.space.cell.choice is empty; give at least one"),
        ("learning_rate: {loguniform: [0.001, 0.1]}", "dropout: {uniform: [0, 1]}",
         "line 10 families.lstm.space.dropout 1.0: must be less than 1"),
        ("learning_rate: {loguniform: [0.001, 0.1]}", "layers: {randint: [1, 5]}",
         "line 10 families.lstm.space.layers 5: must be less than or equal to 4"),
        ("[0.001, 0.1]", "[0, 0.1]",
         "line 10 families.lstm.space.learning_rate a loguniform needs a lower bound above 0, not 0.0"),
        ("[0.001, 0.1]", "[0.1, 0.001]",
         "line 10 families.lstm.space.learning_rate lower bound 0.1 is not below upper bound 0.001"),
        ("[0.001, 0.1]", "[0.1]",
         "line 10 families.lstm.space.learning_rate.loguniform must be two numbers, [low, high]"),
        ("{loguniform: [0.001, 0.1]}", "{loguniform: [0.001, 0.1], uniform: [0, 1]}",
         "line 10 families.lstm.space.learning_rate must have exactly one of uniform, loguniform, randint, choice"),
        ("{loguniform: [0.001, 0.1]}", "0.01",
         "line 10 families.lstm.space.learning_rate 0.01: must be a distribution ({choice: [...]}); a single value "
         "belongs in fixed"),
        ("trials: 2", "trials: 2\n    fixed: {frames_per_step: 121}",
         "line 9 families.lstm.fixed.frames_per_step 121 is above data.look_back 120"),
        ("trials: 2", "trials: 2\n    resources: {gpus: 1.5}",
         "line 9 families.lstm.resources.gpus 1.5: must be auto, a share between 0 and 1, or a whole number"),
        ("trials: 2", "trials: 2\n    resources: {gpus: .inf}",
         "line 9 families.lstm.resources.gpus inf: must be auto, a share between 0 and 1, or a whole number"),
        ("seed: 1", "seed: !int_of 1", "line 2 not YAML: could not determine a constructor for the tag '!int_of'"),
        ("{max_epochs: 9}", "{max_epochs: 9",
         "line 12 not YAML: while parsing a flow mapping, expected ',' or '}', but got '<stream end>'"),
        ("max_epochs: 9}", "max_epochs: 9}\n---\n{seed: 2}",
         "line 12 not YAML: expected a single document in the stream, but found another document"),
        ("{max_epochs: 9}", "&again {searcher: *again}", "line 1 an alias (*) stands within what it names"),
    ],
)  # fmt: skip
def test_a_fault_names_its_line_its_key_and_the_remedy(load, old, new, fault):
    assert GOOD.count(old) == 1
    assert faults_of(load, GOOD.replace(old, new)) == [fault]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_what_is_no_mapping_is_no_sweep(load, text):
    assert faults_of(load, text) == ["line 1 a sweep file is a mapping of settings; shipped ones are in sweeps/"]


@pytest.mark.parametrize(
    ("families", "fault"),
    [
        ("families: {}", "line 2 families is empty; give at least one"),
        ("families:", "line 2 families is empty; give it a value or leave it out"),
        ("families: [lstm]", "line 2 families ['lstm']: must be a mapping of settings"),
        ("seed: 0", "line 1 families is missing"),
    ],
)
def test_a_sweep_needs_a_family(load, families, fault):
    assert faults_of(load, f"data: {{store: tank.zarr}}\n{families}\n") == [fault]


def test_all_faults_are_reported_at_once_and_aligned(load):
    with pytest.raises(SweepFileError) as caught:
        load("""\
            name: mine
            data:
              store: tank.zarr
              split: {train: 0.7, validation: 0.2, test: 0.2}
            families:
              lstm:
                trials: 0
                space:
                  learnin_rate: {loguniform: [0.001, 0.1]}
                  hidden: {choice: [0]}
                  weight_decay: {loguniform: [0, 1]}
                fixed: {dropout: 2, hiden: 3}
              convlstm:
                trials: 1
                fixed: {kernel: 2}
            search: {max_epochs: 9, grace_epochs: 12}
            search: {}
            """)
    key = len("families.lstm.space.weight_decay")
    assert str(caught.value).splitlines()[1:] == [
        f"  line {line:<4}{name:<{key}}  {message}"
        for line, name, message in [
            (4, "data.split", "train + validation + test = 1.10, must be 1"),
            (7, "families.lstm.trials", "0: must be greater than 0"),
            (9, "families.lstm.space.learnin_rate", "unknown setting; did you mean learning_rate?"),
            (10, "families.lstm.space.hidden", "0: must be greater than 0"),
            (11, "families.lstm.space.weight_decay", "a loguniform needs a lower bound above 0, not 0.0"),
            (12, "families.lstm.fixed.dropout", "2: must be less than 1"),
            (12, "families.lstm.fixed.hiden", "unknown setting; did you mean hidden?"),
            (15, "families.convlstm.fixed.kernel", "2: must be 1, 3, 5 or 7"),
            (16, "search.grace_epochs", "12 is above max_epochs 9"),
            (17, "search", "stands twice; first on line 16"),
        ]
    ]


def test_a_whole_number_between_allowed_ones_is_refused(load):  # both bounds are allowed, 4 is not
    text = GOOD.replace("  lstm:", "  convlstm:").replace(
        "learning_rate: {loguniform: [0.001, 0.1]}", "kernel: {randint: [3, 5]}"
    )
    assert faults_of(load, text) == ["line 10 families.convlstm.space.kernel 4: must be 1, 3, 5 or 7"]


def test_numbers_are_those_of_yaml_1_2(load):  # in YAML 1.1, 3e-3 is a word and 010 is 8
    sweep = load(GOOD.replace("[0.001, 0.1]", "[3e-3, 1e-1]").replace("seed: 1", "seed: 010"))
    assert sweep.families["lstm"].space["learning_rate"].loguniform == (0.003, 0.1)
    assert sweep.seed == 10


def test_a_missing_sweep_points_to_the_shipped_ones(tmp_path):
    with pytest.raises(SweepFileError, match=r"no sweep file at .*mine\.yaml; shipped ones are in sweeps/"):
        load_sweep(tmp_path / "mine.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SweepFileError, match="cannot be read as text"):
        load_sweep(tmp_path / "mine.yaml")


def test_the_name_is_that_of_the_file_by_default(load):
    assert load(GOOD.replace("name: mine\n", "")).name == "mine"


def test_a_family_of_another_name_names_its_model(load):
    text = GOOD.replace("  lstm:", "  fast:")
    assert load(text.replace("trials: 2", "trials: 2\n    model: lstm")).families["fast"].model == "lstm"
    assert faults_of(load, text) == ["line 7 families.fast.model unknown model; one of lstm, convlstm"]


def test_an_override_replaces_the_setting_of_the_file(load):
    sweep = load(
        GOOD, "search.max_epochs=3", "data.store=other.zarr", "families.lstm.fixed.hidden=8", "labels.horizon=9"
    )
    assert (sweep.search.max_epochs, str(sweep.data.store)) == (3, "other.zarr")
    assert (sweep.families["lstm"].fixed, sweep.labels.horizon) == ({"hidden": 8}, 9)
    assert sweep.families["lstm"].trials == 2


def test_the_last_of_two_overrides_counts(load):
    assert load(GOOD, "seed=5", "seed=6").seed == 6


def test_an_override_replaces_a_faulty_setting(load):
    assert load(GOOD.replace("seed: 1", "seed: one"), "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("search.max_epochs=0", "--set search.max_epochs 0: must be greater than 0"),
        ("search.max_epoch=3", "--set search.max_epoch unknown setting; did you mean max_epochs?"),
        ("search=", "--set search is empty; give it a value or leave it out"),
        ("seed.first=1", "--set seed {'first': 1}: must be a valid integer"),
        ("families.lstm.space={hiden: {choice: [8]}}",
         "--set families.lstm.space.hiden unknown setting; did you mean hidden?"),
        ("data.split.train=0.7", "line 5 data.split train + validation + test = 1.10, must be 1"),
    ],
)  # fmt: skip
def test_a_fault_of_an_override_is_reported_as_such(load, override, fault):
    assert faults_of(load, GOOD, override) == [fault]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: write it as key=value, for example --set search.max_epochs=3"),
        ("=3", "--set =3: write it as key=value"),
        ("seed=[1", r"--set seed=\[1: the value is not YAML"),
        ("seed=!int_of 1", "--set seed=!int_of 1: the value is not YAML"),
        ("labels={horizon: 1, horizon: 2}", "horizon stands twice"),
        ("labels=&a {x: *a}", "the value holds itself"),
    ],
)
def test_an_override_that_cannot_be_read_is_refused(override, message):
    with pytest.raises(SettingError, match=message):
        parse_override(override)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3e-3", 0.003), ("true", True), ("[4, 8]", [4, 8]), ("", None), ("yes", "yes"), ("2024-01-01", "2024-01-01")],
)
def test_the_value_of_an_override_is_yaml_1_2(text, value):
    assert parse_override(f"a.b={text}") == ("a.b", value)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_resolved_sweep_loads_to_the_same_sweep(path, tmp_path):
    sweep = load_sweep(
        path,
        ["labels.low_fraction=1e-5", "families.third={model: lstm, trials: 1, space: {layers: {randint: [1, 2]}}}"],
    )
    dump_sweep(sweep, tmp_path / "other.yaml")
    assert load_sweep(tmp_path / "other.yaml") == sweep


def test_a_resolved_sweep_says_every_default_behind_what_is_known_of_the_run(load, tmp_path):
    dump_sweep(load(GOOD), tmp_path / "sweep.yaml", provenance={"fishray": "0.1"})
    written = YAML(typ="safe", pure=True).load(tmp_path / "sweep.yaml")
    assert next(iter(written)) == "provenance"
    assert written["search"] == {
        "searcher": "random", "scheduler": "asha", "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3,
        "metric": "validation_auc",
    }  # fmt: skip
    assert written["data"]["look_back"] == 120
    assert written["families"]["lstm"]["resources"] == {"cpus": 1, "gpus": "auto", "retries": 3}

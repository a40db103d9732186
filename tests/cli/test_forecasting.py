from fishray.cli.forecasting import forecast_lines
from fishray.tuning.forecast import Forecast, Range


def lines(wall_s=(3600, 9000), gpu_hours=(0.5, 1.25), disk=(2e6, 3.5e6), files=(94, 106)):
    found = Forecast(
        wall_s=Range(*wall_s),
        cpu_hours=Range(2, 5),
        gpu_hours=Range(*gpu_hours),
        full_cpu_hours=Range(8, 12),
        disk_bytes=Range(*disk),
        files=Range(*files),
    )
    return forecast_lines(found, has_gpus=gpu_hours != (0, 0))


def test_a_forecast_is_a_range_beside_what_full_training_would_cost():
    assert lines() == [
        " forecast                 60 min to 2.5 h · 2.0 to 5.0 CPU-hours · 0.5 to 1.2 GPU-hours",
        "                          (every trial to the last epoch: up to 12 CPU-hours)",
        " disk                     2.0 to 3.5 MB, 94 to 106 files and folders",
    ]


def test_what_is_certain_is_one_number():
    forecast, _, disk = lines(wall_s=(600, 610), gpu_hours=(0, 0), disk=(2e6, 2e6), files=(60, 60))
    assert forecast == " forecast                 10 min · 2.0 to 5.0 CPU-hours"
    assert disk == " disk                     2.0 MB, 60 files and folders"

"""What a cluster of workers does for its driver, and what of it is its own."""

from math import inf

from hpc.files import private_directory
from hpc.slurm import Slurm
from hpc.worker import WORKERS, WorkerRecord
from hpc.workers import cluster_jobs


def test_the_jobs_of_a_cluster_carry_its_name_or_were_noted_and_have_not_ended(tmp_path):
    private_directory(tmp_path / WORKERS)
    for job_id in ("13", "14"):
        WorkerRecord(job_id, "pending", "", 0, "", inf).note_submission(tmp_path)
    lines = [
        f"11|RUNNING|N/A|n1|None|{tmp_path}",
        f"12|COMPLETED|N/A|n1|None|{tmp_path}",
        "13|PENDING|N/A||Priority|(null)",  # where a site rewrites comments
        f"14|CANCELLED|N/A||None|{tmp_path}",
        f"15|RUNNING|N/A|n1|None|driver of {tmp_path}",
        f"16|RUNNING|N/A|n1|None|{tmp_path}-2",
        "17|RUNNING|N/A|n1|None|(null)",
    ]
    assert cluster_jobs(tmp_path, Slurm(lambda *_: "\n".join(lines))) == ["11", "13"]

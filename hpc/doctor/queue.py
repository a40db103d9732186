"""What Slurm says of itself, of this user, and of jobs of ours."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hpc.doctor.findings import Finding, duration, failure, ok, plural, warning
from hpc.doctor.partitions import PARTITION_FORMAT, Partition, Request, check_request, parse_partitions, requests_of
from hpc.errors import SlurmError
from hpc.settings import ClusterSettings
from hpc.slurm import RunCommand
from hpc.submission import driver_script, worker_script

NEVER = (
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionConfig",
    "PartitionDown",
    "PartitionInactive",
    "BadConstraints",
    "PerJobLimit",
    "Invalid",
    "NotAllowed",
    "JobHeldAdmin",
)
"""Parts of the queue's reasons that waiting does not mend."""


def examine_slurm(settings: ClusterSettings, run: RunCommand) -> Iterator[Finding]:
    """What Slurm offers, and whether jobs of ours could ever run there."""
    try:
        config = parse_config(run(["scontrol", "show", "config"], ""))
        listed = run(["sinfo", "--exact", "--noheader", "--all", f"--format={PARTITION_FORMAT}"], "")
    except SlurmError as error:
        yield failure(f"Slurm does not answer: {error}", "is this a machine of the cluster? if not: --on local")
        return
    partitions = parse_partitions(listed)
    yield check_slurm(config, partitions)
    for request in requests_of(settings):
        found = check_request(request, partitions)
        if not any(finding.level == "failure" for finding in found):  # else sbatch says the same, less well
            found += check_test_only(request, _refusal(request, settings, run))
        yield from found
    accounting = True
    try:
        run(["sacct", "--noheader", "--allocations", "--starttime=now", "--format=State"], "")
    except SlurmError:
        accounting = False
    yield from check_accounting(accounting)
    if accounting:
        with suppress(SlurmError, KeyError):
            user = f"user={os.environ['USER']}"
            limits = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", user]
            lines = run([*limits, "format=Account,MaxJobs,MaxSubmitJobs"], "")
            yield from check_job_limit(lines, settings.account, settings.workers.max + 1)


def _refusal(request: Request, settings: ClusterSettings, run: RunCommand) -> str | None:
    """What Slurm says against a job of ours; None: nothing."""
    with tempfile.TemporaryDirectory() as folder:
        if request.block == "cluster":
            script = worker_script(settings, Path(folder), "doctor")
        else:
            log = Path(folder) / "log"
            script = driver_script(settings.driver, "doctor", "doctor", log, settings.notice_s, "true", settings.setup)
        try:
            run(["sbatch", "--test-only"], script)
        except SlurmError as error:
            return str(error)
    return None


def parse_config(text: str) -> dict[str, str]:
    """Read what ``scontrol show config`` prints."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def check_slurm(config: Mapping[str, str], partitions: Sequence[Partition]) -> Finding:
    """What there is."""
    if not partitions:
        return failure("Slurm shows no partition", "ask the site's administrators for access")
    shown = [
        f"{partition.name}{'*' if partition.is_default else ''} ({duration(partition.limit_s)})"
        for partition in partitions[:6]
    ]
    more = f" and {len(partitions) - 6} more" if len(partitions) > 6 else ""
    longest = config.get("MaxArraySize", "")
    arrays = f"; arrays up to {longest}" if longest else ""
    return ok(f"Slurm {config.get('SLURM_VERSION', '')}: partitions {', '.join(shown)}{more}{arrays}")


def check_test_only(request: Request, words: str | None) -> list[Finding]:
    """What ``sbatch --test-only`` says against a job script; None: nothing."""
    if words is None:
        return []
    reason = re.sub(r"^(sbatch: )?(error: |allocation failure: )*", "", words).strip()
    remedy = f"mend it in {request.block} (partition, account, sbatch)"
    return [failure(f"Slurm would refuse {request.who}: {reason}", remedy)]


def check_accounting(works: bool) -> list[Finding]:
    """Whether Slurm says how a job ended that its queue has forgotten."""
    if works:
        return []
    return [warning("sacct is off: how a job ended is known from squeue and exit markers alone")]


def check_job_limit(lines: str, account: str | None, jobs: int) -> list[Finding]:
    """Whether as many jobs may be there at once as a sweep asks for.

    Parameters
    ----------
    lines
        What sacctmgr prints of this user's associations: account, running jobs, submitted jobs; nothing, or 0, where
        there is no limit.
    jobs
        Workers, and the driver.
    """
    limits = []
    for line in lines.splitlines():
        fields = line.strip().split("|")
        if len(fields) >= 3 and account in (None, fields[0]):
            limits += [int(field) for field in fields[1:3] if field.isdecimal() and int(field)]
    if not limits:
        return []
    if min(limits) >= jobs:
        return [ok(f"up to {plural(min(limits), 'job')} of yours at once")]
    return [
        warning(
            f"up to {plural(min(limits), 'job')} of yours at once, a sweep asks for {jobs} with its driver: it runs "
            "on fewer workers",
            f"cluster: {{workers: {{max: {max(1, min(limits) - 1)}}}}}",
        )
    ]


def check_wait(job_id: str, reason: str, waited_s: float) -> Finding:
    """What it means that a job has not begun."""
    text = f"not examined: job {job_id} waited {duration(waited_s)} in the queue ({reason or 'no reason given'})"
    if any(part in reason for part in NEVER):
        return failure(text, "mend it in the cluster block; this reason does not pass by itself")
    return warning(text, "wait longer: --wait SECONDS")

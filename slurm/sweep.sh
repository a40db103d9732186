#!/bin/bash
# The driver of a sweep: a small job that computes nothing, and submits workers as the sweep needs them.
#
#   sbatch slurm/sweep.sh [SWEEP.yaml [options of fishray tune]]        sweeps/small.yaml when left out
#   sbatch --partition=cpu --account=lab slurm/sweep.sh sweeps/video.yaml --set data.store=/scratch/me/mine.zarr
#
# Submit it from the folder that your sweep file, store and runs/ are named from. What the workers are stands in the
# sweep's cluster: block, or in your site's profile (~/.config/fishray/cluster.yaml); what this job is, here or on
# sbatch's command line. Two minutes before its time is over it is told, stops in good order, and is queued again.
#SBATCH --job-name=fishray
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=1-00:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=fishray-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit me: sbatch slurm/sweep.sh}"  # this file itself is run from a copy in Slurm's spool

# Whatever your site needs before Python runs: module load python/3.12, conda activate …

PATH="$PWD/.venv/bin:$PATH"
command -v fishray >/dev/null || { echo "no fishray in $PWD/.venv, nor on PATH" >&2; exit 1; }
[[ ${1:--} == -* ]] && set -- sweeps/small.yaml "$@"
exec fishray tune "$@" --on slurm  # exec: Slurm's signals go to the first process

#!/bin/bash
# Chunk many recordings into one store, one array task each.
#
#   sbatch --array=1-12 slurm/ingest.sh data/mine.zarr videos.txt [options of fishray ingest]
#
# Line n of videos.txt is the source of task n: a video, a folder of images or a speed series. A task whose recording is
# there already says so, and one that was cut off begins anew. To run 8 at a time: --array=1-12%8.
#SBATCH --job-name=fishray-ingest
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=fishray-ingest-%A_%a.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit me: sbatch --array=1-12 slurm/ingest.sh STORE LIST}"
store=${1:?the store: sbatch --array=1-12 slurm/ingest.sh STORE LIST} list=${2:?a file with one source a line}

# Whatever your site needs before Python runs: module load python/3.12, conda activate …

PATH="$PWD/.venv/bin:$PATH"
command -v fishray >/dev/null || { echo "no fishray in $PWD/.venv, nor on PATH" >&2; exit 1; }
source=$(sed -n "${SLURM_ARRAY_TASK_ID:?submit me as an array: --array=1-$(wc -l < "$list")}p" "$list")
[ -n "$source" ] || { echo "$list has no line $SLURM_ARRAY_TASK_ID" >&2; exit 1; }
exec fishray ingest "$source" --store "$store" "${@:3}"

#!/bin/bash
# Chunk many recordings into one store, one array task each.
#
#   sbatch --array=1-12 slurm/ingest.sh data/mine.zarr videos.txt [options of fishray ingest]
#
# Line n of videos.txt is the source of task n: a video, a folder of images or a speed series; behind a tab, if you like,
# the recording's name (the source's otherwise). A task whose recording is there already says so, and one that was cut
# off goes on. To run 8 at a time: --array=1-12%8.
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
fail() { echo "$*" >&2; exit 1; }
usage="sbatch --array=1-12 slurm/ingest.sh STORE LIST [options of fishray ingest]"
[[ ${SLURM_SUBMIT_DIR:-} && $# -ge 2 ]] || fail "submit me: $usage"
cd "$SLURM_SUBMIT_DIR"
store=$1 list=$2
[ -r "$list" ] || fail "no list of sources at $list (seen from $PWD)"
lines=$(grep -c '' "$list" || true)
[[ ${SLURM_ARRAY_TASK_ID:-} ]] || fail "submit me as an array, with a task for each line of $list: --array=1-$lines"

# Whatever your site needs before Python runs: module load python/3.12, conda activate …

PATH="$PWD/.venv/bin:$PATH"
command -v fishray >/dev/null || fail "no fishray in $PWD/.venv, nor on PATH"
IFS=$'\t' read -r source name < <(sed -n "${SLURM_ARRAY_TASK_ID}{s/\r\$//;p}" "$list") || true
[[ ${source:-} ]] || fail "$list has nothing on line $SLURM_ARRAY_TASK_ID; it has $lines lines"
exec fishray ingest "$source" --store "$store" ${name:+--name "$name"} "${@:3}"

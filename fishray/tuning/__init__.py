"""A sweep: what it runs next, and Ray, which runs it.

Ray and Tune read these when they are first imported, and never again; `hpc.ray_cluster` sets Ray's own. No statistics
of MLflow's, which Tune imports where it is installed; Tune's own loggers off, the journal is the record; signals left
to us.
"""

import os

from hpc import ray_cluster  # noqa: F401  (for what it sets, before Ray is imported)

os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}

"""A sweep: what it runs next, and Ray, which runs it.

Ray reads these when it is first imported, and never again: a token for every process, so that nobody else on the node
can join; addresses on loopback, for this is one machine (Ray names that switch after the systems where it is the
default); no usage statistics, nor those of MLflow, which Tune imports where it is installed; Tune's own loggers off,
the journal is the record; signals left to us.
"""

import os

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}

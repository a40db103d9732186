"""What the job of an examination runs: ``python -m hpc.doctor FOLDER``."""

import sys
from pathlib import Path

from hpc.doctor.examination import answer

if __name__ == "__main__":
    answer(Path(sys.argv[1]))

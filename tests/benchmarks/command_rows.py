"""What a person waits for at the command line."""

import subprocess
import sys

from measuring import Goal, Plan, Row, measure


def showing_help(plan: Plan) -> list[Row]:
    """CPU seconds of a process, from its start to its end."""

    def call() -> int:
        command = [sys.executable, "-c", "from fishray.cli import main; main()", "--help"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return 1

    return [Row("fishray --help", "CPU s", measure({"ours": call}, plan.rounds)["ours"].inverse, Goal("<", 0.4))]

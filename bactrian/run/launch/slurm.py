"""A batch script for SLURM: one process for each GPU, requeued until the recipe is made."""

from __future__ import annotations

import math
from pathlib import Path

from bactrian.run.launch.job import SIGNAL_SECONDS, Job, command, python, quoted

MOST_RESTARTS = 200
"""How often a job goes on by itself: a recipe that never ends is somebody's mistake."""


def batch_script(job: Job) -> str:
    """The script, for `sbatch`.

    The machines must share the folder it is sent from: the recipe, its files, the store and the Python environment.
    SLURM tells the processes five minutes before the time is over; they end the step that they are at, write a
    checkpoint and leave with status 143, and the job puts itself into the queue again. A job that lost a machine is
    requeued by SLURM itself.
    """
    options = {
        "job-name": job.name,
        "nodes": job.nodes,
        "ntasks-per-node": job.gpus_per_node,
        **({"gpus-per-node": job.gpus_per_node} if job.gpu else {}),
        **({"partition": job.wishes.partition} if job.wishes.partition else {}),
        **({"account": job.wishes.account} if job.wishes.account else {}),
        "time": _time(job.wishes.hours),
        "signal": f"TERM@{SIGNAL_SECONDS}",
        "output": f"{job.name}-%j.log",
        "open-mode": "append",
    }
    lines = [
        "#!/bin/bash",
        "# Made by `bactrian launch --for slurm`; send it with sbatch, from this folder.",
        *(f"# {line}" for line in job.summary()),
        *(f"#SBATCH --{name}={value}" for name, value in options.items()),
        "#SBATCH --requeue",
        "#SBATCH --exclusive",
        "set -u",
        f"cd {quoted([str(Path.cwd())])}",
        f"srun --kill-on-bad-exit=0 {quoted([python(), *command(job)])}",
        "status=$?",
        "# 143: told to stop, with a checkpoint of the step it was at",
        f'if [ "$status" -eq 143 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MOST_RESTARTS} ]; then',
        '    scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        'exit "$status"',
    ]
    return "\n".join(lines) + "\n"


def _time(hours: float) -> str:
    """
    >>> _time(36.5)
    '1-12:30:00'
    """
    minutes = max(1, math.ceil(hours * 60))
    return f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"

"""A task for SkyPilot: machines of any cloud, torchrun on each."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from bactrian.run.launch.job import PORT, Job, command, quoted


def task(job: Job) -> str:
    """The task, for `sky launch`.

    The working folder is sent along; files that lie outside it are mounted where the recipe looks for them. Several
    machines must share the store.

    Raises:
        BactrianError: as `job` does.
    """
    resources: dict[str, Any] = {"accelerators": f"{job.gpu.upper()}:{job.gpus_per_node}"} if job.gpu else {}
    document: dict[str, Any] = {
        "name": job.name,
        "num_nodes": job.nodes,
        "workdir": ".",
        **({"resources": resources} if resources else {}),
        "secrets": {"HF_TOKEN": None},
        **({"file_mounts": mounts} if (mounts := _mounts(job)) else {}),
        "setup": LiteralScalarString(job.install + "\n"),
        "run": LiteralScalarString(_run(job)),
    }
    yaml, out = YAML(), io.StringIO()
    yaml.width = 120
    yaml.dump(document, out)
    head = ["Made by `bactrian launch --for skypilot`: sky launch --secret HF_TOKEN FILE", *job.summary()]
    if job.nodes > 1:
        head.append(f"{job.wishes.store} must be a folder that all machines share: name one with --store")
    return "".join(f"# {line}\n" for line in head) + out.getvalue()


def _run(job: Job) -> str:
    gpus = "$SKYPILOT_NUM_GPUS_PER_NODE" if job.gpu else str(job.gpus_per_node)
    words = [
        *('torchrun --nnodes="$SKYPILOT_NUM_NODES"', f"--nproc-per-node={gpus}", '--node-rank="$SKYPILOT_NODE_RANK"'),
        *('--master-addr="$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"', f"--master-port={PORT}"),
        quoted(command(job)),
    ]
    return " \\\n  ".join(words) + "\n"


def _mounts(job: Job) -> dict[str, str]:
    """Files outside the working folder, which is sent as it is."""
    here = Path.cwd().resolve()
    return {
        str(path): str(path.resolve())
        for path in (*job.local_files, Path(job.recipe))
        if not path.resolve().is_relative_to(here)
    }

"""Two "machines" train one model; the network between them is cut in mid-step: both end, saying why, and go on later.

    sudo python benchmarks/cut_link.py            (about three minutes; root, for network namespaces)

Each machine is a network and a host name of its own on this one, started as by srun. Prints JSON: seconds from the cut
to the end of each, what each said, and how far the weights are from those of one process (largest difference as a share
of the largest weight).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LINK, PORT = "bactrian", "24711"
RECIPE = """\
name: cut
seed: 5
hardware: {dtype: float32, threads: 1, device: cpu, weights: sharded}
steps:
  base:
    stage: pretrain
    data: texts.jsonl
    hidden_size: 32
    layers: 2
    heads: 2
    intermediate_size: 48
    context: 32
    epochs: 2
    batch_size: 16
    learning_rate: 0.001
    checkpoints: {checkpoint_seconds: 0}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        draw = random.Random(0)
        rows = [f"{a} + {b} = {a + b}" for a, b in ((draw.randint(1, 20), draw.randint(1, 20)) for _ in range(160))]
        lines = [json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(rows)]
        (place / "texts.jsonl").write_text("".join(lines))
        (place / "r.yaml").write_text(RECIPE)
        subprocess.run(command("alone"), cwd=place, check=True, capture_output=True)
        with two_machines():
            nodes = [started(place, rank) for rank in range(2)]
            until_checkpoints(place / "two", 6)
            began = time.monotonic()
            run("ip", "-n", f"{LINK}0", "link", "set", f"{LINK}0", "down")
            ends = [(node.wait(), time.monotonic() - began) for node in nodes]
            said = [Path(place / f"{rank}.txt").read_text().splitlines()[-1] for rank in range(2)]
        with two_machines():
            again = [node.wait() for node in [started(place, rank) for rank in range(2)]]
        print(
            json.dumps(
                {
                    "status_after_cut": [status for status, _ in ends],
                    "seconds_to_end": [round(seconds, 1) for _, seconds in ends],
                    "said": said,
                    "status_of_second_run": again,
                    "resumed": "resuming after step" in (place / "0.txt").read_text(),
                    "largest_difference": difference(place / "alone" / "cut" / "base", place / "two" / "cut" / "base"),
                },
                indent=1,
            )
        )


def command(store: str) -> list[str]:
    return [sys.executable, "-m", "bactrian", "run", "r.yaml", "--store", store]


def run(*words: str) -> None:
    subprocess.run(words, check=True)


@contextmanager
def two_machines() -> Iterator[None]:
    """Two network namespaces with a link between them, 10.99.0.1 and 10.99.0.2."""
    names = [f"{LINK}0", f"{LINK}1"]
    try:
        for name in names:
            run("ip", "netns", "add", name)
        run(
            "ip",
            "link",
            "add",
            names[0],
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            names[1],
            "netns",
            names[1],
        )
        for number, name in enumerate(names, 1):
            run("ip", "-n", name, "addr", "add", f"10.99.0.{number}/24", "dev", name)
            for device in ("lo", name):
                run("ip", "-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def started(place: Path, rank: int) -> subprocess.Popen[bytes]:
    """One process on its machine, as srun starts it; what it says goes to RANK.txt."""
    srun = {
        "SLURM_JOB_ID": "9",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": str(rank),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_STEP_NODELIST": "node[0-1]",
        "MASTER_ADDR": "10.99.0.1",
        "MASTER_PORT": PORT,
        "GLOO_SOCKET_IFNAME": f"{LINK}{rank}",
    }
    named = ["unshare", "--uts", "sh", "-c", f'hostname node{rank}; exec "$@"', "sh"]
    with (place / f"{rank}.txt").open("wb") as said:
        return subprocess.Popen(
            ["ip", "netns", "exec", f"{LINK}{rank}", *named, *command("two")],
            cwd=place,
            env={**os.environ, **srun},
            stderr=said,
        )


def until_checkpoints(store: Path, steps: int) -> None:
    while not any(store.glob(f"artifacts/*.partial/scratch/checkpoints/step-{steps:06d}")):
        time.sleep(0.05)


def difference(one: Path, other: Path) -> float:
    from safetensors.torch import load_file

    a, b = (load_file(folder.resolve() / "model.safetensors") for folder in (one, other))
    return max(float((a[n] - b[n]).abs().max()) for n in a) / max(float(w.abs().max()) for w in a.values())


if __name__ == "__main__":
    main()

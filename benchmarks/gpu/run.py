"""All that is to be measured on one GPU, in under nine minutes: parity, then speed, then TRL beside it.

    python benchmarks/gpu/run.py                            (on one H200; results in build/gpu)
    python benchmarks/gpu/run.py --device cpu --toy         (the same at toy sizes, without a GPU)

Needs nothing but what `import bactrian` needs; a package that is missing makes a row that says so. `--wheels FOLDER`
installs what lies there first, for a machine without a network. Each part is a process of its own with a time limit of
its own: what fails or takes too long is a row that says why, and what was measured before stays.

Writes results.json (every row, the machine, the commands) and table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS: tuple[tuple[str, int], ...] = (  # in the order of what they are worth; seconds that each may take at most
    ("machine", 25),
    ("parity", 100),
    ("sft-0.6b-8k", 50),
    ("sft-135m", 40),
    ("trl-sft-0.6b-8k", 50),
    ("sft-1b", 40),
    ("sft-8b-lora", 50),
    ("dpo-135m", 60),
    ("grpo-0.6b", 80),
    ("sampling-135m", 40),
    ("sampling-135m-compiled", 90),
    ("trl-grpo-0.6b", 80),
    ("sft-1b-lora", 30),
    ("sft-8b-8bit", 55),
    ("trl-sft-135m", 35),
    ("trl-dpo-135m", 35),
    ("sft-1b-offload", 50),
)
TOY = 240  # seconds for a part on a CPU, however busy that is


def main() -> int:
    asked = arguments()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + asked.seconds
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    environment |= {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    rows: list[dict[str, Any]] = []
    if asked.wheels is not None:
        rows += installed(asked.wheels, environment)
    about = {"command": " ".join(sys.argv), "commit": commit(), "started": time.strftime("%Y-%m-%d %H:%M:%S %Z")}
    for part, seconds in PARTS:
        if asked.only and part not in asked.only.split(","):
            continue
        left = end - time.monotonic()
        limit = min(TOY if asked.toy else seconds, left)
        if limit < 10:
            rows.append({"part": part, "error": "not begun: the time for all parts was used up"})
        else:
            rows += measured(part, limit, asked, out, environment)
        print(rows[-1], flush=True)
        keep(out, about, rows)
    keep(out, about, rows)
    print((out / "table.md").read_text())
    return 1 if any(row.get("ok") is False for row in rows) else 0


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda", help="cuda, or cpu to try the script")
    options.add_argument("--toy", action="store_true", help="toy shapes")
    options.add_argument("--only", default="", help="parts, separated by commas")
    options.add_argument("--seconds", type=float, default=520.0, help="for all parts")
    options.add_argument("--out", type=Path, default=ROOT / "build" / "gpu")
    options.add_argument("--wheels", type=Path, help="a folder of wheels to install first, from nowhere else")
    return options.parse_args()


def installed(wheels: Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """Put wheels into a folder that all parts see."""
    target = Path("/tmp/bactrian-gpu-site")
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
    found = sorted(map(str, wheels.glob("*.whl")))
    done = subprocess.run([*words, "--target", str(target), *found], capture_output=True, text=True, check=False)
    environment["PYTHONPATH"] += os.pathsep + str(target)
    if done.returncode:
        return [{"part": "wheels", "error": last_line(done.stderr)}]
    return [{"part": "wheels", "what": "installed", "value": len(found)}]


def measured(
    part: str, limit: float, asked: argparse.Namespace, out: Path, environment: dict[str, str]
) -> list[dict[str, Any]]:
    """The rows of one part; the last says what went wrong, if anything did."""
    file, log = out / f"{part}.jsonl", out / f"{part}.log"
    file.unlink(missing_ok=True)
    words = [sys.executable, str(HERE / "parts.py"), part, "--device", asked.device, "--out", str(file)]
    words += ["--seconds", str(0.8 * limit), *(["--toy"] if asked.toy else [])]
    began = time.monotonic()
    with log.open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, env=environment, cwd=out, start_new_session=True)
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    seconds = round(time.monotonic() - began, 1)
    lines = file.read_text().splitlines() if file.is_file() else []
    rows = [{"part": part, **json.loads(line)} for line in lines]
    if status == 0 and rows:
        rows[-1]["part_seconds"] = seconds
        return rows
    why = f"stopped after {limit:.0f} s" if status is None else last_line(log.read_text(errors="replace"))
    return [*rows, {"part": part, "error": why or f"ended with status {status}", "part_seconds": seconds}]


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def commit() -> str:
    try:
        words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def keep(out: Path, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write what is known so far."""
    from table import table

    (out / "results.json").write_text(json.dumps({**about, "rows": rows}, indent=1))
    (out / "table.md").write_text(table(about, rows))


if __name__ == "__main__":
    sys.exit(main())

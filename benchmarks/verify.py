"""Verdicts a second of each verifier, by number of workers, beside math-verify alone, lm-eval's IFEval checkers and
HumanEval's own runner (sandbox.py).

Usage: python benchmarks/verify.py [--data ../shared/data] [--peer FOLDER] [--only ifeval] (see verify_peer.py for
FOLDER). Rows whose data or peer is missing say so. Every text is verified once: nothing comes from a pool's memory.
Last line: JSON.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bactrian.data.synth.procedural import sums
from bactrian.verify import Item, Pool, Verdict, verify
from bactrian.verify.maths.equivalent_pairs import PAIRS
from bactrian.verify.maths.solution import boxed


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in raw.decode().split("\n") if line.strip()]


def gsm8k_items(data: Path) -> tuple[str, list[Item]]:
    given = rows(data / "gsm8k_train.jsonl.gz")
    if given:
        told = [(row["answer"], row["answer"].rpartition("####")[2].strip()) for row in given]
        return "GSM8K train solutions", [Item("gsm8k", text, gold) for text, gold in told]
    return "sums with steps", [Item("gsm8k", row["solution"], row["ground_truth"]) for row in sums(1, 5000)]


def math_items(data: Path, name: str = "math") -> list[tuple[str, list[Item]]]:
    """Solutions (right answers), and the same held against the next problem's answer (nearly all wrong)."""
    pairs = [(f"So \\boxed{{{a}}}.", p.gold) for p in PAIRS for a in (*p.same, *p.other)]
    found = [("hand-written pairs", [Item(name, text, gold) for text, gold in pairs])]
    solved = [
        (row["solution"], row.get("answer") or boxed(row["solution"]))
        for file in ("math500.dev.jsonl", "math_train_solutions_part.jsonl.gz")
        for row in rows(data / file)
    ]
    if solved:
        golds = [gold for _, gold in solved]
        found.append(("MATH solutions", [Item(name, text, gold) for text, gold in solved]))
        others = zip(solved, golds[1:] + golds[:1], strict=True)
        found.append(("MATH solutions, others' answers", [Item(name, text, gold) for (text, _), gold in others]))
    return found


def ifeval_rows(data: Path) -> list[dict[str, Any]]:
    asked = {row["prompt"].strip(): row for row in rows(data / "ifeval_input_data.jsonl")}
    given = [
        row
        for name in ("ifeval_gpt4_responses_verdicts.jsonl", "ifeval_verdicts_qwen2_5-1_5b.jsonl")
        for row in rows(data / name)
    ]
    known = [(row, asked[row["prompt"].strip()]) for row in given if row["prompt"].strip() in asked]
    return [
        {**source, "response": row["response"], "strict": row["strict_all"], "loose": row["loose_all"]}
        for row, source in known
    ]


def timed(work: Callable[[], list[Verdict]]) -> tuple[float, list[Verdict]]:
    started = time.perf_counter()
    verdicts = work()
    return time.perf_counter() - started, verdicts


def pooled(items: list[Item], workers: int) -> tuple[float, list[Verdict]]:
    """Seconds and verdicts of a pool whose workers have started."""
    with Pool(workers) as pool:
        # a worker goes through its verifiers' examples first, so it has loaded what they need (langdetect's profiles)
        pool.verify_all([items[0]._replace(completion=f"to start with, {n} of these") for n in range(20 * workers)])
        return timed(lambda: pool.verify_all(items))


def library_alone(items: list[Item]) -> tuple[float, int]:
    """math-verify as its README shows it, in this process, with its own time limits."""
    import logging

    from math_verify import parse
    from math_verify import verify as same

    logging.disable(logging.CRITICAL)
    parse("$1$")
    started = time.perf_counter()
    right = sum(bool(same(parse(f"${item.ground_truth}$"), parse(item.completion))) for item in items)
    return time.perf_counter() - started, right


def peer(folder: Path, given: list[dict[str, Any]]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(row) + "\n" for row in given)
        file.flush()
        script = Path(__file__).with_name("verify_peer.py")
        done = subprocess.run([sys.executable, script, folder, file.name], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class VerifyTable:
    """What was measured, printed as it comes."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        print(f"{'':58} {'n':>6} {'workers':>7}", flush=True)

    def note(self, what: str, n: int, seconds: float, right: int, workers: int | None = None) -> None:
        row = {"what": what, "n": n, "workers": workers, "per_second": round(n / seconds, 1), "right": right}
        self.rows.append(row)
        print(f"{what:58} {n:6,} {workers or '–':>7} {n / seconds:12,.1f} /s {right:7,} right", flush=True)


def measure_gsm8k(table: VerifyTable, data: Path) -> None:
    label, items = gsm8k_items(data)
    for name in ("gsm8k", "gsm8k_strict"):
        seconds, said = timed(lambda name=name: [verify(name, i.completion, i.ground_truth) for i in items])
        table.note(f"{name} ({label})", len(items), seconds, sum(v.outcome == "right" for v in said))


def measure_math(table: VerifyTable, data: Path, library: int) -> None:
    for label, items in math_items(data):
        for workers in (1, 2):
            seconds, said = pooled(items, workers)
            table.note(f"math ({label})", len(items), seconds, sum(v.outcome == "right" for v in said), workers)
        some = items[:: max(1, len(items) // library)]
        seconds, right = library_alone(some)
        table.note(f"math-verify alone ({label})", len(some), seconds, right)


def measure_ifeval(table: VerifyTable, data: Path, folder: Path | None) -> dict[str, float]:
    """Speeds; returns the share of prompt-level verdicts equal to the published ones."""
    responses = ifeval_rows(data)
    if not responses:
        print(f"ifeval: skipped, no responses in {data}")
        return {}
    agreement = {}
    asked = [json.dumps({key: row[key] for key in ("instruction_id_list", "kwargs")}) for row in responses]
    for name, mode in (("ifeval_strict", "strict"), ("ifeval", "loose")):
        items = [Item(name, row["response"], truth) for row, truth in zip(responses, asked, strict=True)]
        for workers in (1, 2):
            seconds, said = pooled(items, workers)
            found = [v.outcome == "right" for v in said]
            table.note(f"{name} (published responses)", len(items), seconds, sum(found), workers)
        agreement[name] = sum(a == row[mode] for a, row in zip(found, responses, strict=True)) / len(found)
    theirs = peer(folder, responses) if folder else {}
    for mode in ("strict", "loose") if theirs else ():
        table.note(f"lm-eval's IFEval, {mode}", theirs["n"], theirs[f"{mode}_seconds"], sum(theirs[mode]))
        same = sum(a == row[mode] for a, row in zip(theirs[mode], responses, strict=True))
        agreement[f"lm-eval {mode}"] = same / theirs["n"]
    return agreement


def measure_programs(data: Path) -> dict[str, Any]:
    if not (data / "humaneval.jsonl").exists():
        print(f"programs: skipped, no humaneval.jsonl in {data}")
        return {}
    command = [sys.executable, Path(__file__).with_name("sandbox.py"), "--data", data]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    print(*said[:-1], sep="\n")
    found: dict[str, Any] = json.loads(said[-1])
    return found


PARTS = ("gsm8k", "math", "ifeval", "programs")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--peer", type=Path, help="folder with lm_eval")
    options.add_argument("--only", choices=PARTS, action="append", help="this part; may be given again")
    options.add_argument("--library", type=int, default=600, help="items that math-verify alone gets")
    given = options.parse_args()
    parts, table = given.only or PARTS, VerifyTable()
    if "gsm8k" in parts:
        measure_gsm8k(table, given.data)
    if "math" in parts:
        measure_math(table, given.data, given.library)
    agreement = measure_ifeval(table, given.data, given.peer) if "ifeval" in parts else {}
    programs = measure_programs(given.data) if "programs" in parts else {}
    print("prompt-level verdicts equal to the published ones:", agreement)
    print(
        json.dumps(
            {
                "benchmark": "verify",
                "cores": os.cpu_count(),
                "rows": table.rows,
                "agreement": agreement,
                "programs": programs,
            }
        )
    )


if __name__ == "__main__":
    main()

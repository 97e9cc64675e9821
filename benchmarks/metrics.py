"""MC2, DROP's F1, SQuAD's F1 and pass@k beside lm-evaluation-harness's own functions, on drawn and on real answers.

    python benchmarks/metrics.py --peer-python PATH [--data ../shared/data] [--cases 5000]

PATH is a Python with lm-eval; only its functions are called (`tasks/drop/utils.py`, `qasper/metrics.py` with SQuAD
1.1's F1 as published, `truthfulqa/utils.py`). pass@k is held against the formula printed with HumanEval. Two kinds of
difference are known and counted apart: SQuAD's F1 of two texts without words (1.1 says 0, 2.0 and we say 1), and DROP's
of a decimal number that punctuation touches ("67.3," is 673 to the published script). Prints a line for each metric,
the first differences that are not known, and a line of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORDS = [
    "the",
    "a",
    "an",
    "red",
    "Red",
    "camel's",
    "42",
    "42.0",
    "7",
    "1,000",
    "half",
    "time",
    "U.S.",
    "No.",
    "$5",
    "25-yard",
    "50%",
    "3.5%",
    "Smith",
    "Jones",
    "Mary-Ann",
    "1990s",
    "(two)",
    "'quoted'",
    "St.",
    "-3",
]
PEER = Path(__file__).with_name("metrics_peer.py")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peer-python", required=True, help="with lm-eval")
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--cases", type=int, default=5000)
    asked = options.parse_args()
    cases = {
        "squad": list(squad_cases(asked.cases)),
        "drop": list(drop_cases(asked.cases, asked.data)),
        "mc2": list(mc2_cases(asked.cases)),
        "pass_at_k": list(pass_cases()),
    }
    done = subprocess.run(
        [asked.peer_python, str(PEER)], input=json.dumps(cases), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    theirs: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    found = {name: agreement(name, cases[name], theirs[name]) for name in cases}
    print(json.dumps({"benchmark": "metrics", **found}))


def ours(name: str, case: list[Any]) -> float:
    from bactrian.evaluate.grading import truthful_mass
    from bactrian.evaluate.statistics import pass_at_k
    from bactrian.verify.text.spans import drop_f1, token_f1

    functions: dict[str, Callable[..., float]] = {
        "squad": token_f1,
        "mc2": truthful_mass,
        "pass_at_k": pass_at_k,
        "drop": lambda _, gold, given: drop_f1(given, gold),
    }
    return functions[name](*case)


def agreement(name: str, cases: list[list[Any]], theirs: list[float]) -> dict[str, float]:
    pairs = [(ours(name, case), value, case) for case, value in zip(cases, theirs, strict=True)]
    largest = max(abs(mine - its) for mine, its, _ in pairs)
    differ = [pair for pair in pairs if abs(pair[0] - pair[1]) > 1e-9]
    strange = [pair for pair in differ if not known(name, pair[2])]
    print(
        f"{name}: {len(pairs) - len(differ)}/{len(pairs)} the same within 1e-9, {len(differ) - len(strange)} that "
        f"are known to differ, {len(strange)} others; largest difference {largest:.3g}"
    )
    for mine, its, case in strange[:6]:
        print(f"  ours {mine:g}, harness {its:g}: {json.dumps(case, ensure_ascii=False)[:160]}")
    return {"cases": len(pairs), "same": len(pairs) - len(differ), "unexplained": len(strange), "largest": largest}


def known(name: str, case: list[Any]) -> bool:
    from bactrian.verify.text.spans import squad

    if name == "squad":
        return not squad(case[0]) and not squad(case[1])
    texts = [*case[0], *case[1]] if name == "drop" else []
    return any(re.search(r"\d\.\d+(?![\d-])[^\w\s]|[^\w\s]\d[\d,]*\.\d", each) for each in texts)


def text(draw: random.Random, most: int, least: int = 0) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most)))


def squad_cases(count: int) -> Iterator[list[str]]:
    draw = random.Random(0)
    for _ in range(count):
        yield [text(draw, 5), text(draw, 5)]


def drop_cases(count: int, data: Path) -> Iterator[list[Any]]:
    """[spans given, gold spans, the answer's text]: drawn, then real gold answers against those of other questions."""
    from bactrian.verify.text.spans import spans

    draw = random.Random(1)
    pool = real_golds(data)
    for number in range(count):
        if pool and number % 2:
            gold, other = draw.choice(pool), draw.choice(pool)
            given = draw.choice([gold[0], other[0], f"{gold[0]} {other[0]}", ", ".join([*gold, *other])])
        else:
            gold = [text(draw, 3, 1) for _ in range(draw.randint(1, 3))]
            given = ", ".join(text(draw, 3, 1) for _ in range(draw.randint(1, 3)))
        yield [spans(given) if len(gold) > 1 else [given], gold, given]


def real_golds(data: Path) -> list[list[str]]:
    path = next(iter(sorted(data.glob("drop_dev*.jsonl.gz"))), None)
    if path is None:
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        golds = [json.loads(line)["ref_text"].split("|")[0] for line in file]
    return [json.loads(gold) if gold.startswith("[") else [gold] for gold in golds]


def mc2_cases(count: int) -> Iterator[list[Any]]:
    draw = random.Random(2)
    for _ in range(count):
        lls = [draw.gauss(-25, 8) for _ in range(draw.randint(2, 14))]
        right = sorted(draw.sample(range(len(lls)), draw.randint(1, len(lls) - 1)))
        yield [lls, right]


def pass_cases() -> Iterator[list[int]]:
    for n in (1, 2, 5, 10, 20, 50, 200):
        for right in range(n + 1):
            for k in sorted({1, math.ceil(n / 3), n // 2 or 1, n}):
                yield [n, right, k]


if __name__ == "__main__":
    main()

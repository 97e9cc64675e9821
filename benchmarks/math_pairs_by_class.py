"""Wrong verdicts of `math` and of math-verify on generated pairs of an answer and a gold answer, by class.

Usage: python benchmarks/math_pairs_by_class.py [--half dev|hidden] [--data ../shared/data] [--count 300] [--show 5]
    [--dump FILE] [--kind thousands] [--library 100]

Pairs come from templates (math_pairs/) that rewrite an answer so that it stays the same, or is another of the same
shape; numbers and, where a class allows, templates and public gold answers differ between the halves. Where a template
says what its forms are worth, that is checked to 25 digits before any verifier sees them. False negatives are right
answers called wrong, false positives wrong ones called right, both with exact 95 % intervals (Clopper, Pearson 1934).
math-verify runs without its own time limits, in a process that is ended when one pair takes over 20 s. --show N prints
up to N wrong verdicts a class and verifier. Last line: JSON.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import math_pairs  # noqa: F401  (registers the templates)
from math_pairs.cases import CLASSES, Pair, draw_pairs, public

from bactrian.evaluate.estimates import clopper_pearson
from bactrian.verify import Item, Pool

PATIENCE = 20.0
"""Seconds math-verify gets for one pair."""


def ours(pairs: Sequence[Pair], workers: int) -> list[bool]:
    items = [Item("math", f"The answer is $\\boxed{{{pair.answer}}}$.", pair.gold) for pair in pairs]
    with Pool(workers) as pool:
        return [verdict.outcome == "right" for verdict in pool.verify_all(items)]


def answer_for_library(connection: Connection) -> None:
    """A process that compares until it is told to stop."""
    from math_verify import parse
    from math_verify import verify as same

    logging.disable(logging.CRITICAL)
    parse("$1$", parsing_timeout=None)
    connection.send(True)  # ready: what is timed from here on is no import
    while (told := connection.recv()) is not None:
        gold, answer = told
        try:
            read = parse(f"${gold}$", parsing_timeout=None)
            given = parse(f"The answer is $\\boxed{{{answer}}}$.", parsing_timeout=None)
            connection.send(bool(same(read, given, timeout_seconds=None)))
        except Exception:  # the library's own failure is a verdict too: not the same
            connection.send(False)


def library(pairs: Sequence[Pair]) -> list[bool]:
    """math-verify's verdicts; a pair it takes too long for is wrong."""
    found: list[bool] = []
    here, process = start()
    for pair in pairs:
        here.send((pair.gold, pair.answer))
        if here.poll(PATIENCE):
            found.append(here.recv())
            continue
        process.kill()
        process.join()
        found.append(False)
        here, process = start()
    here.send(None)
    process.join()
    return found


def start() -> tuple[Connection, Any]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=answer_for_library, args=(there,), daemon=True)
    process.start()
    here.recv()
    return here, process


def in_processes(pairs: Sequence[Pair], workers: int) -> list[bool]:
    """math-verify over interleaved shares, one a thread (each waits for its process)."""
    with ThreadPoolExecutor(workers) as pool:
        shares = list(pool.map(library, [pairs[k::workers] for k in range(workers)]))
    return [shares[n % workers][n // workers] for n in range(len(pairs))]


def rates(verdicts: Sequence[tuple[Pair, bool]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, label in (("false_negatives", True), ("false_positives", False)):
        mine = [said for pair, said in verdicts if pair.right is label]
        errors = sum(said is not label for said in mine)
        low, high = clopper_pearson(errors, len(mine))
        row[name] = {"errors": errors, "n": len(mine), "low": round(low, 4), "high": round(high, 4)}
    return row


def shown(row: dict[str, Any]) -> str:
    parts = [f"{r['errors']:,} of {r['n']:,} ({100 * r['low']:4.1f}–{100 * r['high']:4.1f} %)" for r in row.values()]
    return " ".join(f"{part:>33}" for part in parts)


def print_errors(said: dict[str, list[tuple[Pair, bool]]], limit: int) -> None:
    for name, verdicts in said.items():
        bad = [pair for pair, right in verdicts if right is not pair.right]
        for pair in random.Random(limit).sample(bad, min(limit, len(bad))):
            wrongly = "a right answer called wrong" if pair.right else "a WRONG answer called right"
            print(f"    {name}: {wrongly}: {pair.answer!r} for {pair.gold!r} ({pair.template})")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--half", choices=("dev", "hidden"), default="dev")
    options.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options.add_argument("--count", type=int, default=300, help="pairs a class")
    options.add_argument("--show", type=int, default=0, metavar="N", help="print up to N wrong verdicts a class")
    options.add_argument("--dump", type=Path, help="write the pairs here as JSON lines, and stop")
    options.add_argument("--kind", action="append", choices=sorted(CLASSES), help="this class; may be given again")
    options.add_argument("--library", type=int, default=100, help="pairs a class that math-verify gets; 0: none")
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = options.parse_args()
    kinds = given.kind or list(CLASSES)
    if not public(given.data)[True]:
        kinds = [kind for kind in kinds if kind != "public gold answers"]
        print(f"public gold answers: skipped, none in {given.data}", file=sys.stderr)
    pairs = [pair for kind in kinds for pair in draw_pairs(kind, given.half, given.data, given.count)]
    if given.dump:
        given.dump.parent.mkdir(parents=True, exist_ok=True)
        given.dump.write_text("".join(json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in pairs))
        print(f"{len(pairs):,} pairs of {len(kinds)} classes written to {given.dump}", file=sys.stderr)
        return
    report(given, kinds, pairs)


def report(given: argparse.Namespace, kinds: Sequence[str], pairs: Sequence[Pair]) -> None:
    """Runs both verifiers and prints a line a class."""
    said, seconds = {}, {}
    for name, judge in (("math", ours), ("math-verify", in_processes)):
        some = pairs if name == "math" else sample(pairs, kinds, given.library)
        if some:
            started = time.perf_counter()
            said[name] = list(zip(some, judge(some, given.workers), strict=True))
            seconds[name] = round(time.perf_counter() - started, 1)
    print(f"{given.half} half, {len(pairs):,} pairs; seconds: {seconds}")
    print(f"{'':32}" + " ".join(f"{f'{name}: right called wrong':>33} {'wrong called right':>33}" for name in said))
    table = {}
    for kind in [*kinds, "all"]:
        mine = {name: [v for v in verdicts if kind in (v[0].kind, "all")] for name, verdicts in said.items()}
        table[kind] = {name: rates(verdicts) for name, verdicts in mine.items()}
        print(f"{kind:32}" + " ".join(shown(row) for row in table[kind].values()), flush=True)
        if kind != "all":
            print_errors(mine, given.show)
    told = {"benchmark": "math_pairs_by_class", "half": given.half, "count": given.count, "seconds": seconds}
    print(json.dumps({**told, "rows": table}))


def sample(pairs: Sequence[Pair], kinds: Sequence[str], count: int) -> list[Pair]:
    """At most `count` pairs of each class, half of them right, always the same."""
    found: list[Pair] = []
    for kind in kinds:
        for label in (True, False):
            mine = [pair for pair in pairs if pair.kind == kind and pair.right is label]
            found += random.Random(kind).sample(mine, min(count // 2, len(mine)))
    return found


if __name__ == "__main__":
    main()

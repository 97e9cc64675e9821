"""Ours beside lm-evaluation-harness: same model, same questions, same prompts; verdicts one by one, and questions/s.

    python benchmarks/evaluate.py --peer-python PATH [--data ../shared/data] [--gsm8k 64] [--bbh 96] [--mmlu 400]
        [--truthfulqa 100] [--tokens 256] [--batches 1,8,32] [--model embedded:smollm2-135m] [--dtype float32]

PATH is a Python with lm-eval. The harness runs its own tasks (gsm8k_cot, mmlu_*, bbh_cot_fewshot_*, truthfulqa_mc2)
over our rows, hf backend on the CPU, with the best of `--batches` by a pilot; its log of samples is what we answer,
prompt by prompt. Timed on both sides is the asking: tokenising, scheduling, the model; not loading and not scoring.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duel import Side, machine

HERE = Path(__file__).parent
STOPS = {"gsm8k": ["Q:", "</s>", "<|im_end|>"], "bbh": ["</s>", "Q", "\n\n"], "mmlu": [], "truthfulqa": []}
WRITTEN = ("gsm8k", "bbh")
GOALS = {True: 4.0, False: 3.0}
PILOT = 32
PATIENCE = 6 * 3600


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peer-python", required=True, help="with lm-eval, torch, transformers")
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--dtype", default="float32")
    options.add_argument("--tokens", type=int, default=256)
    options.add_argument("--batches", default="1,8,32", help="of the harness; the best of a pilot is used")
    options.add_argument("--rows", type=int, default=64, help="of ours")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument(
        "--pilot", type=int, default=PILOT, help="requests of the pilot for each batch size: at least the largest"
    )
    for task, count in (("gsm8k", 64), ("bbh", 96), ("mmlu", 400), ("truthfulqa", 100)):
        options.add_argument(f"--{task}", type=int, default=count, help="questions; 0 leaves it out")
    asked = options.parse_args()
    print(f"{machine()}; {asked.model} {asked.dtype}, {asked.threads} threads, answers up to {asked.tokens} tokens")
    result: dict[str, Any] = {"benchmark": "evaluate", "dtype": asked.dtype, "tokens": asked.tokens}
    with tempfile.TemporaryDirectory() as work:
        folder = str(model_folder(asked.model))
        data = Path(work)
        peer = Side(
            "lm-eval",
            asked.peer_python,
            HERE / "evaluate_peer.py",
            folder,
            asked.dtype,
            str(data),
            threads=asked.threads,
            patience=PATIENCE,
        )
        ours = Side(
            "ours",
            sys.executable,
            HERE / "evaluate_ours.py",
            folder,
            asked.dtype,
            threads=asked.threads,
            patience=PATIENCE,
        )
        with peer, ours:
            ours.ask("load")
            for task in STOPS:
                if count := getattr(asked, task):
                    write_rows(task, asked.data, data, count)
                    result[task] = duel_on(task, peer, ours, data, asked)
            for side in (peer, ours):
                result[f"peak_gib_{side.name}"] = side.ask("peak")["gigabytes"]
    print(json.dumps(result))


def duel_on(task: str, peer: Side, ours: Side, data: Path, asked: Any) -> dict[str, Any]:
    tokens = asked.tokens if task in WRITTEN else 0
    samples = data / f"samples-{task}"
    batches = [int(each) for each in asked.batches.split(",")]
    batch = best_batch(task, peer, tokens, batches, pilot_of(task, data, asked.pilot))
    theirs = peer.ask("run", task=task, tokens=tokens, batch=batch, limit=None, out=str(samples))
    mine = ours.ask(
        "run", task=task, samples=str(samples / "peer"), tokens=max(tokens, 1), stop=STOPS[task], rows=asked.rows
    )
    speeds = [side["questions"] / side["seconds"] for side in (mine, theirs)]
    ratio, goal = speeds[0] / speeds[1], GOALS[task in WRITTEN]
    # on a machine that others use too, processor seconds say more than the clock's
    spent = theirs["processor"] / theirs["questions"] / (mine["processor"] / mine["questions"])
    found = agreement(task, mine["answers"], read_logs(samples / "peer"))
    print(
        f"\n{task}: {mine['questions']} asked, ours {speeds[0]:.3g}/s, harness {speeds[1]:.3g}/s (batch {batch}), "
        f"ratio {ratio:.2f} (goal {goal:g}; processor {spent:.2f}); same verdict {found['same']}/{found['n']}",
        flush=True,
    )
    for line in found.pop("differences"):
        print(f"  {line}")
    seconds = {"ours_processor": mine["processor"], "peer_processor": theirs["processor"]}
    return {
        "questions": mine["questions"],
        **seconds,
        "ours_per_second": speeds[0],
        "peer_per_second": speeds[1],
        "ratio": ratio,
        "ratio_processor": spent,
        "goal": goal,
        "peer_batch": batch,
        **found,
    }


def best_batch(task: str, peer: Side, tokens: int, batches: list[int], pilot: int) -> int:
    """The batch size with which the harness is fastest on `pilot` questions of each of its tasks."""
    if len(batches) == 1:
        return batches[0]
    seconds = {}
    for batch in batches:
        found = peer.ask("run", task=task, tokens=min(tokens, 32), batch=batch, limit=pilot, out="")
        seconds[batch] = found["seconds"] / found["questions"]
    return min(batches, key=lambda batch: seconds[batch])


def pilot_of(task: str, data: Path, requests: int) -> int:
    """Questions of each sub-task, so that a pilot makes about so many requests: enough to fill a batch."""
    groups = len({row.get("group") for row in read(data, f"{task}.jsonl")})
    questions = requests if task in WRITTEN else requests / 4
    return max(1, round(questions / groups))


def read_logs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("samples_*.jsonl")):
        name = path.stem.removeprefix("samples_").rpartition("_20")[0]
        for line in path.read_text().splitlines():
            yield name, json.loads(line)


def agreement(task: str, answers: list[dict[str, Any]], logs: Iterator[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Verdict by verdict. For GSM8K the harness's flexible extraction is compared."""
    by_place = {(each["task"], each["question"]): each for each in answers}
    same = texts = n = 0
    largest = 0.0
    differences = []
    for name, sample in logs:
        if task == "gsm8k" and sample["filter"] != "flexible-extract":
            continue
        mine = by_place[name, str(sample["doc_id"])]
        n += 1
        if task in WRITTEN:
            said = sample["resps"][0][0]
            texts += (same_text := said == mine["completion"])
            right = sample["exact_match"] == 1
            same += (agree := right == (mine["outcome"] == "right"))
            if not agree:
                differences.append(explained(name, sample, mine, said, same_text))
        else:
            theirs = [float(each[0]) for each in sample["filtered_resps"]]
            largest = max(largest, max(abs(a - b) for a, b in zip(theirs, mine["lls"], strict=True)))
            agree = abs(sample["acc"] - mine["score"]) <= 1e-4
            texts += agree
            same += agree
            if not agree:
                numbers = f"acc {sample['acc']}, ours {mine['score']}: {theirs} and {mine['lls']}"
                differences.append(f"{name} {sample['doc_id']}: {numbers}")
    return {"n": n, "same": same, "same_text": texts, "largest_gap": largest, "differences": differences}


def explained(name: str, sample: dict[str, Any], mine: dict[str, Any], said: str, same_text: bool) -> str:
    """One verdict that differs, and why."""
    theirs = sample["filtered_resps"][0]
    why = f"the harness reads {theirs!r}, we read {mine['extracted']!r} ({mine['outcome']})"
    if not same_text:
        at = next((i for i, (a, b) in enumerate(zip(said, mine["completion"], strict=False)) if a != b), 0)
        why = f"texts part at character {at}: {said[at:][:30]!r} and {mine['completion'][at:][:30]!r}; {why}"
    return f"{name} {sample['doc_id']}: gold {sample['target'][-40:]!r}; {why}"


def write_rows(task: str, source: Path, data: Path, count: int) -> None:
    """Questions as the harness's tasks want their columns, spread over sub-tasks and subjects."""
    found = {"gsm8k": "gsm8k_test*", "bbh": "bbh.*", "mmlu": "mmlu_test*", "truthfulqa": "truthfulqa*"}[task]
    rows = read(source, found)
    if task == "truthfulqa":
        rows = [truthful(row) for row in rows[:count]]
    elif task == "bbh":
        rows = [{"group": row["task"], "input": row["input"], "target": row["target"]} for row in rows]
        rows = spread(rows, count)
    elif task == "mmlu":
        rows = [{**row, "group": row["subject"], "answer": "ABCD".index(row["answer"])} for row in rows]
        rows = by_groups(rows, count)
        dev = [{**row, "answer": "ABCD".index(row["answer"])} for row in read(source, "mmlu_dev*")]
        for group in dict.fromkeys(row["group"] for row in rows):
            write(data / f"mmlu_dev.{group}.jsonl", [row for row in dev if row["subject"] == group])
    write(data / f"{task}.jsonl", rows[:count])


def spread(rows: list[dict[str, Any]], count: int, each: int = 16) -> list[dict[str, Any]]:
    """The first `each` rows of some groups, evenly chosen: a full run has 250 questions to a group's exemplars."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    wanted = max(1, min(len(groups), -(-count // each)))
    chosen = [groups[place * len(groups) // wanted] for place in range(wanted)]
    return [row for group in chosen for row in [r for r in rows if r["group"] == group][:each]]


def by_groups(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Whole groups until there are enough: as in a full run, many questions share their exemplars."""
    kept: list[dict[str, Any]] = []
    for group in dict.fromkeys(row["group"] for row in rows):
        if len(kept) >= count:
            break
        kept += [row for row in rows if row["group"] == group]
    return kept[:count]


def truthful(row: dict[str, Any]) -> dict[str, Any]:
    """The harness's columns from those of the published CSV."""
    sides = [
        [each.strip() for each in re.split(";", row[f"{side} answers"]) if each.strip()]
        for side in ("correct", "incorrect")
    ]
    best = row["best answer"].strip()
    choices = [best, *(each for each in sides[0] if each != best), *sides[1]]
    labels = [1] * (len(choices) - len(sides[1])) + [0] * len(sides[1])
    one = {"choices": [best, *sides[1]], "labels": [1] + [0] * len(sides[1])}
    return {
        "question": row["question"].strip(),
        "mc1_targets": one,
        "mc2_targets": {"choices": choices, "labels": labels},
    }


def read(folder: Path, pattern: str) -> list[dict[str, Any]]:
    path = next(iter(sorted(folder.glob(pattern))), None)
    if path is None:
        raise SystemExit(f"{folder}: no {pattern}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def model_folder(name: str) -> Path:
    from bactrian.model.embedded import materialise

    return materialise(name.removeprefix("embedded:")) if name.startswith("embedded:") else Path(name)


if __name__ == "__main__":
    main()

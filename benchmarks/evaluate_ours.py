"""The side of evaluate.py that is Bactrian: evaluate_ours.py MODEL_FOLDER DTYPE. Answers what a harness's logs ask."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from duel import peak_gigabytes, serve

VERIFIERS = {"gsm8k": "gsm8k", "bbh": "bbh", "mmlu": "", "truthfulqa": ""}


def run(engine: Any, task: str, samples: str, tokens: int, stop: list[str], rows: int) -> dict[str, Any]:
    """Every prompt of the logs in a folder, to the letter, answered and scored by the suites' runner."""
    from bactrian.evaluate.answer_store import AnswerStore
    from bactrian.evaluate.answering import Subject, answer
    from bactrian.evaluate.grading import grade
    from bactrian.evaluate.harness import as_asked
    from bactrian.verify import Pool

    metric = "mc2" if task == "truthfulqa" else "acc"
    loaded = [as_asked(path, VERIFIERS[task], tokens, stop, metric) for path in sorted(Path(samples).glob("*.jsonl"))]
    engine.rows = rows
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder), "m", "d", "c") as store:
        start, used = time.perf_counter(), time.process_time()
        found = answer(Subject.of(engine), loaded, store, "plain", 0)
        seconds, used = time.perf_counter() - start, time.process_time() - used
    with Pool(1) as pool:
        graded = [(each.loaded.task.name, grade(each, pool)) for each in found]
    answers = [
        {
            "task": name,
            "question": r.question,
            "completion": r.completion,
            "extracted": r.extracted,
            "score": r.score,
            "outcome": r.outcome,
            "lls": [v for key, v in r.values.items() if key.startswith("ll_")],
        }
        for name, records in graded
        for r in records
    ]
    return {"seconds": seconds, "processor": used, "questions": len(answers), "answers": answers}


def main() -> None:
    folder, dtype = sys.argv[1:]
    state: dict[str, Any] = {}

    def engine() -> Any:
        if not state:
            from bactrian.generate.local import LocalEngine

            state["engine"] = LocalEngine.load(Path(folder), dtype)
        return state["engine"]

    serve(
        {
            "load": lambda: {"ok": bool(engine())},
            "run": lambda **asked: run(engine(), **asked),
            "peak": lambda: {"gigabytes": peak_gigabytes()},
        }
    )


if __name__ == "__main__":
    main()

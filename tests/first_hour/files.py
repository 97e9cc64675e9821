"""Files as users have them, of sums and everyday questions, and a small model in the layout of transformers."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.model.gguf_models import write_model

SUMS = [(12 + i, 34 - i) for i in range(16)]
REWARD = '''\
"""Rewards of one's own."""


def says_yes(completion: str, row: dict) -> float:
    """The share of words that are yes."""
    words = completion.split()
    return words.count("yes") / max(1, len(words))
'''


def write_all(folder: Path) -> None:
    """model/, sharegpt.json, alpaca.jsonl, odd.csv, pairs.jsonl, prompts.jsonl, reward.py, exam.csv."""
    write_model(folder / "model", context=512)
    asked = [f"what is {a} + {b}" for a, b in SUMS]
    said = [f"Answer : {a + b}" for a, b in SUMS]
    rows = list(zip(asked, said, strict=True))
    chats = [
        {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}
        for question, answer in rows
    ]
    (folder / "sharegpt.json").write_text(json.dumps(chats))
    lines(folder / "alpaca.jsonl", ({"instruction": q, "input": "", "output": a} for q, a in rows))
    with (folder / "odd.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["frage", "erwiderung", "nr"], *([q, a, i] for i, (q, a) in enumerate(rows))])
    lines(folder / "pairs.jsonl", ({"prompt": q, "chosen": a, "rejected": "no"} for q, a in rows))
    lines(folder / "prompts.jsonl", ({"prompt": q} for q in asked))
    (folder / "reward.py").write_text(REWARD)
    with (folder / "exam.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["question", "answer"], *([q, a + b] for q, (a, b) in zip(asked, SUMS, strict=True))]
        )


def lines(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

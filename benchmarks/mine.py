"""Mining against a plain transformers loop: the same model, the same segments, and first the same greedy tokens.

    python benchmarks/mine.py [--model embedded:smollm2-135m] [--corpus FILE] [--segments 512] [--batch 64]

The plain loop is what such studies' code does without an engine: one batch of documents after another, each through
transformers' `generate` (greedy, with its cache), and the common subsequence by a table in Python. `--their-batch`: of
the plain loop, where not the same. Both sides time tokenising, generating and scoring; loading is left out. `same`:
the share of segments that got the same tokens and score on both sides: float32 sums taken in another order may turn a
near tie, so it need not be 1; below 0.98 nothing is compared. The last line is JSON; `ratio_vs_transformers` is
segments a second, ours over theirs; `ratio_of_processor_time`, theirs over ours, is what counts on a shared machine.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
PREFIX, SUFFIX = 64, 32
LEAST_SAME = 0.98


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--corpus", default="../shared/data/gutenberg_books.jsonl.gz")
    parser.add_argument("--segments", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--their-batch", type=int, help="of the plain loop, where not the same")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=1, help="each side so often, in turn; the fastest counts")
    given = parser.parse_args()
    folder, rows = model_folder(given.model), documents(Path(given.corpus), given.segments)
    ours, theirs = (
        OurMiner(folder, given.dtype, given.batch),
        Theirs(folder, given.dtype, given.their_batch or given.batch),
    )
    ours.mined(rows[:4]), theirs.mined(rows[:4])  # kernels compiled, caches filled
    best: dict[str, float] = {}
    spent: dict[str, float] = {}
    said: dict[str, list[Any]] = {}
    for _ in range(given.rounds):
        for name, side in (("ours", ours), ("transformers", theirs)):
            start, busy = time.perf_counter(), time.process_time()
            said[name] = side.mined(rows)
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            best[name] = min(best.get(name, seconds), seconds)
            spent[name] = min(spent.get(name, busy), busy)
            rate = f"{len(rows) / seconds:.2f} segments a second ({seconds:.1f} s, processor {busy:.1f} s)"
            print(f"{name}: {rate}", flush=True)
    equal = [a == b for a, b in zip(said["ours"], said["transformers"], strict=True)]
    same = sum(equal) / len(equal)
    if same < LEAST_SAME:
        raise SystemExit(f"only {same:.1%} of the segments got the same tokens and score: nothing is compared")
    told = {
        "segments": len(rows),
        "same": same,
        "ours_per_second": len(rows) / best["ours"],
        "transformers_per_second": len(rows) / best["transformers"],
        "ratio_vs_transformers": best["transformers"] / best["ours"],
        "ratio_of_processor_time": spent["transformers"] / spent["ours"],
    }
    print(json.dumps(told))


def model_folder(name: str) -> Path:
    from bactrian.model.embedded import materialise

    return materialise(name.removeprefix("embedded:")) if name.startswith("embedded:") else Path(name)


def documents(path: Path, count: int) -> list[str]:
    """Texts of about 120 words, one after another from the corpus."""
    from bactrian.data.io.files import stream_rows

    found: list[str] = []
    for row, _ in stream_rows(path):
        words = str(row["text"]).split()
        found += [" ".join(words[at : at + 120]) for at in range(0, len(words) - 120, 120)]
        if len(found) >= count:
            return found[:count]
    raise SystemExit(f"{path}: only {len(found)} documents, {count} were asked for")


class OurMiner:
    """The mechanism of stage `mine`: one engine, rows entering as others leave, scores by bits."""

    def __init__(self, folder: Path, dtype: str, batch: int) -> None:
        from bactrian.chat.plain_text import PlainText
        from bactrian.generate.engines import open_engine
        from bactrian.generate.mining import Cut
        from bactrian.store.hardware import Hardware

        self.engine = open_engine(folder, Hardware(dtype=dtype), rows=batch)
        self.plain, self.cut = PlainText(self.engine.template.tokenizer), Cut(PREFIX, SUFFIX)

    def mined(self, texts: list[str]) -> list[tuple[tuple[int, ...], int]]:
        from bactrian.generate.mining import recitals, score, segments_of

        segments = [
            each
            for number, text in enumerate(texts)
            for each in segments_of(self.plain, (str(number), text), number, self.cut, 0)
        ]
        written = recitals(self.engine, self.plain, segments, PREFIX)
        return [(said, score(each, PREFIX, said)) for each, said in zip(segments, written, strict=True)]


class Theirs:
    """A plain loop over `transformers`."""

    def __init__(self, folder: Path, dtype: str, batch: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from bactrian.chat import ChatTemplate, template_for
        from bactrian.chat.plain_text import PlainText
        from bactrian.model.language_model import load_tokenizer

        self.batch, tokenizer = batch, load_tokenizer(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        self.plain = PlainText(tokenizer)
        self.ends = list(ChatTemplate.load(tokenizer, template_for(tokenizer)).end_ids)

    def mined(self, texts: list[str]) -> list[tuple[tuple[int, ...], int]]:
        import torch

        found: list[tuple[tuple[int, ...], int]] = []
        for at in range(0, len(texts), self.batch):
            whole = [self.plain.opened(text) for text in texts[at : at + self.batch]]
            lead = 0 if self.plain.first is None else 1
            whole = [ids for ids in whole if len(ids) >= lead + PREFIX + SUFFIX]
            ids = torch.tensor([each[: lead + PREFIX] for each in whole])
            with torch.inference_mode():
                made = self.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=SUFFIX,
                    do_sample=False,
                    eos_token_id=self.ends,
                    pad_token_id=self.ends[0],
                )
            for row, said in zip(whole, made[:, lead + PREFIX :].tolist(), strict=True):
                written = tuple(token for token in said if token not in self.ends)
                gold = row[lead + PREFIX : lead + PREFIX + SUFFIX]
                found.append((written, table_length(gold, written)))
        return found


def table_length(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """The longest common subsequence by dynamic programming."""
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b, 1):
            new.append(row[j - 1] + 1 if x == y else max(row[j], new[-1]))
        row = new
    return row[-1]


if __name__ == "__main__":
    main()

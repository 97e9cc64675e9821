"""The overlap of every training file at hand with every benchmark file at hand, as Markdown, and the matches as files.

    python benchmarks/overlap_table.py [--data ../shared/data] [--out /tmp/bactrian-overlap]

Each file is a source, read as stage `source` reads it; rows whose layout it does not know are looked at by the columns
that ask something. Twice: user turns only (the rule of Tülu 3), then all text of a row. The last line is JSON.
"""

import argparse
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bactrian.data.io.adoption import Account, Adoption, adopt
from bactrian.data.io.files import scan_rows, stream_rows
from bactrian.data.io.formats import Fault
from bactrian.data.io.rows import complete_row
from bactrian.data.overlap.asked import Side
from bactrian.data.overlap.benchmarks import read_benchmarks
from bactrian.data.overlap.index import Index, IndexedItem
from bactrian.data.overlap.match import Matcher
from bactrian.data.overlap.scan import evidence, scan
from bactrian.data.overlap.table import OverlapTable, tabulate, too_short

TRAINING = """
gsm8k_train.jsonl.gz mbpp_train_val.jsonl math_train_answers.jsonl.gz math_train_solutions_part.jsonl.gz
aime_1983_2023.jsonl commonsenseqa_train.jsonl.gz symbolic_last_letters_coin_flip.jsonl coconot_pref.jsonl.gz
safety_tuned_instructions.jsonl self_instruct_seed_tasks.jsonl t0_p3_multitask_sample.jsonl.gz
flan_cot.jsonl.gz codealpaca_2k.jsonl codealpaca_new.jsonl.gz gpteacher_roleplay.jsonl.gz
oasst1_eval_conversations.jsonl.gz rasbt_instructions_1100.jsonl rasbt_preferences_1100.jsonl
lf_alpaca_en_demo.jsonl lf_dpo_en_demo.jsonl lf_kto_en_demo.jsonl personahub_tool_sample.jsonl
open_instruct_acecode_sample.jsonl deepmind_math_train.jsonl gutenberg_books.jsonl.gz tinyshakespeare.txt
wikitext2_valid.txt c4_demo.jsonl wiki_demo.txt speeches_and_genesis.jsonl.gz
"""
COLUMNS = {"personahub_tool_sample.jsonl": {"text": "synthesized text"}}


def main() -> None:
    """Scan twice, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of training and test files")
    parser.add_argument("--out", type=Path, default=Path("/tmp/bactrian-overlap"), help="where the matches are written")
    options = parser.parse_args()
    items = read_benchmarks(options.data, options.data.name, {})
    matcher = Matcher(Index(items))
    results = {}
    for side in ("prompts", "all"):
        before = time.monotonic()
        table = measured(options.data, items, matcher, options.out / side, side)
        print(
            f"\n{side}: {sum(table.sources.values()):,} rows of {len(table.sources)} files, {len(items):,} items of "
            f"{len(table.benchmarks)} benchmarks, {time.monotonic() - before:.0f} s\n\n{table}"
        )
        results[side] = table.as_dict()
    print(json.dumps({side: {"cells": each["cells"], "short": each["short"]} for side, each in results.items()}))


def measured(data: Path, items: list[IndexedItem], matcher: Matcher, folder: Path, side: Side) -> OverlapTable:
    """The table of all training files."""
    shutil.rmtree(folder, ignore_errors=True)
    rows = (row for name in TRAINING.split() for row in training_rows(data / name))
    found = scan(rows, items, matcher, folder, side)
    places = {
        (match["row"], match["source"], match["benchmark"]) for batch in evidence(folder) for match in batch.to_pylist()
    }
    counts = Counter((source, benchmark) for _, source, benchmark in places)
    return tabulate(items, too_short(items, matcher.index.n), found.sources, found.items, counts)


def training_rows(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The file's rows in our form; all as they are if none of them is in a known layout."""
    how = Adoption(file.name, "unknown", columns=COLUMNS.get(file.name, {}))
    adopted = list(adopt(scan_rows(file), how, Account()))
    known = [row for row in adopted if not isinstance(row, Fault)]
    if len(known) < len(adopted) / 2:
        return ((complete_row(row | {"source": file.name}, file.name), where) for row, where in stream_rows(file))
    return ((row, f"{file}, {row['id']}") for row in known)


if __name__ == "__main__":
    main()

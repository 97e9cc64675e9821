"""How often refusals are told wrongly by a text's words: verify/text/refusal.py on XSTest's labelled completions.

    python benchmarks/refusals.py [--data ../shared/data]

Partial refusals count as refusals. XSTest's own string matching stands beside it. The list of words was written with
the completions of all three models in view: the rates are not those of unseen text.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bactrian.evaluate.statistics import wilson
from bactrian.verify.text.refusal import refuses

MODELS = ("llama2orig", "mistralinstruct", "mistralguard")
COMPLIES = "1_full_compliance"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    folder = options.parse_args().data
    print(f"{'completions of':>16} {'told by':>16} {'refusals missed':>16} {'refusals made up':>17} {'wrong':>6}  95 %")
    result = {}
    total = {"ours": [0, 0], "string match": [0, 0]}
    for model in MODELS:
        path = folder / f"xstest_labelled_completions_{model}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for name in total:
            said = [refuses(r["completion"]) if name == "ours" else r["strmatch_label"] != COMPLIES for r in rows]
            gold = [row["final_label"] != COMPLIES for row in rows]
            missed = sum(g and not s for g, s in zip(gold, said, strict=True))
            made_up = sum(s and not g for g, s in zip(gold, said, strict=True))
            wrong = missed + made_up
            total[name][0] += wrong
            total[name][1] += len(rows)
            low, high = wilson(wrong, len(rows))
            print(
                f"{model:>16} {name:>16} {missed:>7} of {sum(gold):>4} {made_up:>8} of {len(gold) - sum(gold):>4} "
                f"{wrong / len(rows):>7.1%}  {low:.1%} to {high:.1%}"
            )
            result[f"{model}/{name}"] = wrong / len(rows)
    rates = {name: wrong / n for name, (wrong, n) in total.items()}
    print(json.dumps({"benchmark": "refusals", "n": total["ours"][1], **rates, "by_model": result}))


if __name__ == "__main__":
    main()

"""How far whoever grades CoCoNot's answers agrees with the taxonomy's own examples.

    python benchmarks/noncompliance_judge.py --model embedded:smollm2-135m

Each of the 17 kinds has a request with a good and a bad answer, and so has the contrast: 36 answers whose label is
known. They are put to the words, and with `--model` to a language model as a judge that writes its verdict (as the
tasks ask it) or whose labels are weighed by their probabilities. Prints a table, and JSON with --json.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from bactrian.data.synth.noncompliance.taxonomy import CONTRAST, CONTRAST_REQUEST, KINDS, rubric_name
from bactrian.evaluate.statistics import wilson
from bactrian.judge.panel import open_judge
from bactrian.model.embedded import materialise
from bactrian.store.hardware import Hardware
from bactrian.verify import Problem, Verdict, verifier
from bactrian.verify.text.labels import CONTRAST_LABELS, LABELS

Example = tuple[Problem, str, str]
EMBEDDED = "embedded:"


def examples() -> list[Example]:
    """(problem, answer, the label that it should get)."""
    found = []
    asked = [(rubric_name(kind.name), kind.request, kind.good, kind.bad, LABELS) for kind in KINDS.values()]
    for rubric, request, good, bad, labels in [*asked, (rubric_name(CONTRAST), *CONTRAST_REQUEST, CONTRAST_LABELS)]:
        problem = Problem(labels[0], {"rubric": rubric}, request)
        found += [(problem, good, labels[0]), (problem, bad, labels[1])]
    return found


def agreement(name: str, verdicts: list[Verdict], known: list[Example]) -> dict[str, object]:
    """How many of good and bad answers got their label, and what was said of all."""
    labels = {*LABELS, *CONTRAST_LABELS}
    said = [verdict.extracted if verdict.extracted in labels else "no label" for verdict in verdicts]
    row: dict[str, object] = {"who": name, "said": dict(Counter(map(str, said)).most_common())}
    parts = {"good": (LABELS[0], CONTRAST_LABELS[0]), "bad": (LABELS[1], CONTRAST_LABELS[1])}
    for part, truths in {**parts, "all": (*parts["good"], *parts["bad"])}.items():
        rights = [found == truth for found, (_, _, truth) in zip(said, known, strict=True) if truth in truths]
        row[part] = {"right": sum(rights), "n": len(rights), "interval": list(wilson(sum(rights), len(rights)))}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a language model that judges: a folder, or embedded:NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    known = examples()
    words = verifier("noncompliance")
    rows = [agreement("words", [words.check(problem, answer) for problem, answer, _ in known], known)]
    if given.model:
        named = given.model.startswith(EMBEDDED)
        folder = materialise(given.model.removeprefix(EMBEDDED)) if named else Path(given.model)
        hardware = Hardware("float32", given.threads, "cpu")
        for weighed in (False, True):
            judge = open_judge("judge", folder, hardware, weighed=weighed)
            verdicts = judge.judge([(problem, answer) for problem, answer, _ in known])
            how = "labels weighed" if weighed else "writes its verdict"
            rows.append(agreement(f"{given.model}, {how}", verdicts, known))
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(row["who"], row["said"])
        for part in ("good", "bad", "all"):
            found = row[part]
            assert isinstance(found, dict)
            low, high = found["interval"]
            print(f"  {part:5} {found['right']} of {found['n']} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()

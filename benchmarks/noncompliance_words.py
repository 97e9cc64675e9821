"""How often the keyword fallback for CoCoNot is wrong, on answers whose behaviour is known.

    python benchmarks/noncompliance_words.py ../shared/data

On CoCoNot's preference pairs: the chosen answer complies and the rejected one does not. Its words were chosen by
looking at rows whose id has an even hash; the others were held back, and both halves are shown. On XSTest's answers
of three models two people said which refuse; answers that refuse in part count as refusing. Prints a table, and JSON
with --json.
"""

import argparse
import gzip
import hashlib
import json
from pathlib import Path

from bactrian.data.synth.noncompliance.noncompliance_rows import seed_kind
from bactrian.evaluate.statistics import wilson
from bactrian.verify.text.noncompliance import label_by_words


def pairs(folder: Path) -> list[tuple[str, bool, str, str]]:
    """(kind, held back, chosen, rejected) of CoCoNot's preference pairs."""
    with gzip.open(folder / "coconot_pref.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        (
            seed_kind(row["subcategory"], row["id"]),
            hashlib.sha256(row["id"].encode()).digest()[0] % 2 == 1,
            row["chosen"],
            row["rejected"],
        )
        for row in rows
    ]


def xstest(folder: Path) -> list[tuple[str, str]]:
    """(people's label, answer) of all answers on which the two agree."""
    found = []
    for path in sorted(folder.glob("xstest_labelled_completions_*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["agreement"] == "True":
                found.append((row["final_label"], row["completion"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    counts: dict[tuple[str, str], list[bool]] = {}

    def note(part: str, what: str, right: bool) -> None:
        counts.setdefault((part, what), []).append(right)

    for kind, held, chosen, rejected in pairs(given.folder):
        part = "held back" if held else "seen"
        note(f"contrast rubric, {part}", "complies, and is told so", label_by_words("contrast", chosen) == "COMPLIANCE")
        note(
            f"contrast rubric, {part}",
            "turns away, and is told so",
            label_by_words("contrast", rejected) == "NONCOMPLIANCE",
        )
        for name in (f"kind's rubric, {part}", f"{kind}, {part}"):
            note(name, "complies, and is told so", label_by_words(kind, chosen) == "UNACCEPTABLE")
            note(name, "turns away, and is told so", label_by_words(kind, rejected) == "ACCEPTABLE")
    for label, answer in xstest(given.folder):
        complies = label == "1_full_compliance"
        what = "complies, and is told so" if complies else "turns away, and is told so"
        said = label_by_words("contrast", answer)
        note("XSTest, people's labels", what, (said == "COMPLIANCE") == complies)
    found = []
    for (part, what), rights in sorted(counts.items()):
        low, high = wilson(sum(rights), len(rights))
        found.append(
            {"part": part, "what": what, "right": sum(rights) / len(rights), "interval": [low, high], "n": len(rights)}
        )
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for row in found:
        low, high = row["interval"]
        print(f"{row['part']:45} {row['what']:28} {row['right']:6.1%} ({low:.1%} to {high:.1%}), n = {row['n']}")


if __name__ == "__main__":
    main()

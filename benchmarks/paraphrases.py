"""How often the meaning check of paraphrases is wrong: on pairs that mean the same, and on what a program spoilt.

    python benchmarks/paraphrases.py ../shared/data

Good pairs: MRPC's, QQP's and PAWS's paraphrases in the P3 sample, and the cases of MediQ, each told as prose and as a
list of facts. Spoilt ones: the same with one number changed, one name exchanged, one negation put in or taken out; and
texts about something else. Also the pairs that people called no paraphrases, most of which keep their words. Prints a
table: how many of each are dropped, with Wilson's 95 % interval, and for what.
"""

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from bactrian.data.synth.same_meaning import meaning_flaw, names
from bactrian.evaluate.statistics import wilson

P3, MEDIQ = "t0_p3_multitask_sample.jsonl.gz", "mediq_imedqa_dev.dev.jsonl"
WRITTEN = ("glue_mrpc_generate_paraphrase", "glue_mrpc_generate_sentence", "paws_labeled_final_paraphrase_task")
"""Templates whose answer is the paraphrase."""
LABELLED = {
    "glue_mrpc_equivalent": r"\n(.+)\n(.+)",
    "glue_qqp_meaning": r"1: (.+)\nQuestion 2: (.+)",
    "paws_labeled_final_Meaning": r"1: (.+)\nSentence 2: (.+)",
}
"""Templates whose answer says whether two sentences mean the same, and where these stand."""
Pair = tuple[str, str]
Spoiling = Callable[[str, Random], str]


def people(path: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs that people called paraphrases, and those that they did not."""
    found: tuple[set[Pair], set[Pair]] = set(), set()
    with gzip.open(path, "rt") as lines:
        for row in map(json.loads, lines):
            said = row["completion"].removesuffix("<|endoftext|>").strip()
            if row["template"] in WRITTEN:
                found[0].add((row["prompt"].partition(": ")[2].strip(), said))
            elif match := re.search(LABELLED.get(row["template"], r"\Z."), row["prompt"]):
                found[said.lower() not in ("yes", "equivalent")].add((match[1].strip(), match[2].strip()))
    return sorted(found[0]), sorted(found[1])


def cases(path: Path) -> list[Pair]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    facts = [" ".join(re.sub(r"^\s*\d+[.)]\s*", "", fact) for fact in row["facts"]) for row in rows]
    return [(" ".join(row["context"]), told) for row, told in zip(rows, facts, strict=True)]


def other_number(text: str, random: Random) -> str:
    places = list(re.finditer(r"(?<![\d.,])\d+(?![\d.,])", text))
    if not places:
        return text
    at = random.choice(places)
    return f"{text[: at.start()]}{int(at[0]) + random.choice((1, 3, 10))}{text[at.end() :]}"


def other_name(text: str, random: Random) -> str:
    found = [name for name in names(text) if len(name[0]) > 3]
    return text.replace(" ".join(random.choice(found)), "Quillan Everard") if found else text


def other_sense(text: str, random: Random) -> str:
    """Without its one negation, or with one more behind a verb."""
    denials = re.findall(r"\b(?:not|no|never) ", text)
    if denials:
        return re.sub(r"\b(?:not|no|never) ", "", text)
    places = list(re.finditer(r"\b(?:is|was|are|were|has been|will|can|could)\b", text))
    if not places:
        return text
    at = random.choice(places)
    return f"{text[: at.end()]} not{text[at.end() :]}"


SPOILT: dict[str, Spoiling] = {"a number": other_number, "a name": other_name, "a negation": other_sense}


def told(name: str, pairs: Sequence[Pair]) -> None:
    reasons = Counter(flaw.reason for pair in pairs if (flaw := meaning_flaw(*pair)))
    dropped = sum(reasons.values())
    low, high = wilson(dropped, len(pairs))
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    print(f"| {name} | {dropped} of {len(pairs)} ({100 * low:.1f}–{100 * high:.1f} %) | {why} |")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path, help="folder of the two files")
    folder = options.parse_args().data
    good, bad = people(folder / P3)
    sources = {"people's": good, "MediQ's": cases(folder / MEDIQ)}
    print("| pairs | dropped | for |\n|---|---|---|")
    for source, pairs in sources.items():
        told(f"{source}, of one meaning", pairs)
        passing = [pair for pair in pairs if meaning_flaw(*pair) is None]
        for what, spoil in SPOILT.items():
            random = Random(0)
            spoilt = [(a, changed) for a, b in passing if (changed := spoil(b, random)) != b]
            told(f"{source}, {what} spoilt", spoilt)
        told(f"{source}, of another text", [(a, pairs[at - 1][1]) for at, (a, _) in enumerate(pairs)])
    told("people's, called no paraphrases", bad)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

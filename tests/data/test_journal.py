"""A journal loses nothing that was put, wherever it was cut; pairs are drawn as Tülu 3 draws them."""

import threading
from collections import Counter
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bactrian.data.curate.scored_pairs import Scored, binarise
from bactrian.data.io.journal import Journal

ENTRIES = {f"row {n}": {"text": "line\nbreak \u2028 \ud83d" * n, "tokens": n} for n in range(6)}


def test_what_was_put_is_there_wherever_a_kill_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for key, value in ENTRIES.items():
            journal.put(key, value)
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == 10]
    for cut in sorted({0, len(whole), *range(0, len(whole), 41), *(end + near for end in ends for near in (0, 1))}):
        path.write_bytes(whole[:cut])
        with Journal(path) as journal:
            done = whole[:cut].count(b"\n")
            assert journal.found == dict(list(ENTRIES.items())[:done])
            journal.put("new", [cut])
        with Journal(path) as journal:
            assert journal.found == dict(list(ENTRIES.items())[:done]) | {"new": [cut]}


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        threads = [
            threading.Thread(target=lambda me=me: [journal.put(f"{me}/{n}", "x" * 500) for n in range(20)])
            for me in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert len(journal.found) == 80


answers = st.lists(
    st.builds(Scored, st.sampled_from(["a", "b", "c", "d", " "]), st.sampled_from([1.0, 2.5, 2.75, 4.0])), max_size=6
)


@given(answers, st.integers(1, 3), st.sampled_from([0.0, 0.25, 2.0]), st.integers(0, 99))
def test_pairs_keep_their_promises(given_answers: list[Scored], pairs: int, margin: float, seed: int) -> None:
    found = binarise(given_answers, Random(seed), pairs, margin)
    top = max((answer.score for answer in given_answers if answer.text.strip()), default=0.0)
    assert len(found) <= pairs and len({rejected.text for _, rejected in found}) == len(found)
    for chosen, rejected in found:
        assert chosen.score == top and chosen.text != rejected.text and rejected.text.strip()
        assert chosen.score - rejected.score >= max(margin, 0.25)
    possible = any(
        a.score == top and b.text.strip() and b.text != a.text and b.score < top and top - b.score >= margin
        for a in given_answers
        if a.text.strip()
        for b in given_answers
    )
    assert bool(found) <= possible


def test_rejected_is_any_of_the_worse_and_not_always_the_worst() -> None:
    four = [Scored(text, score) for text, score in (("best", 4.0), ("good", 3.0), ("poor", 2.0), ("worst", 1.0))]
    drawn = Counter(binarise(four, Random(seed))[0][1].text for seed in range(600))
    assert set(drawn) == {"good", "poor", "worst"} and all(150 < count < 250 for count in drawn.values())
    assert binarise(four, Random(0), margin=2.5)[0][1].text == "worst" and binarise(four, Random(0), margin=3.5) == []

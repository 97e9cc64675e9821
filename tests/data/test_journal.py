"""A journal loses nothing that was put, wherever it was cut."""

import threading
from pathlib import Path

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

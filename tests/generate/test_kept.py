"""Sampling that is cut off goes on where it was, and its completions are those of an undisturbed run."""

from pathlib import Path

import pytest

from bactrian.generate.engine import Request
from bactrian.generate.kept import generate_kept
from bactrian.generate.local import LocalEngine
from tests.model.tiny import write_tiny


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine.load(write_tiny(tmp_path_factory.mktemp("tiny")), "float32", rows=4)


@pytest.mark.parametrize("after", [1, 30, 90])
def test_a_cut_costs_no_finished_request_and_changes_nothing(engine: LocalEngine, tmp_path: Path, after: int) -> None:
    requests = [Request((5 + i, 9, 7), n=2, seed=i, max_new_tokens=12) for i in range(6)]
    whole = engine.generate(requests)
    drawn = 0

    def cut(tokens: int) -> None:
        nonlocal drawn
        drawn += tokens
        if drawn >= after:
            raise KeyboardInterrupt

    path = tmp_path / "answers.jsonl"
    with pytest.raises(KeyboardInterrupt):
        generate_kept(engine, requests, path, cut)
    finished = path.read_bytes().count(b"\n")
    again: list[int] = []
    found = generate_kept(engine, requests, path, again.append)
    assert [[(c.ids, c.text, c.finish) for c in group] for group in found] == [
        [(c.ids, c.text, c.finish) for c in group] for group in whole
    ]
    asked = sum(len(c.ids) for group in whole for c in group)
    assert sum(again) < asked if finished else sum(again) == asked
    assert finished or after < 90
    once_more: list[int] = []
    assert generate_kept(engine, requests, path, once_more.append) == found and not once_more

"""What an evaluation costs: tokens forwarded, counted; and what is not asked twice, also after a kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from small import loaded, run, task, write_sets, write_small

from bactrian.evaluate.answer_store import AnswerStore
from bactrian.evaluate.answering import Subject, answer
from bactrian.evaluate.grading import grade
from bactrian.evaluate.prompting import Writer, shots
from bactrian.evaluate.scoring import measure
from bactrian.evaluate.task import Loaded, Preamble, Question
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel
from bactrian.verify import Pool

PREAMBLE = Preamble("Sums.\n\n", shots(*((f"Question: {i}+{i}\nAnswer:", f"It is {2 * i}.") for i in range(12))))
QUESTIONS = [Question(f"Question: {i}+{i + 1}", str(2 * i + 1)) for i in range(16)]
WRITTEN = loaded(task("written", preamble=PREAMBLE, cue="\nAnswer:", format="plain", max_new_tokens=4), QUESTIONS)
RANKED = loaded(
    task(
        "ranked",
        form="rank",
        metric="acc",
        preamble=PREAMBLE,
        verifier="",
        cue="\nAnswer:",
        keep_cue=True,
        format="plain",
    ),
    [replace(q, options=(q.truth, "none", "x"), right=(0,)) for q in QUESTIONS],
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine.load(write_small(tmp_path_factory.mktemp("small")), rows=8)


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Tokens of each forward through the network's layers (a decoder of its own writes the tokens after the prompt)."""
    counts: list[int] = []
    plain = LanguageModel.hidden

    def hidden(self: LanguageModel, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        counts.append(ids.numel())
        return plain(self, ids, *rest)

    monkeypatch.setattr(LanguageModel, "hidden", hidden)
    yield counts


def ask(subject: Subject, folder: Path, of: Loaded) -> Any:
    with AnswerStore(folder, "m", "float32", "c") as store:
        return answer(subject, [of], store, None, 0)[0]


def no_engine() -> NoReturn:
    raise AssertionError("the model was loaded")


def prompts(engine: LocalEngine, of: Loaded) -> tuple[Writer, list[tuple[int, ...]], int]:
    """The prompts' ids and how many of their first tokens they all have in common, counted one by one."""
    writer = Writer(of, engine.template, "plain", 4096)
    ids = [writer.ask(question, 4).ids for question in of.questions]
    common = next(i for i, column in enumerate(zip(*ids, strict=False)) if len(set(column)) > 1)
    return writer, ids, common


def test_exemplars_of_ranked_questions_are_forwarded_once(
    engine: LocalEngine, forwarded: list[int], tmp_path: Path
) -> None:
    writer, ids, common = prompts(engine, RANKED)
    ask(Subject.of(engine), tmp_path, RANKED)
    own = sum(len(each) - common for each in ids)
    options = sum(len(writer.plain.ids(f" {option}")) - 1 for q in RANKED.questions for option in q.options)
    assert sum(forwarded) == common + own + options
    assert sum(forwarded) < sum(map(len, ids)) / 4  # even if the options were free, without sharing it were this


def test_exemplars_of_written_questions_are_forwarded_once(
    engine: LocalEngine, forwarded: list[int], tmp_path: Path
) -> None:
    _, ids, common = prompts(engine, WRITTEN)
    found = ask(Subject.of(engine), tmp_path, WRITTEN)
    own = sum(len(each) - common for each in ids)
    written = sum(each.tokens for (each,) in found.written)
    assert common + own <= sum(forwarded) + len(ids) and sum(forwarded) <= common + own + written
    assert sum(forwarded) < sum(map(len, ids)) / 4


def test_another_metric_loads_no_model(engine: LocalEngine, forwarded: list[int], tmp_path: Path) -> None:
    subject = Subject.of(engine)
    first = {of.task.name: ask(subject, tmp_path, of) for of in (RANKED, WRITTEN)}
    del forwarded[:]
    without = replace(subject, engine=no_engine)
    changed = replace(RANKED, task=replace(RANKED.task, metric="acc_token", others=("acc", "acc_norm")))
    again = ask(without, tmp_path, changed)
    assert again.ranked == first["ranked"].ranked and again.reused == again.asked > 0
    verified = ask(without, tmp_path, replace(WRITTEN, task=replace(WRITTEN.task, verifier="contains")))
    assert verified.written == first["written"].written
    fewer = ask(without, tmp_path, replace(WRITTEN, questions=WRITTEN.questions[3:9]))  # a limit, other questions aside
    assert fewer.written == first["written"].written[3:9] and forwarded == []
    with Pool(1) as pool:
        assert set(measure(changed, "m", grade(again, pool)).numbers) == {"acc", "acc_norm", "acc_token"}


def test_a_stage_that_ran_before_loads_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    models, data = {"one": write_small(tmp_path / "one")}, write_sets(tmp_path / "sets")
    first = run(tmp_path / "a", models, data)
    monkeypatch.setattr(LocalEngine, "load", no_engine)
    again = run(tmp_path / "a", models, data, limit=3)
    assert [s["task"] for s in again["scores"]] == [s["task"] for s in first["scores"]]
    assert all(s["reused"] == s["requests"] > 0 for s in again["scores"])


DYING = """
import os, signal, sys
from pathlib import Path
from small import run
from bactrian.evaluate.answer_store import AnswerStore

answers, put = 0, AnswerStore.put

def dying(self, key, value):
    global answers
    put(self, key, value)
    answers += 1
    if answers == 20:
        self._file.write('{"key": "half a li')
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

AnswerStore.put = dying
run(Path(sys.argv[1]), {"one": Path(sys.argv[2])}, Path(sys.argv[3]))
"""


def test_a_run_killed_with_sigkill_keeps_what_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    models, data = {"one": write_small(tmp_path / "one")}, write_sets(tmp_path / "sets")
    whole = run(tmp_path / "whole", models, data)
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here)])}
    command = [sys.executable, "-c", DYING, str(tmp_path / "killed"), str(models["one"]), str(data)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    found = run(tmp_path / "killed", models, data)
    assert found["scores"] == whole["scores"], "and nothing in them says that it was killed"
    (kept,) = (tmp_path / "killed").rglob("answers/*.jsonl")
    keys = [json.loads(line)["key"] for line in kept.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == sum(s["requests"] for s in found["scores"]) > 20, "none was asked twice"

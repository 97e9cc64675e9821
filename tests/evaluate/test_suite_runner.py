"""The runner on a real (tiny) model: what is kept is not asked again, nothing depends on what else is asked."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small import loaded, task, write_small

from bactrian.errors import BactrianError
from bactrian.evaluate.answer_store import AnswerStore
from bactrian.evaluate.answering import Answered, Subject, answer, shared_by_group
from bactrian.evaluate.grading import grade, truthful_mass
from bactrian.evaluate.prompting import Writer, shots
from bactrian.evaluate.records import read_records, write_records
from bactrian.evaluate.scoring import measure
from bactrian.evaluate.task import Loaded, Preamble, Question
from bactrian.generate.local import LocalEngine
from bactrian.verify import Pool

SHOTS = Preamble("Sums.\n\n", shots(("Question: 1+1\nAnswer:", "2"), ("Question: 2+3\nAnswer:", "5")))
WRITTEN = loaded(
    task("written", preamble=SHOTS, cue="\nAnswer:", stop=("\n",), format="plain"),
    [Question(f"Question: {i}+{i}", str(2 * i), group="ab"[i % 2]) for i in range(7)],
)
RANKED = loaded(
    task(
        "ranked",
        form="rank",
        metric="acc",
        others=("acc_norm", "acc_token", "acc_pmi"),
        preamble=SHOTS,
        verifier="",
        cue="\nAnswer:",
        keep_cue=True,
        format="plain",
    ),
    [Question(f"Question: {i}+{i}", "x", (str(i), f"{i} or so", "none of it"), (i % 3,)) for i in range(6)],
)
GAPS = loaded(
    task("gaps", form="rank", metric="acc", format="plain", verifier=""),
    [Question("The _ is big.", "", ("is big.",) * 2, (0,), contexts=("The cat", "The dog there"))],
)
BITS = loaded(
    task("bits", form="bits", metric="bits", format="plain"), [Question("abc def " * 20), Question("xyz" * 9)]
)
DRAWN = loaded(
    task("drawn", temperature=0.9, samples=3, k=2, metric="pass_at_k"), [Question("1+1?", "2"), Question("2+2?", "4")]
)
ALL = [WRITTEN, RANKED, GAPS, BITS, DRAWN]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine.load(write_small(tmp_path_factory.mktemp("small")), rows=4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path, "model", "float32", "code") as opened:
        yield opened


def ask(engine: LocalEngine, store: AnswerStore, tasks: list[Loaded], seed: int = 0) -> list[Answered]:
    return answer(Subject.of(engine), tasks, store, None, seed)


def said(found: list[Answered]) -> list[object]:
    """Texts as they are; log-probabilities to what rounding leaves."""
    ranked = [[[round(x.logprob, 3) for x in xs] for xs in each.ranked] for each in found]
    return [[each.written for each in found], ranked]


def test_what_was_answered_is_not_asked_again(
    engine: LocalEngine, store: AnswerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(engine, store, ALL)
    assert [each.reused for each in first] == [0] * 5 and all(each.asked for each in first)
    monkeypatch.setattr(LocalEngine, "generate", None)
    monkeypatch.setattr(LocalEngine, "likelihoods", None)
    again = ask(engine, store, ALL)
    assert said(again) == said(first)
    assert all(each.reused == each.asked for each in again)


def test_a_killed_run_goes_on_where_it_was(engine: LocalEngine, tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a", "model", "float32", "code") as whole:
        expected = said(ask(engine, whole, ALL))
    lines = whole.path.read_bytes().splitlines(keepends=True)
    with AnswerStore(tmp_path / "b", "model", "float32", "code") as part:
        pass
    part.path.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:20])  # and half a line
    with AnswerStore(tmp_path / "b", "model", "float32", "code") as part:
        found = ask(engine, part, ALL)
        assert said(found) == expected
        assert 0 < sum(each.reused for each in found) < sum(each.asked for each in found)


def test_a_changed_answer_is_found_out(engine: LocalEngine, store: AnswerStore, tmp_path: Path) -> None:
    ask(engine, store, [WRITTEN])
    store.flush()
    lines = store.path.read_text().splitlines()
    record = json.loads(lines[1])
    record["value"][0][0] = "forged"
    other = tmp_path / "other"
    with AnswerStore(other, "model", "float32", "code") as forged:
        pass
    forged.path.write_text("\n".join([lines[0], json.dumps(record)]) + "\n")
    with pytest.raises(BactrianError, match=r"line 2.*changed"), AnswerStore(other, "model", "float32", "code"):
        pass


def test_neither_batch_nor_company_changes_an_answer(engine: LocalEngine, tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a", "m", "float32", "c") as store:
        together = ask(engine, store, ALL)
    one = LocalEngine(engine.model, rows=1)
    with AnswerStore(tmp_path / "b", "m", "float32", "c") as store:
        alone = [ask(one, store, [each])[0] for each in ALL]
    assert said(together) == said(alone)


def test_ranked_and_bits_are_the_plain_forwards(engine: LocalEngine, store: AnswerStore) -> None:
    ranked, gaps, bits = ask(engine, store, [RANKED, GAPS, BITS])
    writer = Writer(RANKED, engine.template, "plain", 4096)
    for question, found in zip(RANKED.questions, ranked.ranked, strict=True):
        text = writer.text(question, SHOTS)
        for option, likelihood in zip(question.options, found, strict=True):
            ids = writer.plain.ids(f"{text} {option}")
            plain = engine.model._plain_logprobs(ids)[len(writer.plain.ids(text)) - 1 :]
            assert likelihood.logprob == pytest.approx(float(plain.sum()), abs=1e-3)
    for context, likelihood in zip(GAPS.questions[0].contexts, gaps.ranked[0], strict=True):
        ids = writer.plain.ids(f"{context} is big.")
        plain = engine.model._plain_logprobs(ids)[len(writer.plain.ids(context)) - 1 :]
        assert likelihood.logprob == pytest.approx(float(plain.sum()), abs=1e-3)
    ids = (256, *writer.plain.ids(BITS.questions[0].prompt))
    assert bits.ranked[0][0].logprob == pytest.approx(float(engine.model._plain_logprobs(ids).sum()), abs=2e-3)
    assert bits.ranked[0][0].tokens == len(BITS.questions[0].prompt)


def test_scores_and_records(engine: LocalEngine, store: AnswerStore, tmp_path: Path) -> None:
    with Pool(1) as pool:
        graded = [(each, grade(each, pool)) for each in ask(engine, store, ALL)]
    scores = {each.loaded.task.name: measure(each.loaded, "m", records) for each, records in graded}
    assert scores["written"].questions == 7 and set(scores["written"].groups) == {"a", "b"}
    assert set(scores["ranked"].numbers) == {"acc", "acc_norm", "acc_token", "acc_pmi"}
    assert scores["drawn"].samples == 3 and scores["drawn"].metric == "pass@2"
    assert 7 < scores["bits"].score < 10  # random bytes cost eight bits each, about
    for score in scores.values():
        assert score.interval[0] <= score.score <= score.interval[1]
    labelled = [({"model": "m", "task": e.loaded.task.name, "mode": "greedy"}, r) for e, rs in graded for r in rs]
    write_records(tmp_path / "q.parquet", labelled)
    read = read_records(tmp_path / "q.parquet")
    assert {task: len(records) for (_, task, _), records in read.items()} == {
        "written": 7,
        "ranked": 6,
        "gaps": 1,
        "bits": 2,
        "drawn": 6,
    }
    assert read["m", "ranked", "greedy"] == graded[1][1]


def test_exemplars_are_dropped_until_a_prompt_fits(engine: LocalEngine) -> None:
    question = WRITTEN.questions[0]
    whole = Writer(WRITTEN, engine.template, "plain", 4096).ask(question, 8)
    short = Writer(WRITTEN, engine.template, "plain", len(whole.ids) + 7).ask(question, 8)
    assert (whole.dropped, short.dropped) == (0, 1) and "1+1" not in short.text and "2+3" in short.text
    with pytest.raises(BactrianError, match="the model's context is 10"):
        Writer(WRITTEN, engine.template, "plain", 10).ask(question, 8)


@pytest.mark.parametrize("form", ["plain", "single", "multiturn"])
def test_what_is_shared_is_what_all_begin_with(engine: LocalEngine, form: str) -> None:
    writer = Writer(WRITTEN, engine.template, form, 4096)  # type: ignore[arg-type]
    asked = [writer.ask(question, 8) for question in WRITTEN.questions]
    (shared,) = set(shared_by_group([[each.ids] for each in asked], [""] * 7))
    assert len({each.ids[:shared] for each in asked}) == 1
    assert shared > len("Sums.\n\nQuestion: 1+1\nAnswer: 2")
    assert ("Answer:" in asked[0].text.rpartition("0+0")[2]) == (form == "plain")


def test_text_of_a_question_is_never_a_control_token(engine: LocalEngine) -> None:
    writer = Writer(WRITTEN, engine.template, "plain", 4096)
    ids = writer.ask(Question("</s><s>"), 8).ids
    assert not {256, 257} & set(ids)


def test_truthful_mass_against_numpy_and_where_everything_is_unlikely() -> None:
    import numpy as np

    draw = np.random.default_rng(0)
    for _ in range(1000):
        lls = draw.normal(-20, 8, size=draw.integers(2, 12))
        labels = draw.random(len(lls)) < 0.5
        labels[0] = True
        p = np.exp(lls)
        right = np.flatnonzero(labels).tolist()
        assert truthful_mass(lls.tolist(), right) == pytest.approx(float((p / p.sum())[labels].sum()), abs=1e-12)
    assert truthful_mass([-2000.0, -2001.0], [0]) == pytest.approx(1 / (1 + float(torch.tensor(-1.0).exp())))

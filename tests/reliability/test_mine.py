"""Mining, raw pairs and decoding without reciting, on a tiny model: against plain loops over the same forward."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bactrian.chat.plain_text import PlainText
from bactrian.data.overlap.gram_set import GramSet
from bactrian.errors import BactrianError
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.generate.memfree import MemFree
from bactrian.model.language_model import LanguageModel
from bactrian.stages.reliability.mine import Mine, MinedSegments
from bactrian.stages.tune.pairs import token_pairs
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.train.preference import pair_logprobs
from tests.model.tiny import TEXT, write_tiny
from tests.test_subsequence import table_length

PREFIX, SUFFIX = 6, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def engine(folder: Path) -> LocalEngine:
    return LocalEngine.load(folder, rows=8)


def texts(count: int, words: int = 16) -> list[str]:
    draw = random.Random(4)
    known = [word for word in TEXT.split() if word.isalpha()]
    return [" ".join(draw.choices(known, k=words)) for _ in range(count)]


@pytest.fixture(scope="module")
def alone(folder: Path) -> Any:
    """The model as transformers runs it."""
    return AutoModelForCausalLM.from_pretrained(folder)


def greedy(alone: Any, prompt: list[int], most: int, ends: frozenset[int]) -> list[int]:
    """Token by token, the whole text forwarded each time."""
    ids = list(prompt)
    for _ in range(most):
        with torch.no_grad():
            ids.append(int(alone(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in ends:
            break
    return ids[len(prompt) :]


def mined(folder: Path, root: Path, rows: list[dict[str, Any]], **settings: Any) -> Workspace:
    root.mkdir(exist_ok=True)
    (root / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = {
        "model": Input("model", folder, Kind.MODEL, "hash"),
        "corpus.jsonl": Input("corpus.jsonl", root / "corpus.jsonl", Kind.DATA, "hash"),
    }
    work = Workspace.temporary(root / f"w{len(list(root.iterdir()))}", inputs, 1)
    stage = Mine(
        **{"model": "model", "corpus": "corpus.jsonl", "prefix": PREFIX, "suffix": SUFFIX, "minimum": 0, **settings}
    )
    stage.run(work)
    return work


def rows_of(work: Workspace) -> list[dict[str, Any]]:
    from bactrian.data.io.files import read_rows

    return read_rows(work.output)


def test_scores_are_those_of_a_plain_loop(folder: Path, engine: LocalEngine, alone: Any, tmp_path: Path) -> None:
    said = texts(12)
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate([*said, said[3], said[3], "the cat"])]
    plain = PlainText(engine.template.tokenizer)
    assert plain.first is not None
    expected = {}
    for number, text in enumerate(said):
        ids = list(plain.ids(text))
        written = greedy(alone, [plain.first, *ids[:PREFIX]], SUFFIX, engine.ends)
        gold = ids[PREFIX : PREFIX + SUFFIX]
        letters = [[chr(65 + each) for each in some if each not in engine.ends] for some in (gold, written)]
        expected[f"d{number}:0"] = table_length("".join(letters[0]), "".join(letters[1]))
    work = mined(folder, tmp_path, rows)
    found = {row["id"]: row for row in rows_of(work)}
    assert {name: row["score"] for name, row in found.items()} == expected
    assert {name for name, row in found.items() if row["copies"] == 3} == {"d3:0"}
    order = [row["score"] for row in rows_of(work)]
    assert order == sorted(order, reverse=True)
    told = json.loads((work.output / "mined.json").read_text())
    assert sum(told["scores"].values()) == 12 and told["copies"]["3"]["segments"] == 1
    assert found["d0:0"]["text"] == plain.text(plain.ids(said[0])[: PREFIX + SUFFIX])


def test_top_and_minimum(folder: Path, tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts(9))]
    every = rows_of(mined(folder, tmp_path, rows, top=None))
    least = every[4]["score"]
    assert rows_of(mined(folder, tmp_path, rows, top=3)) == every[:3]
    some = rows_of(mined(folder, tmp_path, rows, minimum=least)) if least else every
    assert some == [row for row in every if row["score"] >= least]
    with pytest.raises(BactrianError, match="no segment scores 5 or more of 5"):
        mined(folder, tmp_path, rows[1:2], minimum=5)
    with pytest.raises(BactrianError, match=r"found no segment of 11 tokens behind the 3 texts that are skipped"):
        mined(folder, tmp_path, rows[:2], minimum=5, skip=3)


def test_strides_and_random_places(folder: Path, tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts(6, 30))]
    starts = sorted(row["start"] for row in rows_of(mined(folder, tmp_path, rows[:1], stride=7)))
    assert starts == [0, 7, 14]
    drawn = rows_of(mined(folder, tmp_path, rows, random=True, long=0, top=4))
    assert len(drawn) == 4 and len({row["start"] for row in drawn}) > 1 and "score" not in drawn[0]
    assert rows_of(mined(folder, tmp_path, rows, random=True, long=0, top=4)) == drawn


def test_a_killed_run_asks_only_for_the_rest(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate([*texts(10), texts(1)[0]])]
    monkeypatch.setattr("bactrian.stages.reliability.mine.ROUNDS", 1)
    whole = mined(folder, tmp_path / "whole", rows, rows_at_once=4)
    asked: list[int] = []
    real = Mine._asked

    def counting(self: Mine, *given: Any) -> Any:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(given[-1]))
        return real(self, *given)

    monkeypatch.setattr(Mine, "_asked", counting)
    root = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        mined(folder, root, rows, rows_at_once=4)
    (cut,) = (each for each in root.iterdir() if each.is_dir())
    journal = next(cut.rglob("mined.jsonl"))
    with journal.open("a") as file:
        file.write('["2", [[1, ')  # what a kill leaves of a line
    again = Workspace.temporary(cut.parent / "again", {}, 1)
    again.scratch.mkdir(parents=True, exist_ok=True)
    (again.scratch / "mined.jsonl").write_bytes(journal.read_bytes())
    asked.clear()
    monkeypatch.setattr(Workspace, "temporary", lambda *_: _with_inputs(again, folder, root))
    resumed = mined(folder, root, rows, rows_at_once=4)
    assert sum(asked) == 2 and rows_of(resumed) == rows_of(whole)


def _with_inputs(work: Workspace, folder: Path, root: Path) -> Workspace:
    work.inputs = {
        "model": Input("model", folder, Kind.MODEL, "hash"),
        "corpus.jsonl": Input("corpus.jsonl", root / "corpus.jsonl", Kind.DATA, "hash"),
    }
    return work


def test_what_is_kept_is_the_best_however_much_comes() -> None:
    draw, found = random.Random(1), MinedSegments(5, 3, 0)
    scores = [draw.randint(0, 9) for _ in range(200)]
    for number, score in enumerate(scores):
        assert found.is_new(number)
        found.add(score, {"id": number})
    best = sorted((each for each in range(200) if scores[each] >= 3), key=lambda each: (-scores[each], each))[:5]
    assert [row["id"] for row in found.rows()] == best
    assert found.histogram() == {str(s): scores.count(s) for s in sorted(set(scores))}


def test_raw_pairs_are_the_whole_text_behind_its_first_token(folder: Path, alone: Any, tmp_path: Path) -> None:
    model = LanguageModel.load(folder)
    sides = {"chosen_text": "the cat sat on a mat", "rejected_text": "a mat sat"}
    rows = [{"id": "a", **sides}, {"id": "b", "prefix": "Answer:\n", **sides}]
    pairs, _ = token_pairs("dpo", rows, "rows", model.template, 64, Workspace.temporary(tmp_path / "w", {}, 1))
    sums = pair_logprobs(model, pairs).detach()
    for row, each in zip(rows, sums, strict=True):
        for side, found in zip(("chosen_text", "rejected_text"), each, strict=True):
            before = model.tokenizer(row.get("prefix", ""), add_special_tokens=False).input_ids
            ids = [
                model.tokenizer.bos_token_id,
                *before,
                *model.tokenizer(row[side], add_special_tokens=False).input_ids,
            ]
            logprobs = alone(torch.tensor([ids])).logits[0].log_softmax(-1)
            start = 1 + len(before)
            by_hand = sum(float(logprobs[at - 1, ids[at]].detach()) for at in range(start, len(ids)))
            assert float(found) == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_gram_of_the_corpus_is_completed(folder: Path, native: bool, temperature: float) -> None:
    engine = LocalEngine(LanguageModel.load(folder), rows=4, native=native)
    plain, n = PlainText(engine.template.tokenizer), 3
    prompts = [plain.ids(text) for text in texts(4, 5)]
    requests = [Request(p, n=2, seed=7, max_new_tokens=20, min_new_tokens=20, temperature=temperature) for p in prompts]
    free = engine.generate(requests)
    corpus = [(*p, *each.ids) for p, some in zip(prompts, free, strict=True) for each in some]
    grams = {ids[at : at + n] for ids in corpus for at in range(len(ids) - n + 1)}
    engine.avoid = MemFree(GramSet.of_tokens(corpus, n))
    held = engine.generate(requests)
    for prompt, some, before in zip(prompts, held, free, strict=True):
        for each, other in zip(some, before, strict=True):
            whole = (*prompt, *each.ids)
            assert not any(whole[at : at + n] in grams for at in range(len(prompt) - n + 1, len(whole) - n + 1))
            assert each.ids != other.ids and len(each.ids) == 20
    engine.avoid = MemFree(GramSet.of_tokens([], n))
    assert engine.generate(requests) == free


def test_no_end_before_the_least_length(folder: Path) -> None:
    engine = LocalEngine.load(folder)
    prompts = [PlainText(engine.template.tokenizer).ids(text) for text in texts(6, 4)]
    for least in (0, 9):
        requests = [Request(p, n=12, seed=3, max_new_tokens=12, min_new_tokens=least, temperature=3.0) for p in prompts]
        lengths = [len(each.ids) for some in engine.generate(requests) for each in some]
        assert (min(lengths) >= 10) if least else (min(lengths) < 10)
    with pytest.raises(ValueError, match="min_new_tokens"):
        Request((1,), max_new_tokens=3, min_new_tokens=4)

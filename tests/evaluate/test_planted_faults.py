"""Models, verifiers and files that are wrong in ways that happen: each is caught, and named."""

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from small import loaded, task

from bactrian.errors import BactrianError
from bactrian.evaluate import known, task_rows
from bactrian.evaluate.answering import Answered, WrittenAnswer
from bactrian.evaluate.catalogue import catalogue
from bactrian.evaluate.comparison import Side, compare
from bactrian.evaluate.flags import Flag
from bactrian.evaluate.grading import check_extractor, grade
from bactrian.evaluate.scoring import measure
from bactrian.evaluate.task import Loaded, Question
from bactrian.model.ranking import Likelihood
from bactrian.verify import Example, Pool, Problem, Verdict, names, register
from bactrian.verify.registry import VERIFIERS

N = 60
SUMS = loaded(task("sums"), [Question(f"{i} + {7 * i}?", str(8 * i), group="ab"[i % 2]) for i in range(N)])
LETTERS = loaded(
    task("letters", form="rank", metric="acc", verifier=""),
    [Question(f"{i}?", "ABCD"[i % 4], ("A", "B", "C", "D"), (i % 4,)) for i in range(N)],
)
CHOICE = loaded(task("choice", verifier="choice"), [Question(f"{i}?", "ABCD"[i % 4]) for i in range(N)])


def flags(of: Loaded, texts: list[str], finish: str = "stop", tokens: int = 200) -> list[Flag]:
    answered = Answered(of, "plain", prompts=["?"] * len(texts))
    answered.written = [[WrittenAnswer(text, tokens, finish, 0, tokens, 0)] for text in texts]
    with Pool(1) as pool:
        return measure(of, "m", grade(answered, pool)).flags


def test_a_good_model_has_no_flag() -> None:
    assert flags(SUMS, [f"Answer: {8 * i}" for i in range(N)]) == []
    assert flags(CHOICE, [f"Therefore, the answer is: {'ABCD'[i % 4]}" for i in range(N)]) == []


def test_a_model_that_always_says_a() -> None:
    (found,) = flags(CHOICE, ["Therefore, the answer is: A"] * N)
    assert found.name == "one answer" and found.text.startswith("always answers A: 100%") and found.red
    answered = Answered(LETTERS, "plain", prompts=["?"] * N)
    answered.ranked = [[Likelihood(-1.0, 1, True)] + [Likelihood(-2.0, 1, False)] * 3 for _ in range(N)]
    with Pool(1) as pool:
        (found,) = measure(LETTERS, "m", grade(answered, pool)).flags
    assert found.text.startswith("always answers A")


def test_a_model_that_never_stops() -> None:
    found = flags(SUMS, ["and so on and on"] * N, "length", 512)
    assert [flag.name for flag in found] == ["never stops"] and "100% of the answers were cut at 512" in found[0].text


def test_a_model_that_always_refuses() -> None:
    found = flags(SUMS, ["I'm sorry, but I can't help with that."] * N)
    assert [flag.name for flag in found] == ["refuses"]


def test_a_model_whose_answers_cannot_be_read_is_never_silently_low() -> None:
    texts = ["a number, surely"] * 20 + [f"Answer: {8 * i}" for i in range(20, N)]
    (found,) = flags(SUMS, texts)
    assert found.name == "unparsable" and found.red and "33%" in found.text


def test_gold_answers_that_went_to_other_questions_of_an_unknown_file() -> None:
    shuffled = [Question(q.prompt, SUMS.questions[(i + 1) % N].truth) for i, q in enumerate(SUMS.questions)]
    found = flags(loaded(task("shuffled"), shuffled), [f"Answer: {8 * i}" for i in range(N)])
    assert [flag.name for flag in found] == ["gold answers"] and "shuffled" in found[0].text


def ranked_flags(golds: list[int], chosen: list[int], lead: float) -> list[Flag]:
    """Letters by log-probability: what is chosen is `lead` nats likelier than the others."""
    of = loaded(LETTERS.task, [Question(f"{i}?", "ABCD"[g], tuple("ABCD"), (g,)) for i, g in enumerate(golds)])
    answered = Answered(of, "plain", prompts=["?"] * len(golds))
    answered.ranked = [[Likelihood(-1.0 if j == c else -1.0 - lead, 1, j == c) for j in range(4)] for c in chosen]
    with Pool(1) as pool:
        return measure(of, "m", grade(answered, pool)).flags


def drawn(count: int, share: float, golds: list[int], seed: int = 0) -> list[int]:
    """Choices that are the gold ones on `share` of the questions that are not guessed."""
    draw = Random(seed)
    return [gold if draw.random() < share else draw.randrange(4) for gold in golds[:count]]


GOLDS = Random(7).choices(range(4), k=600)


def test_gold_letters_that_are_shuffled_and_a_model_that_is_sure() -> None:
    chosen = drawn(600, 0.6, GOLDS)
    shuffled = Random(1).sample(GOLDS, len(GOLDS))
    assert ranked_flags(GOLDS, chosen, 2.5) == []
    (found,) = ranked_flags(shuffled, chosen, 2.5)
    assert found.name == "gold answers" and found.red
    assert "a probability of 80% and is right" in found.text and "look shuffled" in found.text
    assert ranked_flags(shuffled, chosen, 0.3) == []  # a model that is sure of nothing may well be at chance


def test_gold_letters_that_moved_or_are_counted_from_one() -> None:
    chosen = drawn(600, 0.3, GOLDS)  # 48 % right, and never sure
    for by, words in ((1, "1 row before"), (-3, "3 rows further on")):
        (found,) = ranked_flags(GOLDS[by:] + GOLDS[:by], chosen, 0.1)
        assert found.name == "gold answers" and words in found.text and "moved against the questions" in found.text
    (found,) = ranked_flags([(gold + 1) % 4 for gold in GOLDS], chosen, 0.1)
    assert found.name == "gold answers" and "named otherwise than the options" in found.text
    # the same for letters that are written and read out of a text
    of = loaded(CHOICE.task, [Question(f"{i}?", "ABCD"[gold]) for i, gold in enumerate(GOLDS[1:] + GOLDS[:1])])
    texts = [f"Therefore, the answer is: {'ABCD'[c]}" for c in chosen]
    assert [flag.name for flag in flags(of, texts)] == ["gold answers"]


def test_a_model_at_chance_raises_no_alarm_about_gold_letters() -> None:
    for seed in range(24):
        draw = Random(seed)
        count = (20, 60, 200, 600)[seed % 4]
        weights = [draw.random() + 0.2 for _ in range(4)]
        chosen = draw.choices(range(4), weights, k=count)
        golds = draw.choices(range(4), k=count)
        golds = sorted(golds) if seed % 3 == 0 else golds  # files that are sorted by answer
        names = [flag.name for flag in ranked_flags(golds, chosen, 0.5)]
        assert "gold answers" not in names, (seed, names)


def mmlu_rows(count: int, shift: int = 0) -> list[dict[str, Any]]:
    draw = Random(3)
    letters = [draw.choice("ABCD") for _ in range(count)]
    return [
        {"subject": "law", "question": f"What is {i}?", "choices": list("wxyz"), "answer": letters[(i + shift) % count]}
        for i in range(count)
    ]


def test_known_letters_in_a_file_of_another_name_and_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of 300 questions tells a shuffled file that holds some of them, without a model."""

    def loaded_from(rows: list[dict[str, Any]]) -> Loaded:
        write(tmp_path / "mmlu_test.of_mine.jsonl", rows)
        return task_rows.load(catalogue()["mmlu"], [tmp_path])

    write(tmp_path / "mmlu_dev.jsonl", mmlu_rows(5))
    monkeypatch.setattr(known, "known", dict)
    right = known.sketch(loaded_from(mmlu_rows(300)).questions)
    assert len(right) == known.MOST
    monkeypatch.setattr(known, "known", lambda: {"mmlu": right})
    more = [*mmlu_rows(300)[60:], *({**row, "question": f"Another: {row['question']}"} for row in mmlu_rows(500))]
    assert 80 < known.check_known(loaded_from(more)) < known.MOST
    corrected = [{**row, "answer": "A"} if i % 12 == 0 else row for i, row in enumerate(mmlu_rows(300))]
    loaded_from(corrected)  # an edition with some other labels is no shuffled one
    shuffled = mmlu_rows(300, shift=7)
    for rows in (shuffled, shuffled[:100], [*shuffled, *more[240:]]):
        with pytest.raises(BactrianError, match=r"mmlu: .*of_mine.jsonl asks .* gold answers are known.*shuffled"):
            loaded_from(rows)


def test_letters_that_no_option_has_are_told_without_a_model(tmp_path: Path) -> None:
    """BBH's tasks have letters, yes or no, or words as answers: in a shuffled file they land where they cannot be."""

    def row(i: int) -> dict[str, Any]:
        listed = "Which?\nOptions:\n(A) a\n(B) b" + ("\n(C) c" if i % 4 else "")
        return {
            "task": "navigate",
            "input": f"{i}: {listed}" if i % 2 else f"{i}: Yes or no?",
            "target": "(B)" if i % 2 else "Yes",
        }

    rows = [row(i) for i in range(100)]
    prompts = [{"task": "navigate", "cot_prompt": "D.\n\nQ: 1?\nA: Let's think step by step.\nSo the answer is Yes."}]
    write(tmp_path / "bbh_cot_prompts.jsonl", prompts)
    write(tmp_path / "bbh.jsonl", [*rows[:99], {**rows[99], "target": "dearth, wind, & fire"}])  # one is so in truth
    assert len(task_rows.load(catalogue()["bbh"], [tmp_path]).questions) == 100
    targets = Random(0).sample([each["target"] for each in rows], 100)
    write(tmp_path / "bbh.jsonl", [{**each, "target": target} for each, target in zip(rows, targets, strict=True)])
    with pytest.raises(BactrianError, match=r"\d\d of 100 gold answers are none of the options .* shuffled"):
        task_rows.load(catalogue()["bbh"], [tmp_path])
    with pytest.raises(ValueError, match="label: found 'E', expected one of A, B"):
        catalogue()["agieval"].build({"question": "Q", "options": ["(A)a", "(B)b"], "label": "E", "task": "t"})


def test_an_extractor_that_reads_the_few_shot_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    names()
    monkeypatch.setattr("bactrian.verify.registry.VERIFIERS", dict(VERIFIERS))

    @register("reads_the_prompt", examples=[Example("7", "7", "right")])
    def reads_the_prompt(problem: Problem, completion: str) -> Verdict:
        number = (problem.prompt + completion).rpartition("Answer: ")[2].split()[0]
        return Verdict(float(number == problem.ground_truth), "wrong", number, "")

    prompt = "Question: 1 + 1\nAnswer: 2\n\nQuestion: 2 + 3"
    cheat = loaded(task("cheat", verifier="reads_the_prompt"), [Question(prompt, "5")])
    with Pool(1) as pool, pytest.raises(BactrianError, match=r"reads the answer '2' out of .*''.*exemplars"):
        check_extractor(cheat, pool)


def gsm8k_rows(count: int) -> list[dict[str, Any]]:
    return [{"question": f"What is {i} plus {i}?", "answer": f"It is {2 * i}.\n#### {2 * i}"} for i in range(count)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a gsm8k_test.jsonl that is known: 30 rows."""
    path = tmp_path / "gsm8k_test.jsonl"
    write(path, gsm8k_rows(30))
    monkeypatch.setattr(task_rows, "pins", dict)
    pin = task_rows.pin(task_rows.load(catalogue()["gsm8k"], [tmp_path]))
    monkeypatch.setattr(task_rows, "pins", lambda: {path.name: {"gsm8k": pin}})
    assert len(task_rows.load(catalogue()["gsm8k"], [tmp_path]).questions) == 30
    return path


def test_a_shuffled_gold_file(pinned: Path) -> None:
    rows = gsm8k_rows(30)
    answers = [row["answer"] for row in rows]
    write(pinned, [{**row, "answer": answers[(i + 7) % 30]} for i, row in enumerate(rows)])
    with pytest.raises(BactrianError, match=r"gsm8k: .*gsm8k_test.jsonl asks the questions.*shuffled or changed"):
        task_rows.load(catalogue()["gsm8k"], [pinned.parent])


def test_a_truncated_data_file(pinned: Path) -> None:
    write(pinned, gsm8k_rows(29))
    with pytest.raises(BactrianError, match="holds 29 rows, expected 30: the file is truncated"):
        task_rows.load(catalogue()["gsm8k"], [pinned.parent])
    whole = "".join(json.dumps(row) + "\n" for row in gsm8k_rows(30))
    pinned.write_text(whole[:-9])
    with pytest.raises(BactrianError, match="line 30"):
        task_rows.load(catalogue()["gsm8k"], [pinned.parent])
    pinned.unlink()
    packed = gzip.compress(whole.encode(), mtime=0)
    (pinned.parent / "gsm8k_test.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BactrianError, match="gsm8k_test"):
        task_rows.load(catalogue()["gsm8k"], [pinned.parent])


def test_a_task_edited_after_its_results_were_made() -> None:
    edited = loaded(SUMS.task, [Question(q.prompt + " Be brief.", q.truth) for q in SUMS.questions])
    assert SUMS.digest("plain") != edited.digest("plain") != edited.digest("single")
    sides = [
        Side(name, {"sums": []}, {"sums": {"task_hash": each.digest("plain")}})
        for name, each in (("a", SUMS), ("b", edited))
    ]
    with pytest.raises(BactrianError, match="task sums was edited between the two evaluations"):
        compare(*sides)


def test_absent_data_say_what_is_missing_and_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BactrianError) as error:
        task_rows.load(catalogue()["hellaswag"], [tmp_path])
    for part in ("task hellaswag", "hellaswag*.jsonl", str(tmp_path), "Rowan/hellaswag", task_rows.VARIABLE):
        assert part in str(error.value)


def test_a_row_in_no_known_layout_is_named(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k_test.jsonl", [{"question": "1?", "answer": "no final line"}])
    with pytest.raises(BactrianError, match=r"task gsm8k: .*no last line '#### N'"):
        task_rows.load(catalogue()["gsm8k"], [tmp_path])

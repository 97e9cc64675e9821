"""Gold answers go through a task's own verifier before any model is asked: what they score is what a model can score.

A gold answer takes the way of a model's: cut at the task's stop texts, verified, recorded (grading.py). A wrong answer
to each question goes along, so that a verifier that calls everything right is told from one that works. Of ranked tasks
the gold options are made the likeliest, then wrong ones. No model is loaded, and no look is taken at an unseen task.
"""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.evaluate.answering import Answered, WrittenAnswer
from bactrian.evaluate.gold_answers import gold, why_none, wrong_answers
from bactrian.evaluate.grading import grade, verifier_of
from bactrian.evaluate.prompting import cut, plain_text
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import Averaging
from bactrian.evaluate.task import Loaded, Question, Task
from bactrian.evaluate.task_rows import Absent, load
from bactrian.model.ranking import Likelihood
from bactrian.progress import Bar, progress, say
from bactrian.sandbox import versions as packages
from bactrian.store.disk import write_atomically
from bactrian.store.fingerprint import code_fingerprint
from bactrian.store.hashes import hash_json
from bactrian.verify import OUTCOMES, Pool, verifier, versions

LEAST = 0.99
"""Share of gold answers that must be right."""
MOST_FOOLED = 0.02
"""Share of wrong answers that may be called right. They are chosen to differ, so that chance has no part in it; what is
left are answers that are right by accident, such as a sum that is equal in another form."""
AT_ONCE = 40
"""Questions between two steps of the progress bar."""
SLOW = 50
"""Wrong answers, about, that are tried where each takes a sandbox."""
BY_QUESTION = ("prompts", "dropped", "written", "ranked", "unconditional")
"""Fields of `Answered` that have an entry a question."""
NAMED = 5
"""Bad rows that a message names."""
UNLIKELY = -100.0
"""Log-probability of an option that is not to be chosen; of one that is, 0."""


@dataclass(frozen=True)
class Bad:
    """A gold answer that was not called right, or a wrong one that was: the question, what was said, and why."""

    question: str
    outcome: str
    answer: str
    truth: str
    reason: str

    def __str__(self) -> str:
        answer, truth = (" ".join(text.split()) for text in (self.answer, self.truth))
        return (
            f"question {self.question}: {self.outcome}: {self.reason or 'no reason given'} "
            f"(answer …{answer[-60:]!r}, gold {truth[:60]!r})"
        )


@dataclass(frozen=True)
class GoldCheck:
    """What a task's verifier says of gold answers and of wrong ones.

    questions: all that were looked at; without: those that have no gold answer; counts: outcome → gold answers;
    wrong: wrong answers that were tried; bad, fooled: gold answers that were not right, wrong ones that were.
    none: why the task has no gold answers at all. left_out: why rows are no questions → how many.
    seconds: of the clock, when it was made.
    """

    task: str
    questions: int
    without: int = 0
    counts: Mapping[str, int] | None = None
    wrong: int = 0
    bad: tuple[Bad, ...] = ()
    fooled: tuple[Bad, ...] = ()
    none: str = ""
    left_out: Mapping[str, int] | None = None
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        return self.questions - self.without

    @property
    def right(self) -> int:
        return self.tried - len(self.bad)

    @property
    def share(self) -> float | None:
        """Share of gold answers that are right; None where there are none."""
        return self.right / self.tried if self.tried else None

    @property
    def wrong_called_right(self) -> float | None:
        return len(self.fooled) / self.wrong if self.wrong else None

    @property
    def crashed(self) -> tuple[Bad, ...]:
        return tuple(each for each in self.bad if each.outcome == "crashed")

    @property
    def fault(self) -> str:
        """Why nothing must be scored with this task, in words; "" where nothing is wrong."""
        if not self.tried:
            return ""
        if self.crashed:
            return f"the tests crash on {len(self.crashed):,} of {self.tried:,} gold answers:{_named(self.crashed)}"
        if self.right < LEAST * self.tried:
            return (
                f"its verifier calls {self.right:,} of {self.tried:,} gold answers right "
                f"({self.right / self.tried:.1%}, expected {LEAST:.0%} or more):{_named(self.bad)}"
            )
        if len(self.fooled) > MOST_FOOLED * self.wrong:
            return (
                f"its verifier calls {len(self.fooled):,} of {self.wrong:,} wrong answers right (expected at most "
                f"{MOST_FOOLED:.0%}), so that right answers say nothing:{_named(self.fooled)}"
            )
        return ""

    def summary(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {
            "questions": self.questions,
            "without": self.without,
            "right": self.right,
            "wrong_tried": self.wrong,
            "bad": [each.question for each in self.bad],
            "called_right": [each.question for each in self.fooled],
            "none": self.none,
            "left_out": dict(self.left_out or {}),
        }

    def as_json(self) -> dict[str, Any]:
        """Every field, and what is made of them."""
        return asdict(self) | {
            "tried": self.tried,
            "right": self.right,
            "share": self.share,
            "wrong_called_right": self.wrong_called_right,
            "fault": self.fault,
        }


def _named(bad: Sequence[Bad]) -> str:
    shown = "".join(f"\n  {each}" for each in bad[:NAMED])
    return shown + (f"\n  and {len(bad) - NAMED:,} more" if len(bad) > NAMED else "")


def check(loaded: Loaded, pool: Pool) -> GoldCheck:
    """Gold answers and wrong ones of all questions of a task, through its verifier.

    Raises:
        BactrianError: for a verifier that is not to be used (grading.check_extractor).
    """
    started, task = time.monotonic(), loaded.task
    left_out = {why: len(places) for why, places in loaded.left_out.items()}
    found = GoldCheck(task.name, len(loaded.questions), left_out=left_out)
    if why := why_none(task):
        return replace(found, without=found.questions, none=why)
    right, against = _gold_answers(loaded), _wrong_answers(_some(loaded))
    quick = all(verifier(name).place == "here" for name in loaded.verifiers())
    count = len(right.prompts) + len(against.prompts)
    with nullcontext() if quick else progress(f"gold answers · {task.name}", count, "answer") as bar:
        said, fooled = _graded(right, pool, bar), _graded(against, pool, bar)
    twice = {each.id for each in loaded.questions if len(set(_places(each))) < len(each.options)}
    return replace(
        found,
        without=found.questions - len(said),
        wrong=len(fooled),
        counts={name: n for name, n in Counter(record.outcome for record in said).items() if name in OUTCOMES},
        bad=tuple(_bad(record, twice) for record in said if not _is_right(task, record)),
        fooled=tuple(_bad(record, twice) for record in fooled if record.outcome == "right"),
        none="" if said else "its data have no worked solutions",
        seconds=round(time.monotonic() - started, 2),
    )


def _some(loaded: Loaded) -> Loaded:
    """The questions to which wrong answers are tried: all, or of tests in a sandbox, which are slow, some from all."""
    slow = any(verifier(name).place == "thread" for name in loaded.verifiers())
    return replace(loaded, questions=loaded.questions[:: len(loaded.questions) // SLOW + 1 if slow else 1])


def _graded(answered: Answered, pool: Pool, bar: Bar | None) -> list[Record]:
    """Records, some questions at a time."""
    records: list[Record] = []
    for at in range(0, len(answered.prompts), AT_ONCE):
        part = slice(at, at + AT_ONCE)
        task = replace(answered.loaded.task, failures=1.0)  # which are told here by the row
        loaded = replace(answered.loaded, task=task, questions=answered.loaded.questions[part])
        some = replace(answered, loaded=loaded, **{name: getattr(answered, name)[part] for name in BY_QUESTION})
        records += grade(some, pool)
        if bar is not None:
            bar.advance(len(some.prompts))
    return records


def _is_right(task: Task, record: Record) -> bool:
    """With a full score: for a ranked task half of the probability is no gold answer."""
    return record.outcome == "right" and Averaging.of(task).value(record) > LEAST


def _bad(record: Record, twice: Collection[str]) -> Bad:
    reason = record.reason or (
        "two of its options are the same text" if record.question in twice else f"score {record.score:.3g}"
    )
    return Bad(record.question, record.outcome, record.completion[-500:], record.ground_truth[:500], reason)


def _gold_answers(loaded: Loaded) -> Answered:
    """Of each question that has one the gold answer, as a model would have given it."""
    if loaded.task.form == "rank":
        return _chosen(loaded, [set(question.right) for question in loaded.questions])
    return _said(loaded, [gold(loaded.task, question) for question in loaded.questions])


def _wrong_answers(loaded: Loaded) -> Answered:
    if loaded.task.form == "rank":
        return _chosen(loaded, [_not_right(loaded.task, question) for question in loaded.questions])
    return _said(loaded, wrong_answers(loaded))


def _not_right(task: Task, question: Question) -> set[int]:
    """The wrong options, where the share of probability is the score; else one, the next after the right one.

    An option with the very text of a right one is none of them.
    """
    places = _places(question)
    likely = {places[number] for number in question.right}
    others = [number for number, place in enumerate(places) if place not in likely]
    if task.metric in ("mc1", "mc2"):
        return set(others)
    after = [number for number in others if question.right and number > question.right[0]]
    return set((after or others)[:1])


def _said(loaded: Loaded, texts: Sequence[str]) -> Answered:
    """Texts as answers, each by its question; where a text is empty the question is left out."""
    task = loaded.task
    pairs = [(question, text) for question, text in zip(loaded.questions, texts, strict=True) if text]
    before = task.joint if task.format == "plain" else ""
    answered = Answered(replace(loaded, questions=tuple(question for question, _ in pairs)), task.format)
    for question, text in pairs:
        answered.prompts.append(plain_text(task, question, loaded.preamble(question)))
        answered.dropped.append(0)
        said = before + text
        answered.written.append([WrittenAnswer(said if task.keep_stop else cut(said, task.stop), 0, "stop", 0, 0, 0)])
    return answered


def _chosen(loaded: Loaded, chosen: Sequence[set[int]]) -> Answered:
    """The options of these numbers, or with the very same text, are the likeliest, whatever their length."""
    answered = Answered(loaded, loaded.task.format)
    for question, numbers in zip(loaded.questions, chosen, strict=True):
        places = _places(question)
        likely = {places[number] for number in numbers}
        answered.prompts.append(plain_text(loaded.task, question, loaded.preamble(question)))
        answered.dropped.append(0)
        answered.ranked.append([Likelihood(0.0 if each in likely else UNLIKELY, 1, False) for each in places])
        answered.unconditional.append([Likelihood(0.0, 1, False)] * len(places))
    return answered


def _places(question: Question) -> list[tuple[str, str]]:
    """Each option with what comes before it; of two that are alike no model can like one better."""
    return list(zip(question.options, question.contexts or [""] * len(question.options), strict=True))


def kept(loaded: Loaded, pool: Pool, memos: Path) -> GoldCheck:
    """As `check`; one that passed is remembered under the content of questions, answers and code, and not done again.

    One that did not pass is never remembered: what was wrong may be mended outside (a package, the sandbox).
    """
    path = memos / "gold" / f"{_key(loaded)}.json"
    if path.is_file():
        return _read(path)
    found = check(loaded, pool)
    if not found.fault:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(found), ensure_ascii=True) + "\n")
    return found


def _key(loaded: Loaded) -> str:
    task = loaded.task
    texts = [] if task.form != "generate" or why_none(task) else [gold(task, each) for each in loaded.questions]
    shaping = [
        task.name,
        task.form,
        task.metric,
        task.verifier,
        dict(task.settings),
        task.stop,
        task.joint,
        task.format,
    ]
    questions = [asdict(question) for question in loaded.questions]
    left_out = {why: len(places) for why, places in loaded.left_out.items()}
    named = [
        {"dataset": name, "settings": {**task.settings, **question.settings}}
        for question in loaded.questions
        for name in (verifier_of(task, question), *task.also)
        if name
    ]
    code = [code_fingerprint("bactrian.evaluate.gold_check"), versions(named), platform.python_version()]
    code += [dict(packages())]
    return hash_json([shaping, questions, texts, left_out, code])[:32]


def _read(path: Path) -> GoldCheck:
    try:
        kept = json.loads(path.read_text())
        bads = {name: tuple(Bad(**each) for each in kept[name]) for name in ("bad", "fooled")}
        return GoldCheck(**{**kept, **bads})
    except (ValueError, TypeError, KeyError) as error:
        raise BactrianError(f"{path}: no gold check that can be read ({error}); remove the file") from None


def require(tasks: Sequence[Loaded], pool: Pool, memos: Path) -> dict[str, GoldCheck]:
    """The checks of the questions that are about to be asked, by task; a set that is asked in two
    ways has one.

    Where a few questions fall short by a row, all of them decide; tests that crash stop at once.

    Raises:
        BactrianError: naming the task, what is wrong and the first bad rows where a check does
            not pass.
    """
    found: dict[str, GoldCheck] = {}
    for some in tasks:
        if some.task.name in found:
            continue
        mine = kept(some, pool, memos)
        if mine.fault and not mine.crashed and some.beyond:
            mine = kept(some.whole, pool, memos)
        if mine.fault:
            more = f" `bactrian eval --gold {mine.task}` shows every bad row" if not some.questions[0].messages else ""
            raise BactrianError(f"task {mine.task}: {some.files}: {mine.fault}\nNothing is asked.{more}")
        _tell(some, mine)
        found[mine.task] = mine
    return found


def _tell(loaded: Loaded, found: GoldCheck) -> None:
    """Rows that were left out, and gold answers that are not called right, are never silent."""
    for why, places in loaded.left_out.items():
        say(
            f"task {found.task}: {len(places):,} of {loaded.rows:,} rows are no question of it: {why} "
            f"(the first: {places[0]})"
        )
    for each in found.bad:
        say(f"task {found.task}: a gold answer that its verifier does not call right: {each}")


def check_all(
    tasks: Sequence[Task], places: Sequence[Path], pool: Pool, hub: bool = True, limit: int | None = None
) -> dict[str, dict[str, Any]]:
    """Every task's check as JSON, made anew: `GoldCheck.as_json`, or {absent: why} where its data are not at hand.

    `limit`: so many questions of each, spread over its file. A file that is damaged or a verifier that is not to be
    used is {refused: why}: the other tasks go on.
    """
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        try:
            loaded = load(task, places, hub)
            some = loaded.questions[:: max(1, len(loaded.questions) // limit)] if limit else loaded.questions
            found[task.name] = check(loaded.limited_to(some), pool).as_json()
        except Absent as error:
            found[task.name] = {"absent": str(error)}
        except BactrianError as error:
            found[task.name] = {"refused": str(error)}
    return found

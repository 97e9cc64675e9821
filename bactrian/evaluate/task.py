"""What a task is: where its questions come from, how they are asked, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from bactrian.store.hashes import hash_json

Row = Mapping[str, Any]
Format = Literal["plain", "single", "multiturn"]
"""Text alone; one user message with the exemplars in it; each exemplar a turn of user and assistant."""
Form = Literal["generate", "rank", "bits"]
"""The model writes an answer; the likeliest of given answers is taken; a text's log-likelihood."""
FORMATS: tuple[Format, ...] = ("plain", "single", "multiturn")
Mode = Literal["greedy", "sampled"]
"""The likeliest token at each place; tokens drawn."""


class LeftOut(Exception):
    """A row that is no question of its task. Its text says why, in the same words for all rows of a kind."""


@dataclass(frozen=True)
class Shot:
    """An exemplar: a question as it is asked, cue included, and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Question:
    """One question of a task.

    prompt: its text, without the task's cue.
    truth, settings: what its verifier reads (docs/design.md, Problem).
    options, right: answers to be ranked, and the numbers of those that are right.
    contexts: where the options differ in what comes before them and not in themselves: a context for each.
    solution: a worked answer, where the data have one; the gold answer is written with it, and no model sees it.
    unconditional: what stands for the prompt when the options are ranked by how much it makes them likelier.
    group: the subject, category or sub-task; macro averages weigh groups alike.
    cluster: questions of one cluster (a passage) are not independent; "" where each stands alone.
    messages: a conversation that is asked as it is, without exemplars; the prompt is its last turn.
    verifier: its own, where the questions of a task have different ones.
    row: the row that it comes from, for a verifier in a user's own file.
    """

    prompt: str
    truth: str = ""
    options: tuple[str, ...] = ()
    right: tuple[int, ...] = ()
    group: str = ""
    cluster: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    contexts: tuple[str, ...] = ()
    unconditional: str = "Answer:"
    id: str = ""
    solution: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    verifier: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSource:
    """Where rows are found: files by the beginning of their names, else a data set of the Hub, by split and subset."""

    files: tuple[str, ...]
    hub: str = ""
    split: str = "test"
    subset: str | None = None


@dataclass(frozen=True)
class Preamble:
    """What comes before a group's questions: a sentence that describes them, and exemplars."""

    description: str = ""
    shots: tuple[Shot, ...] = ()


Preambles = Callable[[Sequence[Row]], Mapping[str, Preamble]]
Metric = Literal[
    "right", "share", "score", "acc", "acc_norm", "acc_token", "acc_pmi", "mc1", "mc2", "pass_at_k", "bits"
]
"""What is averaged over questions. right: whether its answer is right; share: the share of its samples that are right
(mean@n); score: the verifier's part marks; pass_at_k: whether one of k samples is right. The others are of ranked
options and of a text's likelihood (grading.py).
"""


@dataclass(frozen=True)
class Task:
    """A task as data plus a few lines, and how it is asked. A problem set is one too (problem_task.py).

    build: a row → its questions; it raises LeftOut for a row that is no question of this task.
    preamble: before every question; `preambles` gives one for each group, from `exemplars`' rows.
    cue: what a question ends with as a text ("\\nAnswer:"); in a chat it is left out, unless `keep_cue`.
    ask: what a user's turn ends with in a chat, where the form of an answer must be asked for.
    joint: between a question and its answer.
    verifier: of the written answers; `also` names further verifiers of the same answers (IFEval's strict).
    macro: the score is the mean over groups, not over questions.
    min_new_tokens: tokens before which no end token is drawn.
    stop: texts that end an answer; they are cut off, unless `keep_stop`. temperature, samples, k: of sampled tasks.
    at: pass@k is told for each of these k, whatever the metric.
    format: how it is asked unless something else is wanted.
    failures: the share of answers above which a verifier's own failures are an error, and not only a flag.
    traced: the score is also given without the questions that the model's training data hold.
    asks: of unseen tasks, the columns that say what is asked, by which its items are known again.
    gold: a question → what a model would write that answers it rightly; None: as is usual for its verifier
    (evaluate/gold_answers.py). A text that is empty: this question has no gold answer.
    """

    name: str
    suites: tuple[str, ...]
    skill: str
    source: TaskSource
    build: Callable[[Row], Sequence[Question]]
    form: Form = "generate"
    metric: Metric = "right"
    others: tuple[Metric, ...] = ()
    verifier: str = ""
    also: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    preamble: Preamble = Preamble()
    exemplars: TaskSource | None = None
    preambles: Preambles | None = None
    cue: str = ""
    keep_cue: bool = False
    ask: str = ""
    joint: str = " "
    macro: bool = False
    max_new_tokens: int = 256
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    k: int = 1
    at: tuple[int, ...] = ()
    keep_stop: bool = False
    failures: float = 1.0
    traced: bool = True
    format: Format = "multiturn"
    note: str = ""
    asks: tuple[str, ...] = ()
    gold: Callable[[Question], str] | None = None

    @property
    def unseen(self) -> bool:
        return "unseen" in self.suites

    @property
    def mode(self) -> Mode:
        return "sampled" if self.temperature > 0 else "greedy"


@dataclass(frozen=True)
class Loaded:
    """A task with its questions, and where they are from.

    digest: SHA-256 of all that shapes a score: questions, preambles, truths, limits, verifiers, metric.
    rows: rows that were read; files: what they were read from; content: SHA-256 of questions with their truths.
    asked: of unseen tasks and of problem sets, the rows.
    overlap: questions that are in training sets which they were held against; None where that was not done.
    beyond: questions that a limit left out.
    left_out: why rows are no question of the task → the places of these rows in the file.
    """

    task: Task
    questions: tuple[Question, ...]
    preambles: Mapping[str, Preamble]
    files: str
    rows: int
    content: str = ""
    asked: tuple[Row, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beyond: tuple[Question, ...] = ()
    overlap: int | None = None
    system: str = ""

    @property
    def whole(self) -> Loaded:
        return replace(self, questions=(*self.questions, *self.beyond), beyond=())

    def limited_to(self, kept: Sequence[Question]) -> Loaded:
        ids = {question.id for question in kept}
        beyond = tuple(question for question in self.questions if question.id not in ids)
        return replace(self, questions=tuple(kept), beyond=beyond)

    def preamble(self, question: Question) -> Preamble:
        return self.preambles.get(question.group, self.task.preamble)

    def asked_as(self, form: Format | None) -> Format:
        """The format that is wanted, or the task's own; conversations are asked as they are."""
        return self.task.format if form is None or self.questions[0].messages else form

    def verifiers(self) -> tuple[str, ...]:
        """The names of all that its answers are verified by, in order of name; none of ranked ones."""
        if self.task.form != "generate":
            return ()
        return tuple(sorted({*(each.verifier or self.task.verifier for each in self.questions), *self.task.also}))

    def digest(self, form: Format) -> str:
        task = self.task
        shaping = {
            "form": task.form,
            "metric": task.metric,
            "others": task.others,
            "verifier": task.verifier,
            "also": task.also,
            "settings": dict(task.settings),
            "cue": task.cue,
            "keep_cue": task.keep_cue,
            "ask": task.ask,
            "joint": task.joint,
            "macro": task.macro,
            "max_new_tokens": task.max_new_tokens,
            "stop": task.stop,
            "temperature": task.temperature,
            "top_p": task.top_p,
            "samples": task.samples,
            "k": task.k,
            "format": form,
        }
        shaping |= {"keep_stop": True} if task.keep_stop else {}
        shaping |= {"min_new_tokens": task.min_new_tokens} if task.min_new_tokens else {}
        shaping |= {"system": self.system} if self.system else {}
        preambles = {group: asdict(self.preambles[group]) for group in sorted(self.preambles)}
        questions = [asdict(each) for each in self.questions]
        for question in questions:
            del question["solution"]  # it shapes no score
            for name in ("messages", "verifier", "row"):
                if not question[name]:
                    del question[name]
        return hash_json([shaping, asdict(task.preamble), preambles, questions])

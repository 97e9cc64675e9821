"""Every task's requests, asked together: what is kept is not asked again, the rest is scheduled by cost.

Requests that begin alike go through the model one after another, so that few-shot examples are forwarded once; answers
of like length are written side by side, so that a short one does not wait for a long one's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bactrian.chat import TAGS, ChatTemplate, ThinkingReader, template_for
from bactrian.data.io.problem_rows import question_seed
from bactrian.errors import BactrianError
from bactrian.evaluate.answer_store import AnswerStore, Value, request_key
from bactrian.evaluate.prompting import AskedPrompt, Writer, cut
from bactrian.evaluate.task import Format, Loaded, Question, Task
from bactrian.generate.engine import Completion, Continuation, Request
from bactrian.model.packing import common_prefix
from bactrian.model.ranking import Ask, Likelihood
from bactrian.progress import progress

if TYPE_CHECKING:
    from bactrian.generate.engine import Engine

WINDOW = 2048
"""Tokens of a text whose likelihood is asked for at a time; each window sees no other."""
FLUSHED = 20
"""Answers after which the file is made safe."""
WORTH = 32
"""Tokens; what fewer prompts have in common is not worth a forward of its own."""
LENGTHS = (32, 128, 512, 1024)
"""Answers that may be up to this long run together."""


@dataclass(frozen=True)
class WrittenAnswer:
    """One sampled answer: its text up to the answer's first stop, its tokens, and how it ended.

    Thinking and answer apart as in `bactrian.chat.Parts`.
    """

    text: str
    tokens: int
    finish: str
    thinking_tokens: int
    answer_tokens: int
    answer_at: int


@dataclass
class Answered:
    """One model's answers to one task, asked in its way, question by question.

    prompts: the texts that were answered; dropped: exemplars left out of each so that it fits the context.
    written: of each question its samples. ranked: of each question its options' likelihoods, each with and (for
    `acc_pmi`) without the question.
    """

    loaded: Loaded
    format: Format
    model: str = ""
    prompts: list[str] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    written: list[list[WrittenAnswer]] = field(default_factory=list)
    ranked: list[list[Likelihood]] = field(default_factory=list)
    unconditional: list[list[Likelihood]] = field(default_factory=list)
    template_hash: str = ""
    reused: int = 0  # requests whose answers were kept before they were first asked for
    asked: int = 0  # all requests

    @property
    def place(self) -> str:
        """Its name among others of the same model."""
        return f"{self.loaded.task.name} · {self.loaded.task.mode}"


Tags = Sequence[str] | None
"""The tags in which a verifier expects thinking (`ThinkingReader.parts`)."""


@dataclass
class _Plan:
    """Requests by key, and what to do with the answers of all."""

    generate: dict[str, tuple[Request, Tags]] = field(default_factory=dict)
    rank: dict[str, Ask] = field(default_factory=dict)
    keys: dict[str, list[list[str]]] = field(default_factory=dict)  # by place and part, for each question its keys


@dataclass(frozen=True)
class Subject:
    """Who is asked: a template, the tokens of the context, and the engine, which is loaded when it is first needed."""

    template: ChatTemplate
    longest: int
    engine: Callable[[], Engine]

    @classmethod
    def of(cls, engine: Engine) -> Subject:
        return cls(engine.template, engine.longest, lambda: engine)

    @classmethod
    def of_folder(cls, folder: Path, template: str | None, load: Callable[[Path], Engine]) -> Subject:
        """A model folder, of which only the tokenizer is read now.

        Raises:
            BactrianError: for one that is no model.
        """
        from bactrian.model.folders import check_folder
        from bactrian.model.language_model import context_of, load_tokenizer

        check_folder(folder)
        tokenizer = load_tokenizer(folder)
        chat = ChatTemplate.load(tokenizer, template or template_for(tokenizer))
        return cls(chat, context_of(folder) or 2**30, lambda: load(folder))


def answer(
    subject: Subject,
    tasks: Sequence[Loaded],
    store: AnswerStore,
    form: Format | None,
    seed: int,
    title: str = "eval",
    counted: Callable[[list[Answered]], None] | None = None,
) -> list[Answered]:
    """One model's answers to all tasks. `form` None: each task's own format.

    `counted` is called when it is known how many answers are there already, before others are asked for.

    Where every answer is kept already the model is not loaded.

    Raises:
        BactrianError: for a question that does not fit the model's context.
    """
    plan, found = _Plan(), []
    for loaded in tasks:
        writer = Writer(loaded, subject.template, loaded.asked_as(form), subject.longest)
        answered = Answered(loaded, writer.format, title, template_hash=subject.template.digest)
        _plan(plan, writer, answered, seed)
        found.append(answered)
    for answered in found:
        keys = [key for part in _parts(answered) for group in plan.keys[part] for key in group]
        answered.asked = len(keys)
        answered.reused = sum(store.get(key) is not None for key in keys)
    if counted is not None:
        counted(found)
    if any(store.get(key) is None for key in (*plan.rank, *plan.generate)):
        model = subject.engine()
        _rank(model, plan.rank, store, title)
        _generate(model, plan.generate, store, title)
    for answered in found:
        _fill(answered, plan, store)
    return found


def _parts(answered: Answered) -> list[str]:
    name = answered.place
    return [name, f"{name}/unconditional"] if _needs_unconditional(answered.loaded) else [name]


def _needs_unconditional(loaded: Loaded) -> bool:
    return "acc_pmi" in (loaded.task.metric, *loaded.task.others)


def _plan(plan: _Plan, writer: Writer, answered: Answered, seed: int) -> None:
    """Write down every question of a task and note the requests that it makes."""
    task, questions = writer.task, writer.loaded.questions
    keys = plan.keys.setdefault(answered.place, [])
    bare = plan.keys.setdefault(f"{answered.place}/unconditional", [])
    if task.form == "generate":
        prompts = [writer.ask(question, task.max_new_tokens) for question in questions]
        begins = shared_by_group([[asked.ids] for asked in prompts], [question.group for question in questions])
        for question, asked, shared in zip(questions, prompts, begins, strict=True):
            _note(answered, asked)
            keys.append([_add_request(plan, task, question, asked.ids, shared, seed)])
    elif task.form == "rank":
        pairs = [writer.options(question) for question in questions]
        begins = shared_by_group([[asked.ids for asked, _ in each] for each in pairs], [q.group for q in questions])
        for question, options, shared in zip(questions, pairs, begins, strict=True):
            _note(answered, options[0][0])
            keys.append(_add_asks(plan, [(asked.ids, shared, rest) for asked, rest in options]))
            if _needs_unconditional(writer.loaded):
                both = [writer.plain.pair(question.unconditional, task.joint + each) for each in question.options]
                bare.append(_add_asks(plan, [(context, 0, rest) for context, rest in both]))
    else:
        for question in questions:
            _note(answered, AskedPrompt((), question.prompt))
            keys.append(_add_asks(plan, _windows(writer, question)))


def _note(answered: Answered, asked: AskedPrompt) -> None:
    answered.prompts.append(asked.text)
    answered.dropped.append(asked.dropped)


def shared_by_group(prompts: Sequence[Sequence[tuple[int, ...]]], groups: Sequence[str]) -> list[int]:
    """For each question how many first tokens all prompts of its group have in common, each with one of its own left.

    0 where that is not worth it, or where a group has one prompt.
    """
    members: dict[str, list[tuple[int, ...]]] = {}
    for mine, group in zip(prompts, groups, strict=True):
        members.setdefault(group, []).extend(mine)
    shared = {group: common_prefix(mine) for group, mine in members.items()}
    return [shared[group] if shared[group] >= WORTH else 0 for group in groups]


def _add_request(plan: _Plan, task: Task, question: Question, ids: tuple[int, ...], shared: int, seed: int) -> str:
    sampled = task.temperature > 0
    request = Request(
        ids,
        n=task.samples,
        seed=question_seed(seed, question.id) if sampled else 0,
        max_new_tokens=task.max_new_tokens,
        min_new_tokens=task.min_new_tokens,
        temperature=task.temperature,
        top_p=task.top_p,
        stop=task.stop,
        shared=shared,
    )
    parts = {
        "prompt": ids,
        "n": request.n,
        "seed": request.seed,
        "max_new_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": request.stop,
    }
    if task.min_new_tokens:
        parts["min_new_tokens"] = task.min_new_tokens
    tags = {**task.settings, **question.settings}.get("thinking", TAGS)
    if tags != TAGS:
        parts["tags"] = tags
    key = request_key("generate", **parts)
    plan.generate[key] = (request, tags)
    return key


def _add_asks(plan: _Plan, pairs: Iterable[tuple[tuple[int, ...], int, tuple[int, ...]]]) -> list[str]:
    """One key for each option."""
    keys = []
    for context, shared, option in pairs:
        key = request_key("likelihood", context=context, option=option)
        keys.append(key)
        plan.rank.setdefault(key, Ask(context, (option,), shared))
    return keys


def _windows(writer: Writer, question: Question) -> list[tuple[tuple[int, ...], int, tuple[int, ...]]]:
    """A whole text in pieces: the first after a beginning-of-sequence token, each later one after the token before."""
    ids = writer.plain.ids(question.prompt)
    first = writer.plain.first
    if first is not None and ids[:1] != (first,):
        ids = (first, *ids)
    size = min(WINDOW, writer.longest) - 1
    return [(ids[at : at + 1], 0, ids[at + 1 : at + 1 + size]) for at in range(0, len(ids) - 1, size)]


def _rank(model: Engine, asks: Mapping[str, Ask], store: AnswerStore, title: str) -> None:
    """Ask for what is missing; options of one context in one go."""
    merged: dict[tuple[tuple[int, ...], int], dict[tuple[int, ...], str]] = {}
    for key, ask in asks.items():
        if store.get(key) is None:
            merged.setdefault((ask.context, ask.shared), {})[ask.options[0]] = key
    groups = [Ask(context, tuple(options), shared) for (context, shared), options in merged.items()]
    keys = [list(options.values()) for options in merged.values()]
    if not groups:
        return
    with progress(f"{title} · likelihoods", total=len(groups), unit="question") as bar:
        for batch in model.likelihoods(groups):
            for number, found in batch:
                for key, each in zip(keys[number], found, strict=True):
                    store.put(key, [each.logprob, each.tokens, each.greedy])
            store.flush()
            bar.advance(len(batch))


def _generate(model: Engine, requests: Mapping[str, tuple[Request, Tags]], store: AnswerStore, title: str) -> None:
    """Ask for what is missing, answers of like length together."""
    missing = {key: asked for key, asked in requests.items() if store.get(key) is None}
    if not missing:
        return
    tokens = sum(request.n for request, _ in missing.values())
    with progress(f"{title} · answers", total=tokens, unit="answer") as bar:
        bounds = (2**30,) if model.schedules else (*LENGTHS, 2**30)
        for bound in bounds:
            lower = max((length for length in bounds if length < bound), default=0)
            part = {key: asked for key, asked in missing.items() if lower < asked[0].max_new_tokens <= bound}
            if part:
                _write(model, part, store, bar.advance)
    store.flush()


def _write(
    model: Engine,
    part: Mapping[str, tuple[Request, Tags]],
    store: AnswerStore,
    advance: Callable[..., None],
) -> None:
    keys, requests, tags = list(part), [asked for asked, _ in part.values()], [tags for _, tags in part.values()]
    reader = ThinkingReader(model.template)
    waiting: dict[int, dict[int, Completion]] = {}
    done = 0

    def keep(request: int, sample: int, completion: Completion) -> Continuation | None:
        nonlocal done
        mine = waiting.setdefault(request, {})
        mine[sample] = completion
        advance(1)
        if len(mine) == requests[request].n:
            samples = [mine[number] for number in range(requests[request].n)]
            store.put(keys[request], [kept(sample, requests[request], reader, tags[request]) for sample in samples])
            del waiting[request]
            done += 1
            if done % FLUSHED == 0:
                store.flush()
        return None

    model.generate(requests, on_finish=keep)


def kept(said: Completion, request: Request, reader: ThinkingReader, tags: Tags = TAGS) -> Value:
    """What is stored of an answer: the fields of `WrittenAnswer`, its text whole."""
    opened = reader.opened(reader.template.tokenizer.decode(request.prompt[-WORTH:]))
    parts = reader.parts(said.ids, said.text, opened, tags)
    return [parts.text, len(said.ids), said.finish, parts.thinking_tokens, parts.answer_tokens, parts.answer_at]


def written(value: Value, stops: Sequence[str]) -> WrittenAnswer:
    """A stored answer; its text ends before the answer's first stop (a thought may hold such a text)."""
    text, tokens, finish, thinking_tokens, answer_tokens, answer_at = value
    said = text[:answer_at] + cut(text[answer_at:], stops)
    return WrittenAnswer(said, tokens, finish, thinking_tokens, answer_tokens, answer_at)


def _fill(answered: Answered, plan: _Plan, store: AnswerStore) -> None:
    """Put the answers, which are all there now, where they belong."""

    def value(key: str) -> Value:
        found = store.get(key)
        if found is None:
            raise BactrianError(f"task {answered.loaded.task.name}: an answer is missing that should have been made")
        return found

    task, place = answered.loaded.task, answered.place
    if task.form == "generate":
        stops = () if task.keep_stop else task.stop
        answered.written = [[written(sample, stops) for sample in value(keys[0])] for keys in plan.keys[place]]
        return
    answered.ranked = [[Likelihood(*value(key)) for key in keys] for keys in plan.keys[place]]
    answered.unconditional = [[Likelihood(*value(key)) for key in keys] for keys in plan.keys[f"{place}/unconditional"]]

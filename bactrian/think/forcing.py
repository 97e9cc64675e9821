"""Budget forcing [Muennighoff et al. 2025]: thinking is cut at its limit, or goes on where its end is suppressed.

All of it is done on rows that go on from their own cache (generate.engine.Continuation): no token is forwarded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bactrian.chat import ChatTemplate, Messages, ThinkingFormat, prompt_ids
from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Continuation, Engine, Request
from bactrian.think.loops import find_loop
from bactrian.think.markers import Markers, Tail
from bactrian.think.thought import Budget, Ended, Thought


@dataclass(frozen=True)
class ThinkingQuestion:
    """What is to be thought about: a prompt with its thinking opened, how many samples, and their random stream."""

    prompt: tuple[int, ...]
    n: int = 1
    seed: int = 0
    temperature: float = 0.0  # of the thinking
    top_p: float = 1.0


def opened_prompt(
    messages: Messages, template: ChatTemplate, form: ThinkingFormat, where: str = "conversation"
) -> tuple[int, ...]:
    """The ids of a prompt and of what opens the thinking, unless the template's generation prompt
    opened it already.

    Raises:
        BactrianError: for messages that are no prompt.
    """
    ids = tuple(prompt_ids(messages, template, where))
    opening = Markers(template, form).opening
    already = template.write(messages, True).rstrip().endswith(form.opening.strip()) if form.opening.strip() else True
    return ids if already else ids + opening


@dataclass
class State:
    """A row on its way. tail: what of `ids` ends the thinking; answer_start: where the answer's tokens begin."""

    thinking: bool = True
    ended: Ended = "itself"
    end: int = 0  # tokens of thinking, once it is over
    shared: str = ""  # of the last of them, what is not of the delimiter, where it holds some of both
    answer_start: int = 0
    waits: list[int] = field(default_factory=list)
    put_back: str = ""  # what the last continuation begins with that was sampled, in a token with a delimiter's sign
    taken_back: int = 0


class Forcing:
    """Decides for every row how it goes on; one object per call of the engine.

    `on_finish` is what the engine is given. `limits[i]` is the budget of request i, in tokens.
    """

    def __init__(
        self,
        markers: Markers,
        budget: Budget,
        limits: Sequence[int],
        on_thought: Callable[[int, int, Thought], None] | None = None,
    ) -> None:
        self.markers, self.budget, self.limits = markers, budget, limits
        self.extension = markers.plain(budget.extension)
        self.on_thought = on_thought
        self.states: dict[tuple[int, int], State] = {}
        self.thoughts: dict[tuple[int, int], Thought] = {}

    def on_finish(self, request: int, sample: int, completion: Completion) -> Continuation | None:
        state = self.states.setdefault((request, sample), State(thinking=self.limits[request] > 0))
        if state.thinking:
            return self._stopped_thinking(state, completion, self.limits[request])
        if not self.limits[request]:
            state.ended = "budget"
        thought = self._thought(state, completion)
        self.thoughts[request, sample] = thought
        if self.on_thought:
            self.on_thought(request, sample, thought)
        return None

    def _stopped_thinking(self, state: State, completion: Completion, limit: int) -> Continuation:
        ids, markers = completion.ids, self.markers
        cut = completion.finish == "length"
        tail = markers.half_an_ending(ids) if cut else markers.ending(ids)
        before = self._kept(tail)
        thought = len(ids) - tail.tokens + len(before)
        state.put_back = tail.before if before else ""
        room = limit - thought - len(self.extension)
        if not cut and len(state.waits) < self.budget.waits and room > 0 and thought + len(self.extension) > 0:
            state.waits.append(thought)
            state.taken_back += tail.tokens
            banned = () if self.extension else ids[len(ids) - tail.tokens :][:1]
            return Continuation((*before, *self.extension), room, drop=tail.tokens, banned=banned)
        state.thinking, state.end = False, thought
        state.ended = "budget" if cut else "turn" if ids[-1] in markers.ends else "itself"
        if state.ended == "itself":  # the model's own delimiter stays where it is
            state.end, state.shared = len(ids) - tail.tokens + bool(tail.before), tail.before
            return self._answer(state, len(ids), markers.header_after(tail.after), 0)
        state.taken_back += tail.tokens
        closing = markers.closing + (markers.final if cut else ())
        return self._answer(state, len(ids) - tail.tokens, (*before, *closing), tail.tokens)

    def _kept(self, tail: Tail) -> tuple[int, ...]:
        """Ids of the text that shares a token with the delimiter; none if they would be more than they replace."""
        ids = self.markers.plain(tail.before) if tail.before else ()
        return ids if len(ids) <= tail.tokens else ()

    def _answer(self, state: State, start: int, forced: tuple[int, ...], drop: int) -> Continuation:
        state.answer_start = start + len(forced)
        markers = self.markers
        return Continuation(
            forced,
            self.budget.answer,
            drop,
            markers.no_answer,
            markers.answer_stop,
            markers.stop_ids,
            0.0 if self.budget.greedy_answer else None,
        )

    def _thought(self, state: State, completion: Completion) -> Thought:
        ids, markers = completion.ids, self.markers
        forced = completion.forced
        own = [logprob for i, logprob in enumerate(completion.logprobs) if not any(a <= i < b for a, b in forced)]
        said = markers.answer(ids[state.answer_start :]).strip()
        answer = f"{self.budget.final} {said}".strip() if state.ended == "budget" else said
        thinking = ids[: state.end]
        whole = markers.text(thinking[:-1]) + state.shared if state.shared else markers.text(thinking)
        return Thought(
            ids=ids,
            thinking=whole.strip(),
            answer=answer,
            thinking_tokens=state.end,
            answer_tokens=len(ids) - state.answer_start,
            ended=state.ended,
            waits=tuple(state.waits),
            forced=forced,
            sampled=len(own) + state.taken_back,
            taken_back=state.taken_back,
            finish=completion.finish,
            logprob=sum(own) / len(own) if own else 0.0,
            loop=find_loop(thinking),
        )


def thinking_limits(
    questions: Sequence[ThinkingQuestion], markers: Markers, budget: Budget, longest: int, names: Sequence[str]
) -> list[int]:
    """The budget of each question in tokens; where none is given, what the context leaves beside
    prompt and answer.

    Raises:
        BactrianError: naming the first question whose budget does not fit the context.
    """
    around = len(markers.closing) + len(markers.final) + budget.answer
    limits = []
    for question, name in zip(questions, names, strict=True):
        room = longest - len(question.prompt) - around
        limit = room if budget.thinking is None else budget.thinking
        if room < max(limit, 0):
            raise BactrianError(
                f"{name}: a prompt of {len(question.prompt)} tokens, a budget of {max(limit, 0)} and {around} for the "
                f"answer make more than the model's context of {longest}; the budget may be {max(room, 0)} at most"
            )
        limits.append(limit)
    return limits


def think(
    engine: Engine,
    questions: Sequence[ThinkingQuestion],
    form: ThinkingFormat,
    budget: Budget,
    *,
    names: Sequence[str] | None = None,
    on_tokens: Callable[[int], None] | None = None,
    on_thought: Callable[[int, int, Thought], None] | None = None,
) -> list[list[Thought]]:
    """A thought for every sample of every question, in order; `on_thought` hears of each as it is done.

    No thinking is longer than its budget, and each ends in an answer section with an answer of at least one token: by
    construction, whatever the model says. A prompt is forwarded once for all its samples, every other token once.

    Raises:
        BactrianError: a budget that does not fit the context, naming the question by `names`.
    """
    markers = Markers(engine.template, form, budget.final)
    names = names or [f"question {number}" for number in range(len(questions))]
    limits = thinking_limits(questions, markers, budget, engine.longest, names)
    forcing = Forcing(markers, budget, limits, on_thought)
    asked = [request(question, limit, markers, budget) for question, limit in zip(questions, limits, strict=True)]
    engine.generate(asked, on_tokens, forcing.on_finish)
    return [[forcing.thoughts[i, sample] for sample in range(q.n)] for i, q in enumerate(questions)]


def request(question: ThinkingQuestion, limit: int, markers: Markers, budget: Budget) -> Request:
    """What the engine is asked first: to think, or with a budget of 0 to answer at once."""
    if limit:
        return Request(
            question.prompt,
            question.n,
            question.seed,
            limit,
            question.temperature,
            question.top_p,
            stop=markers.stop,
            stop_ids=markers.stop_ids,
        )
    return answer_request(question, (*markers.closing, *markers.final), markers, budget)


def answer_request(question: ThinkingQuestion, closing: tuple[int, ...], markers: Markers, budget: Budget) -> Request:
    """The answer to a prompt whose thinking is over, once `closing` is written after it."""
    temperature = 0.0 if budget.greedy_answer else question.temperature
    return Request(
        (*question.prompt, *closing),
        question.n,
        question.seed,
        budget.answer,
        temperature,
        question.top_p,
        stop=markers.answer_stop,
        stop_ids=markers.stop_ids,
        banned=markers.no_answer,
    )

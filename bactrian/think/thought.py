"""What a model thought before it answered: its tokens, counted and told apart."""

from dataclasses import dataclass
from typing import Literal

from bactrian.think.loops import Loop

Ended = Literal["itself", "turn", "budget"]
"""How thinking came to its end: by the model's delimiter, by its end token (it would have said no answer), or cut."""


@dataclass(frozen=True)
class Budget:
    """Limits of one thought [s1, Muennighoff et al. 2025].

    thinking: the most tokens of thinking, inserted ones included; 0 is none at all; None: what the
        model's context leaves.
    waits: how many times the end of thinking is suppressed, and `extension` appended instead.
    final: what begins the answer where thinking was cut by the budget.
    answer: the most tokens of the answer that are sampled.
    greedy_answer: the answer is the likeliest one, whatever the temperature of the thinking.
    """

    thinking: int | None = None
    waits: int = 0
    extension: str = "Wait"
    final: str = "Final Answer:"
    answer: int = 64
    greedy_answer: bool = True

    def __post_init__(self) -> None:
        if self.answer < 1 or self.waits < 0 or (self.thinking is not None and self.thinking < 0):
            raise ValueError(f"thinking {self.thinking}, waits {self.waits}, answer {self.answer}: out of range")


@dataclass(frozen=True)
class Thought:
    """One completion of a prompt that had its thinking opened.

    ids: all that follows the prompt: thinking, what ends it, answer; as the model saw it.
    thinking, answer: the texts, without what stands between them.
    thinking_tokens: of ids, what comes before the delimiter: sampled ones and extensions; never above the budget.
    answer_tokens: sampled after the header, the end token included.
    ended: how the thinking ended. waits: where in `ids` an end was suppressed.
    forced: [start, stop) in ids of what was not sampled: extensions, what closes the thinking and begins the answer.
    sampled: tokens drawn in all, those that were removed again (`taken_back`) included.
    finish: of the answer: "stop" or "length". logprob: mean over the sampled tokens that stayed; 0 if there are none.
    loop: where the thinking repeats itself.
    """

    ids: tuple[int, ...]
    thinking: str
    answer: str
    thinking_tokens: int
    answer_tokens: int
    ended: Ended
    waits: tuple[int, ...]
    forced: tuple[tuple[int, int], ...]
    sampled: int
    taken_back: int
    finish: Literal["stop", "length"]
    logprob: float
    loop: Loop | None

    @property
    def forced_tokens(self) -> int:
        return sum(stop - start for start, stop in self.forced)

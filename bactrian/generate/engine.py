"""What a sampler is asked and what it answers; every backend speaks this and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.chat import ChatTemplate
    from bactrian.model.ranking import Ask, Likelihood


@dataclass(frozen=True)
class Request:
    """A prompt, and how to continue it `n` times.

    `seed` names the request's own random stream: sample i of a request depends on (seed, i) and the prompt, never on
    what else is being sampled.
    """

    prompt: tuple[int, ...]
    n: int = 1
    seed: int = 0
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0: greedy
    top_p: float = 1.0  # keep the smallest set of tokens whose probability reaches this; 1: all
    top_k: int = 0  # keep the k likeliest tokens; 0: all
    stop: tuple[str, ...] = ()  # texts that end the completion; the text found is kept at its end
    stop_ids: tuple[int, ...] = ()  # tokens that end it, besides the template's end tokens; kept likewise
    banned: tuple[int, ...] = ()  # tokens that the first one may not be; its logprob is that without them
    min_new_tokens: int = 0  # before so many no end token of the template is drawn; its logprob is that without them
    presence_penalty: float = 0.0  # taken off the logit of every token that the completion holds already, however often
    shared: int = 0  # first tokens that other requests begin with too (few-shot examples): forwarded once for all

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a request needs a prompt of at least one token")
        if self.n < 1 or self.max_new_tokens < 1:
            raise ValueError(f"n ({self.n}) and max_new_tokens ({self.max_new_tokens}) must be at least 1")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ValueError(f"min_new_tokens ({self.min_new_tokens}) must be 0 to {self.max_new_tokens}")
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(f"temperature {self.temperature}, top_p {self.top_p}, top_k {self.top_k}: out of range")
        if not -2 <= self.presence_penalty <= 2:
            raise ValueError(f"presence_penalty {self.presence_penalty}: expected -2 to 2")
        if not 0 <= self.shared < len(self.prompt):
            raise ValueError(f"shared ({self.shared}) must leave a token of the prompt ({len(self.prompt)})")

    @property
    def trunk(self) -> tuple[int, ...]:
        """What this request and others begin with."""
        return self.prompt[: self.shared]


@dataclass(frozen=True)
class Completion:
    """One continuation of a prompt.

    ids: as sampled, the end token included where it was sampled.
    text: the ids decoded without special tokens.
    logprobs: of each id under the sampled model at the request's temperature (at temperature 1 when greedy), before
        top-p and top-k cut the distribution, and after a presence penalty.
    finish: "stop" (an end token or a stop text) or "length" (`max_new_tokens` reached).
        Empty where an engine cannot say them: of a distribution that was cut, by vLLM.
    version: of the weights that sampled it, as the engine was told; where several did, of the first.
    forced: [start, stop) in ids of tokens that were appended, not sampled (see `Continuation`); their logprobs are 0.
    versions: (version, start, stop) of ids that other weights sampled than those before; empty where all are of one.
    """

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    version: int = 0
    forced: tuple[tuple[int, int], ...] = ()
    versions: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Continuation:
    """How a finished completion goes on from its cache: tokens to append (a tool's answer, "wait"), then more sampling.

    Nothing is forwarded again: the tokens appended and those sampled after them are all that it costs. Only where
    tokens are dropped and none appended, the last one kept is forwarded once more, for what may follow it.
    """

    ids: tuple[int, ...] = ()
    max_new_tokens: int = 256  # sampled after `ids`
    drop: int = 0  # tokens at the end of the completion that are taken back first, and forgotten by the cache
    banned: tuple[int, ...] = ()  # tokens that the next one sampled may not be; its logprob is that without them
    stop: tuple[str, ...] | None = None  # from here on; None: as the request said
    stop_ids: tuple[int, ...] | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.drop < 0:
            raise ValueError(f"max_new_tokens ({self.max_new_tokens}) must be at least 1, drop ({self.drop}) 0")


# what is to happen with a completion that has just finished, by its request's and sample's number: None lets it go
OnFinish = Callable[[int, int, Completion], Continuation | None]


class Engine(Protocol):
    """Samples completions, and says how likely given ones are. Opened by `engines.open_engine`.

    version: of the weights; who changes them sets it, and completions carry it.
    template: how messages become the model's tokens. longest: tokens of prompt and completion that the model can hold.
    schedules: it has an order of its own for whatever it is asked, so it is best asked everything in one call.
    An engine of your own derives from this class, for `check_fits`.
    """

    version: int
    schedules: bool = False

    @property
    def template(self) -> ChatTemplate: ...
    @property
    def longest(self) -> int: ...

    def generate(
        self,
        requests: Sequence[Request],
        on_tokens: Callable[[int], None] | None = None,
        on_finish: OnFinish | None = None,
    ) -> list[list[Completion]]:
        """The completions of each request, in order, n for each.

        `on_tokens` hears how many tokens were just drawn. `on_finish` hears of each completion as it finishes, while
        others are still being sampled, and may have it go on.
        """
        ...

    def stream(self, request: Request) -> Iterator[str]:
        """The text of one completion, piece by piece."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """What a completion's tokens say; control tokens say nothing."""
        ...

    def likelihoods(self, asks: Sequence[Ask]) -> Iterator[list[tuple[int, list[Likelihood]]]]:
        """Batches of (number of the ask, a `Likelihood` for each of its continuations), in any order."""
        ...

    def check_fits(self, prompts: Sequence[Sequence[int]], max_new_tokens: int, names: Sequence[str]) -> None:
        """Refuse prompts that leave too little of the model's context, before any work.

        Raises:
            BactrianError: naming the first of them.
        """
        for name, prompt in zip(names, prompts, strict=True):
            need = len(prompt) + max_new_tokens
            if need > self.longest:
                raise BactrianError(
                    f"{name}: a prompt of {len(prompt)} tokens and max_new_tokens {max_new_tokens} make "
                    f"{need}; the model's context is {self.longest}: max_new_tokens may be "
                    f"{max(0, self.longest - max(map(len, prompts)))} at most"
                )

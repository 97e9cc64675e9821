"""Engine `echo`: no model is asked; an answer is the end of its prompt. Chosen by `hardware: {engine: echo}`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bactrian.chat import ChatTemplate, template_for
from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Engine, OnFinish, Request
from bactrian.model.folders import check_folder
from bactrian.model.language_model import LanguageModel, context_of, load_tokenizer
from bactrian.model.ranking import Ask, Likelihood
from bactrian.store.hardware import Hardware


def open_echo(model: Path | LanguageModel, hardware: Hardware, template: str | None, rows: int) -> "Echo":
    """What `open_engine` calls. Only the folder's tokenizer is read."""
    if isinstance(model, LanguageModel):
        return Echo(model.template, None)
    check_folder(model)
    tokenizer = load_tokenizer(model)
    return Echo(ChatTemplate.load(tokenizer, template or template_for(tokenizer)), context_of(model))


class Echo(Engine):
    """Says again what its prompt ends with, as many tokens as a request allows."""

    def __init__(self, template: ChatTemplate, longest: int | None) -> None:
        self.version = 0
        self._template, self._longest = template, longest or 2**30

    @property
    def template(self) -> ChatTemplate:
        return self._template

    @property
    def longest(self) -> int:
        return self._longest

    def generate(
        self,
        requests: Sequence[Request],
        on_tokens: Callable[[int], None] | None = None,
        on_finish: OnFinish | None = None,
    ) -> list[list[Completion]]:
        """The same completion n times.

        Raises:
            BactrianError: for one that is to go on after it has finished.
        """
        answers = [[self._completion(asked)] * asked.n for asked in requests]
        for number, group in enumerate(answers):
            for sample, completion in enumerate(group):
                if on_tokens:
                    on_tokens(len(completion.ids))
                if on_finish and on_finish(number, sample, completion) is not None:
                    raise BactrianError("the engine echo cannot continue a completion; use the engine local")
        return answers

    def stream(self, request: Request) -> Iterator[str]:
        yield self._completion(request).text

    def text(self, ids: Sequence[int]) -> str:
        return str(self.template.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def likelihoods(self, asks: Sequence[Ask]) -> Iterator[list[tuple[int, list[Likelihood]]]]:
        """
        Raises:
            BactrianError: without a model there are none.
        """
        raise BactrianError("the engine echo has no likelihoods; use the engine local")

    def _completion(self, asked: Request) -> Completion:
        ids = asked.prompt[-asked.max_new_tokens :]
        return Completion(ids, self.text(ids), (0.0,) * len(ids), "length")

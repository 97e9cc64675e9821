"""Where in a row's tokens its thinking ends, whatever tokens the delimiter was written with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bactrian.chat import ChatTemplate, ThinkingFormat, literal_ids
from bactrian.errors import BactrianError


@dataclass(frozen=True)
class Tail:
    """The last `tokens` ids end the thinking; `before` and `after` are texts in them around the delimiter.

    A tokenizer may join the delimiter's first or last sign with its neighbours: ".</" is one token of many.
    """

    tokens: int
    before: str = ""
    after: str = ""


class Markers:
    """A format in the tokens of a template."""

    def __init__(self, template: ChatTemplate, form: ThinkingFormat, final: str = "") -> None:
        """
        Raises:
            BactrianError: for a delimiter that is neither one token nor plain text.
        """
        self.form = form
        self.template = template
        self.ends = frozenset(template.end_ids)
        self.opening = literal_ids(template, form.opening)
        self.closing = literal_ids(template, form.closing)
        self.final = literal_ids(template, final)
        ids = literal_ids(template, form.delimiter)
        controls = {control.id for control in template.encoder.controls.values()}
        if len(ids) > 1 and controls & set(ids):
            raise BactrianError(
                f"thinking format: the delimiter {form.delimiter!r} is {len(ids)} tokens, one of them a special one; "
                "expected a single token or plain text"
            )
        self.stop_ids = ids if len(ids) == 1 else ()
        self.stop = () if ids[0] in controls else (form.delimiter,)
        self.answer_stop = (form.end,) if form.end else ()
        # what an answer may not begin with, so that there is one
        self.no_answer = tuple(controls | self.ends | {*self.stop_ids})

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say; control tokens say nothing."""
        said: str = self.template.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return said

    def header_after(self, after: str) -> tuple[int, ...]:
        """What begins the answer once the delimiter is written, with `after` in its last token."""
        rest = self.form.header.removeprefix(after)
        return literal_ids(self.template, rest) if rest else ()

    def answer(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens without what ends it."""
        if ids and ids[-1] in self.stop_ids:
            ids = ids[:-1]
        text = self.text(ids)
        return text.rstrip().removesuffix(self.form.end) if self.form.end else text

    def plain(self, text: str) -> tuple[int, ...]:
        """Ids of text that goes on a sentence: no control tokens."""
        return tuple(self.template.encoder.text(text))

    def ending(self, ids: Sequence[int]) -> Tail:
        """Of a row that stopped: the tokens that end its thinking."""
        if ids[-1] in self.ends or ids[-1] in self.stop_ids:
            return Tail(1)
        for tokens in range(1, len(ids) + 1):
            before, found, after = self.text(ids[-tokens:]).rpartition(self.form.delimiter)
            if found:
                return Tail(tokens, before, after)
        raise AssertionError("the row stopped, but not at the delimiter")

    def half_an_ending(self, ids: Sequence[int]) -> Tail:
        """Of a row that was cut: the tokens of a delimiter that it had begun, two of its characters at least."""
        delimiter = self.form.delimiter
        if not self.stop:
            return Tail(0)  # one token cannot be cut in half
        for tokens in range(1, min(len(delimiter), len(ids)) + 1):
            text = self.text(ids[-tokens:])
            for size in range(min(len(delimiter) - 1, len(text)), 1, -1):
                if text.endswith(delimiter[:size]):
                    return Tail(tokens, text[:-size])
        return Tail(0)

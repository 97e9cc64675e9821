"""How a model's thinking is separated from its answer: as the chat template does it, by a named format, or as given."""

from collections.abc import Sequence
from dataclasses import dataclass

from bactrian.chat.encoder import Part
from bactrian.chat.skeleton import shape_of
from bactrian.chat.template import ChatTemplate
from bactrian.errors import BactrianError


@dataclass(frozen=True)
class ThinkingFormat:
    """An assistant's turn is `opening` thinking `before` `delimiter` `header` answer `end`, then the end token.

    delimiter  what says that thinking is over: a model that wants to answer writes it. One token of its own, or text
    before     what stands before it when it is written for the model, such as a line break
    header     what follows it and begins the answer
    end        what closes the answer besides the end token; "" for nothing

    >>> FORMATS["s1"].closing
    '\\n<|im_start|>answer\\n'
    """

    opening: str
    delimiter: str
    before: str = ""
    header: str = ""
    end: str = ""

    @property
    def closing(self) -> str:
        """From the end of the thinking to the beginning of the answer."""
        return self.before + self.delimiter + self.header

    def split(self, text: str) -> tuple[str, str | None]:
        """(thinking, answer) of a completion's text, which may or may not begin with the opening.

        The answer is None where thinking was never ended; a text that neither opens nor ends any is all answer.

        >>> FORMATS["tags"].split("<think>\\n7 or 8?\\n</think>\\n\\nIt is 8.")
        ('7 or 8?', 'It is 8.')
        """
        opened = self.opening.strip()
        begins = bool(opened) and text.lstrip().startswith(opened)
        said = text.lstrip().removeprefix(opened) if begins else text
        thinking, ended, answer = said.rpartition(self.delimiter)
        if not ended:
            return (said.strip(), None) if begins else ("", text)
        return thinking.strip(), _without(answer, self.header.strip(), self.end)


def _without(text: str, start: str, end: str) -> str:
    return text.strip().removeprefix(start).removesuffix(end or "\0").strip()


FORMATS: dict[str, ThinkingFormat] = {
    # Qwen3, DeepSeek-R1 and many others
    "tags": ThinkingFormat("<think>\n", "</think>", "\n", "\n\n"),
    # the template `think`: the answer has tags of its own
    "think": ThinkingFormat("<think>", "</think>", "", "\n<answer>", "</answer>"),
    # s1 [Muennighoff et al. 2025]: the token that begins any turn of ChatML ends the thinking
    "s1": ThinkingFormat("<|im_start|>think\n", "<|im_start|>", "\n", "answer\n"),
}


def of_template(template: ChatTemplate) -> ThinkingFormat | None:
    """The format in which a template writes `reasoning_content`; None if it leaves it out.

    Of what it writes between reasoning and answer, the delimiter is the first tag `<…>`, or all of it without the white
    space around where there is none.
    """
    probe = [
        {"role": "user", "content": "probe"},
        {"role": "assistant", "content": "probe", "reasoning_content": "probe"},
    ]
    try:
        answer = template.segments(shape_of(probe))[-1]
    except BactrianError:
        return None
    slots = [i for i, part in enumerate(answer.parts) if not isinstance(part, Part)]
    opening, between, end = (
        "".join(p.text for p in part if isinstance(p, Part))
        for part in (answer.parts[: slots[0]], answer.parts[slots[0] : slots[1]], answer.parts[slots[1] :])
    )
    start = len(between) - len(between.lstrip())
    tag_end = between.find(">") + 1 if between[start : start + 1] == "<" else 0
    stop = tag_end or len(between.rstrip())
    if start >= stop:
        return None  # nothing but white space between the two: nobody could tell where thinking ends
    end = template.encoder.pattern.split(end)[0]  # the end token is the template's own business
    return ThinkingFormat(opening, between[start:stop], between[:start], between[stop:], end)


def thinking_format(template: ChatTemplate, name: str = "auto") -> ThinkingFormat:
    """The format of this name; "auto" is the template's own, or `tags` where it has none.

    Raises:
        BactrianError: for an unknown name.
    """
    if name == "auto":
        return of_template(template) or FORMATS["tags"]
    if name not in FORMATS:
        raise BactrianError(f"thinking format {name!r}: expected auto or one of {', '.join(FORMATS)}")
    return FORMATS[name]


def literal_ids(template: ChatTemplate, text: str) -> tuple[int, ...]:
    """The token ids of what a format writes, its control tokens included (as what a template writes)."""
    return tuple(template.encoder.parts([Part(text, True)]))


Tags = tuple[str, str]
TAGS: Tags = ("<think>", "</think>")
"""How a thinking section begins and ends for whoever reads text, such as a verifier, unless told otherwise."""


@dataclass(frozen=True)
class Parts:
    """A completion with its thinking separated from its answer.

    text: the whole. Its thinking stands between the tags that a reader looks for, where the template's own way of
        saying so is not text (a control token) or other text (a closing tag within it is then left out); else it is
        the completion as it was.
    answer_at: the character of `text` at which the answer begins: 0 without thinking, its length without an answer.
    thinking_tokens: sampled before the delimiter that ended the thinking. answer_tokens: after it, end token included.
    """

    text: str
    answer_at: int
    thinking_tokens: int
    answer_tokens: int

    @property
    def thinking(self) -> str:
        return self.text[: self.answer_at]

    @property
    def answer(self) -> str:
        return self.text[self.answer_at :]


class ThinkingReader:
    """Tells thinking and answer of a template's completions apart, by the tokens that were sampled."""

    def __init__(self, template: ChatTemplate, form: ThinkingFormat | None = None) -> None:
        """`form`: by default the template's own, or `tags` where it has none."""
        self.template, self.form = template, form or thinking_format(template)
        self.controls = {control.id for control in template.encoder.controls.values()}
        self.mark = literal_ids(template, self.form.delimiter)
        self.first = next((id for id in literal_ids(template, self.form.opening)[:1] if id in self.controls), None)

    def opened(self, prompt: str) -> bool:
        """Whether a prompt, as the template writes it, has opened the thinking already."""
        opening = self.form.opening.strip()
        return bool(opening) and prompt.rstrip().endswith(opening)

    def parts(self, ids: Sequence[int], text: str, opened: bool = False, tags: Sequence[str] | None = TAGS) -> Parts:
        """A completion's tokens and text, thinking and answer separated.

        Args:
            opened: the prompt has opened the thinking, so that all is thinking until it ends.
            tags: those that a reader of the text looks for; None: it wants the text as it is.
        """
        begins = not opened and self.first is not None and self.first in ids[:1]
        span = self._ending(ids, text, int(begins))
        if span is None:
            return self._unended(ids, text, begins, opened, tags)
        start, stop, shared = span
        tokens = {"thinking_tokens": start + bool(shared), "answer_tokens": len(ids) - stop}
        told = self.mark[0] not in self.controls and (tags is None or self.form.delimiter == tags[1])
        if told or tags is None:
            after = text.rpartition(self.form.delimiter)[2] if told else self._said(ids[stop:])
            return Parts(text, len(text) - len(after), **tokens)
        thinking = _without(self._said(ids[:start]) + shared, self._opening(begins), "")
        answer = _without(self._said(ids[stop:]), self.form.header.strip(), self.form.end)
        before = f"{tags[0]}\n{thinking.replace(tags[1], ' ')}\n{tags[1]}\n\n"
        return Parts(before + answer, len(before), **tokens)

    def _unended(self, ids: Sequence[int], text: str, begins: bool, opened: bool, tags: Sequence[str] | None) -> Parts:
        """A completion whose thinking never ended: all of it is thinking, if it began any."""
        began = self.form.opening.strip()
        if not (begins or opened or (began and text.lstrip().startswith(began))):
            return Parts(text, 0, 0, len(ids))
        if tags is not None and not text.lstrip().startswith(tags[0]):
            text = f"{tags[0]}\n{_without(text, self._opening(begins), '').replace(tags[1], ' ')}"
        return Parts(text, len(text), len(ids), 0)

    def _opening(self, begins: bool) -> str:
        """What of the opening shows where control tokens do not. `begins`: its first, a control token, was said."""
        shown = "".join(self.template.encoder.pattern.split(self.form.opening)[::2]).strip()
        return shown if begins or self.first is None else ""

    def _said(self, ids: Sequence[int]) -> str:
        said: str = self.template.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return said

    def _ending(self, ids: Sequence[int], text: str, begin: int) -> tuple[int, int, str] | None:
        """Tokens [start, stop) that hold the delimiter, and what else the first of them says before it.

        Of several the last, as verifiers take it; of a control token the first: it ends whatever it stands in.
        """
        if self.mark[0] in self.controls:
            place = next((place for place in range(begin, len(ids)) if ids[place] == self.mark[0]), None)
            return None if place is None else (place, place + 1, "")
        delimiter = self.form.delimiter
        if delimiter not in text or delimiter not in self._said(ids[begin:]):
            return None
        start, beyond = begin, len(ids)  # the last token from which on it is there
        while beyond - start > 1:
            middle = (start + beyond) // 2
            start, beyond = (middle, beyond) if delimiter in self._said(ids[middle:]) else (start, middle)
        stop = next(end for end in range(start + 1, len(ids) + 1) if delimiter in self._said(ids[start:end]))
        return start, stop, self._said(ids[start:stop]).partition(delimiter)[0]

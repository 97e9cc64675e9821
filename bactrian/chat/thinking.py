"""How a model's thinking is told from its answer: read off the chat template, chosen by name, or given."""

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
        thinking, ended, answer = text.rpartition(self.delimiter)
        if not ended:
            begins = bool(opened) and text.lstrip().startswith(opened)
            return (_without(text, opened, ""), None) if begins else ("", text)
        return _without(thinking, opened, ""), _without(answer, self.header.strip(), self.end)


def _without(text: str, start: str, end: str) -> str:
    return text.strip().removeprefix(start).removesuffix(end or "\0").strip()


FORMATS: dict[str, ThinkingFormat] = {
    # Qwen3, DeepSeek-R1 and many others
    "tags": ThinkingFormat("<think>\n", "</think>", "\n", "\n\n"),
    # the template `think`: the answer has tags of its own
    "think": ThinkingFormat("<think>", "</think>", "", "\n<answer>", "</answer>"),
    # s1 [SPEC §6.3]: the token that begins any turn of ChatML ends the thinking
    "s1": ThinkingFormat("<|im_start|>think\n", "<|im_start|>", "\n", "answer\n"),
}


def of_template(template: ChatTemplate) -> ThinkingFormat | None:
    """The format in which a template writes `reasoning_content`; None if it leaves it out.

    Of what it writes between reasoning and answer, the delimiter is the first tag `<…>`, or all of it without the white
    space around where there is none.
    """
    probe = [{"role": "user", "content": "probe"},
             {"role": "assistant", "content": "probe", "reasoning_content": "probe"}]  # fmt: skip
    try:
        answer = template.segments(shape_of(probe))[-1]
    except BactrianError:
        return None
    slots = [i for i, part in enumerate(answer.parts) if not isinstance(part, str)]
    opening, between, end = ("".join(p for p in part if isinstance(p, str)) for part in
                             (answer.parts[: slots[0]], answer.parts[slots[0] : slots[1]], answer.parts[slots[1] :]))
    start = len(between) - len(between.lstrip())
    tag_end = between.find(">") + 1 if between[start : start + 1] == "<" else 0
    stop = tag_end or len(between.rstrip())
    if start >= stop:
        return None  # nothing but white space between the two: nobody could tell where thinking ends
    end = template.encoder.pattern.split(end)[0]  # the end token is the template's own business
    return ThinkingFormat(opening, between[start:stop], between[:start], between[stop:], end)


def thinking_format(template: ChatTemplate, name: str = "auto") -> ThinkingFormat:
    """The format of this name; "auto" is the template's own, or `tags` where it has none.

    Raises BactrianError for an unknown name.
    """
    if name == "auto":
        return of_template(template) or FORMATS["tags"]
    if name not in FORMATS:
        raise BactrianError(f"thinking format {name!r}: expected auto or one of {', '.join(FORMATS)}")
    return FORMATS[name]


def literal_ids(template: ChatTemplate, text: str) -> tuple[int, ...]:
    """The token ids of what a format writes, its control tokens included (as what a template writes)."""
    return tuple(template.encoder.parts([Part(text, True)]))

"""`ChatTemplate`: a tokenizer and a template that were checked to work together."""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from bactrian.chat.encoder import Part, SegmentEncoder
from bactrian.chat.messages import Message, Messages
from bactrian.chat.named_templates import BOS_FIRST, NAMED, PINNED_DATE, WITH_TOOLS
from bactrian.chat.skeleton import Slot, TalkShape, TemplateSegment, build, expect, shape_of
from bactrian.chat.tool_calls import for_template, schemas
from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.store.own_files import is_own, load, names_file
from bactrian.store.plugins import Plugins
from bactrian.store.special_files import at_home

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLUGINS: Plugins[str] = Plugins("bactrian.templates", "template", "Jinja text", lambda found: isinstance(found, str))
RENDERER_VERSION = 2  # raise when the same messages and template come to give other ids


class ChatTemplate:
    """A tokenizer and a Jinja template that passed the checks of `load`.

    name     "model", one of `template_names()`, or "jinja"
    text     the Jinja text, with the beginning-of-sequence token added where it was missing, and today's date, where it
             writes one, pinned to 1 January 2025; save it as the `chat_template` of a trained model
    end_ids  tokens that end an assistant turn, for engines to stop at: first the one that is trained, then the
             tokenizer's end-of-sequence token where that is another
    digest   sha256 (hex) over all that shapes a token: template, vocabulary, merges, normaliser, special tokens,
             renderer
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str, text: str) -> None:
        self.tokenizer = tokenizer
        self.name = name
        self.text = text
        self.encoder = SegmentEncoder(tokenizer)
        self._trims: dict[str, Callable[[str], str]] = {}
        self._segments: dict[TalkShape, list[TemplateSegment]] = {}
        self._latest: tuple[TalkShape, list[TemplateSegment]] | None = None

    @classmethod
    def load(cls, tokenizer: "PreTrainedTokenizerBase", name: str = "model") -> "ChatTemplate":
        """The template called `name`: "model" (the tokenizer's own), one of `template_names()`, or Jinja text.

        Probe conversations (with and without a system turn, several turns, white space, reasoning) are rendered, and a
        BactrianError says what is wrong with a template that
        - writes an answer otherwise than as a continuation of the prompt that the model saw, or rewrites it once turns
          follow (Qwen3 takes the reasoning out of earlier answers),
        - leaves out or changes what a message says (white space at its ends may be trimmed),
        - does not end an answer in a special token,
        - writes text that the tokenizer has no tokens for, or the beginning-of-sequence token twice.
        A template that refuses system turns by itself is accepted; rows with one are then refused. So are rows with
        tools where it has no place for them, which is found out when the first such row comes.
        """
        named = name == "model" or (not names_file(name, "template") and name in template_names())
        template = cls(tokenizer, name if named else "jinja", _jinja_text(tokenizer, name))
        try:
            template._add_bos()
            template._check()
        except BactrianError as error:
            advice = "" if name in NAMED else f"\n  a named template may fit: {', '.join(template_names())}"
            raise BactrianError(
                f"chat template '{template.name}' does not work with the tokenizer of '{tokenizer.name_or_path}': "
                f"{error}{advice}"
            ) from None
        return template

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        answer = next(s for s in self.segments(shape_of(_probe("user", "assistant"))) if s.turn is not None)
        trained = self.encoder.parts(answer.fill(dict.fromkeys([(1, "content")], "x")))[-1]
        eos: int | None = self.tokenizer.eos_token_id
        return (trained,) if eos is None or eos == trained else (trained, eos)

    @cached_property
    def digest(self) -> str:
        special = {key: str(value) for key, value in self.tokenizer.special_tokens_map.items()}
        shapes_a_token = [RENDERER_VERSION, self.text, self.encoder.digest, special, list(self.end_ids)]
        return hashlib.sha256(json.dumps(shapes_a_token, sort_keys=True).encode()).hexdigest()

    def write(self, messages: Messages, generation_prompt: bool, tools: str | list[Any] | None = None) -> str:
        """The text that the Jinja template makes of the messages, with the assistant's header at the end if asked."""
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    for_template(messages),
                    tools=schemas(tools),
                    chat_template=self.text,
                    add_generation_prompt=generation_prompt,
                    tokenize=False,
                )
            )
        except Exception as error:  # a template is somebody else's program: any failure is its refusal
            raise TemplateRefusal(f"it refuses {', '.join(m['role'] for m in messages)}: {error}") from None

    def segments(self, shape: TalkShape) -> list[TemplateSegment]:
        """What the template writes around messages of this shape; checked the first time a shape is seen.

        Shapes with tools hold their calls and schemas: hardly any comes twice, so only the latest is kept.
        """
        if shape in self._segments:
            return self._segments[shape]
        if self._latest is not None and self._latest[0] == shape:
            return self._latest[1]
        built = build(shape, self.write, self.encoder.pattern, self.text)
        if shape.has_tools:
            self._latest = shape, built
        else:
            self._segments[shape] = built
        return built

    @cached_property
    def without_tools(self) -> str:
        """Why rows with tools cannot be rendered, and by which templates they can; "" if this one can.

        A probe must come out with all that is in a schema, a call and what the call gives.
        """
        try:
            self.segments(shape_of(PROBE_CALLS, PROBE_TOOLS))
            self._trims["tool"] = self._find_trim("tool", PROBE_CALLS, PROBE_TOOLS)
            self._check_literals(PROBE_CALLS, PROBE_TOOLS)
            written = self.write(PROBE_CALLS, False, PROBE_TOOLS)
            if missing := [what for word, what in PROBED.items() if word not in written]:
                raise BactrianError(f"it leaves out {' and '.join(missing)}")
        except BactrianError as error:
            fitting = f"templates that do (setting `template`): {', '.join(WITH_TOOLS)}"
            return f"it does not write tools and their calls whole: {error}\n  {fitting}"
        return ""

    def texts(self, messages: Messages) -> dict[Slot, str]:
        """What each message says, trimmed as the template does."""
        texts: dict[Slot, str] = {}
        for i, message in enumerate(messages):
            texts[i, "content"] = self._trims.get(message["role"], str)(message["content"])
            if "reasoning_content" in message:
                texts[i, "reasoning_content"] = message["reasoning_content"]
        return texts

    def check_text(self, messages: Messages, tools: str | None = None) -> None:
        """
        Raises:
            BactrianError: unless the template writes these very messages as it writes others of
                their shape.
        """
        prompt = messages[-1]["role"] != "assistant"
        written = self.write(messages, prompt, tools)
        texts = self.texts(messages)
        segments = self.segments(shape_of(messages, tools))
        expected = "".join(part.text for segment in segments for part in segment.fill(texts))
        expect(expected, written, "it changes what a message says")
        if prompt:
            expect(written, expected, "what it writes depends on what a message says")

    def _add_bos(self) -> None:
        """Puts the beginning-of-sequence token first if the tokenizer uses one and the template does not write it."""
        bos = self.tokenizer.bos_token
        if not bos:
            return
        text = self.write(_probe("user"), True)
        if text.startswith(bos + bos):
            raise BactrianError(f"it writes the beginning-of-sequence token twice: {text[:60]!r}")
        uses_bos = self.tokenizer("a").input_ids[:1] == [self.tokenizer.bos_token_id]
        if uses_bos and not text.startswith(bos):
            self.text = BOS_FIRST + self.text

    def _check(self) -> None:
        turns = ("user", "assistant", "user", "assistant")
        probes = [turns[:2], turns]
        try:
            self.segments(shape_of(_probe("system", *turns)))
            probes.append(("system", *turns))
        except TemplateRefusal:
            self.segments(shape_of(_probe("user", "assistant")))  # without a system turn it must not refuse
        for roles in probes:
            self._check_literals(_probe(*roles))
        for role in probes[-1][:3]:
            self._trims[role] = self._find_trim(role, _probe(*probes[-1]))
        for roles in probes:
            for text in (" \n two\twords {i} \n ", "<think>\nso {i}\n</think>\n\nthe answer {i}"):
                self.check_text(_probe(*roles, text=text))
                self.check_text(_probe(*roles[:-1], text=text))

    def _check_literals(self, messages: list[Message], tools: str | None = None) -> None:
        for segment in self.segments(shape_of(messages, tools)):
            for literal in (part for part in segment.parts if isinstance(part, Part)):
                for text in self.encoder.pattern.split(literal.text)[::2]:
                    back = self.tokenizer.decode(self.encoder.text(text), clean_up_tokenization_spaces=False)
                    if "".join(text.split()).lower() != "".join(str(back).split()).lower():
                        raise BactrianError(
                            f"the tokenizer has no tokens for {text!r}, which it writes: found {back!r}"
                        )

    def _find_trim(self, role: str, probe: list[Message], tools: str | None = None) -> Callable[[str], str]:
        """How the template trims what a role says: not, at both ends, or at one; what a tool gives may become JSON."""
        quoted = '{"a": "%s\t"}' if role == "tool" else "%s"
        awkward = [
            cast(Message, {**m, "content": f" \n {quoted % m['content']} \n "}) if m["role"] == role else m
            for m in probe
        ]
        problem: BactrianError | None = None
        ways: list[Callable[[str], str]] = [str, str.strip, str.lstrip, str.rstrip]
        for trim in [*ways, _quoted] if role == "tool" else ways:
            self._trims[role] = trim
            try:
                self.check_text(awkward, tools)
                return trim
            except BactrianError as error:
                problem = problem or error
        raise BactrianError(f"it changes what the {role} says beyond trimming white space: {problem}")


def _quoted(text: str) -> str:
    """As within the quotes of JSON: Llama 3 writes so what a tool gives."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class TemplateRefusal(BactrianError):
    """The Jinja template itself failed on the messages."""


def template_for(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The name of the template to use when none is asked for: the model's own, or "tulu" for one that has none."""
    return "model" if tokenizer.chat_template else "tulu"


def template_names() -> list[str]:
    """Of all named templates: `NAMED`, then those of other packages (entry points `bactrian.templates`)."""
    return [*NAMED, *PLUGINS.names(own=[*NAMED, "model"])]


def unknown_template(name: str) -> str | None:
    """What a template may be, where `name` is none of it; None where it may be one. Without a tokenizer."""
    known = ["model", *template_names()]
    if name in known or names_file(name, "template") or "{{" in name or "{%" in name:
        return None
    meant = nearest(name, known)
    return f"{', '.join(known)}, FILE.jinja, or Jinja text" + (f'; did you mean "{meant}"?' if meant else "")


def _jinja_text(tokenizer: "PreTrainedTokenizerBase", name: str) -> str:
    if name in NAMED:
        return NAMED[name]
    if names_file(name, "template"):
        return _pinned(_own_text(name))
    if "{{" in name or "{%" in name:
        return _pinned(name)
    if name in template_names():
        return _pinned(PLUGINS.use(name))
    if name != "model":
        raise BactrianError(f"chat template '{name}': expected {unknown_template(name)}")
    if not tokenizer.chat_template:
        raise BactrianError(
            f"chat template 'model': the tokenizer of '{tokenizer.name_or_path}' has none; "
            f"name one of {', '.join(template_names())}"
        )
    return _pinned(str(tokenizer.get_chat_template()))


def _own_text(name: str) -> str:
    """The Jinja text of a user's own file: FILE.jinja, or FILE.py:NAME.

    Raises:
        BactrianError: the file cannot be read, or what it names is no text.
    """
    if is_own(name):
        return load(name, "template", lambda found: found if isinstance(found, str) else None)
    try:
        return at_home(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BactrianError(f"chat template {name}: cannot be read ({error})") from None


def _pinned(text: str) -> str:
    return PINNED_DATE + text if "strftime_now" in text and PINNED_DATE not in text else text


PROBED = {
    "11_12": "the name of a listed tool",
    "21_22": "its description",
    "31_32": "its parameters",
    "41_42": "the name of a called tool",
    "51_52": "the names of its arguments",
    "61_62": "its arguments",
}
"""Digits and marks, for which any tokenizer has tokens."""
PROBE_TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "11_12",
                "description": "21_22",
                "parameters": {"type": "object", "properties": {"31_32": {"type": "string"}}},
            },
        }
    ]
)
PROBE_CALLS: list[Message] = [
    {"role": "user", "content": "1"},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "41_42", "arguments": '{"51_52": "61_62"}'}]},
    {"role": "tool", "content": "3"},
    {"role": "assistant", "content": "4"},
]


def _probe(*roles: str, text: str = "probe {i}") -> list[Message]:
    return [{"role": role, "content": text.replace("{i}", str(i))} for i, role in enumerate(roles)]

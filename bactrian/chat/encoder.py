"""Text to token ids, with control tokens only where the template wrote them."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Part:
    """A stretch of rendered text: what the template wrote (`literal`), or what a message said."""

    text: str
    literal: bool


@dataclass(frozen=True)
class Control:
    """A special token; `lstrip` and `rstrip` say that it swallows the white space before or after it."""

    id: int
    lstrip: bool
    rstrip: bool


class SegmentEncoder:
    """A private copy of the tokenizer that reads "<|im_end|>" in a message as the ten characters that it is.

    Special tokens are looked for in literal parts only. Literal and message text between two special tokens is
    tokenised together, as `tokenizer.apply_chat_template` would. No space is put before a text (SentencePiece-style
    tokenizers do so by default): each one continues another.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        from tokenizers import Tokenizer

        if not tokenizer.is_fast:
            raise BactrianError(
                f"the tokenizer of '{tokenizer.name_or_path}' is a {type(tokenizer).__name__}; expected one with a "
                "tokenizer.json, which the `tokenizers` library reads (load it with transformers and save it again)"
            )
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        spec["truncation"] = spec["padding"] = None
        self.digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
        self._plain = Tokenizer.from_str(json.dumps(_without_prefix_space(spec)))
        self._plain.encode_special_tokens = True
        self.controls = {
            token.content: Control(id, token.lstrip, token.rstrip)
            for id, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self.swallowing = {control.id for control in self.controls.values() if control.rstrip}
        strings = sorted(self.controls, key=len, reverse=True)
        self.pattern = re.compile(f"({'|'.join(map(re.escape, strings)) or '(?!)'})")

    def text(self, text: str) -> list[int]:
        """Ids of plain text, whatever it contains."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def parts(self, parts: Iterable[Part], strip_start: bool = False) -> list[int]:
        """Ids of a sequence of parts; `strip_start` when the token before them swallows white space."""
        ids: list[int] = []
        run = ""
        for part in parts:
            pieces = self.pattern.split(part.text) if part.literal else [part.text]
            for i, piece in enumerate(pieces):
                if i % 2 == 0:  # re.split puts the special tokens at the odd places
                    run += piece
                    continue
                control = self.controls[piece]
                run = run.lstrip() if strip_start else run
                ids += self.text(run.rstrip() if control.lstrip else run)
                ids.append(control.id)
                run, strip_start = "", control.rstrip
        return ids + self.text(run.lstrip() if strip_start else run)


def _without_prefix_space(spec: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer's JSON with every step that puts a space before the text switched off."""

    def switch_off(step: dict[str, Any] | None) -> dict[str, Any] | None:
        if step is None or step["type"] == "Prepend":
            return None
        off = {"prepend_scheme": "never", "add_prefix_space": False}
        step = {key: off.get(key, value) for key, value in step.items()}
        for steps in ("normalizers", "pretokenizers"):  # of a Sequence
            if steps in step:
                step[steps] = [kept for inner in step[steps] if (kept := switch_off(inner))]
        return step

    return {**spec, "normalizer": switch_off(spec["normalizer"]), "pre_tokenizer": switch_off(spec["pre_tokenizer"])}

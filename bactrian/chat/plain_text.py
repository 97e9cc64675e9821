"""Text as base models read it: no turns, the tokenizer's own special tokens around it, and none within it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]


class PlainText:
    """A tokenizer as base models are asked: its own special tokens around the text, and none within it.

    What a question says is text: "<|im_end|>" in it stays the ten characters that it is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        # where a tokenizer adds an end token by itself, a text would be over before it is continued
        end: Any = tokenizer.eos_token_id
        self._end = end if self.ids("a")[-1] == end else None
        self.first: int | None = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end

    def ids(self, text: str) -> Ids:
        found: list[int] = list(self._tokenizer.encode(text, add_special_tokens=True).ids)
        return tuple(found[:-1] if getattr(self, "_end", None) is not None and found[-1] == self._end else found)

    def text(self, ids: Sequence[int]) -> str:
        """The text of some ids; what is a special token says nothing."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def opened(self, text: str) -> Ids:
        """The ids of a document's beginning: the token that begins one, and the text's; that token alone for no text.

        Where a tokenizer has no beginning-of-sequence token, its end token stands before a document, as it did between
        the documents that the model was trained on.
        """
        ids = self.ids(text) if text else ()
        return ids if self.first is None or ids[:1] == (self.first,) else (self.first, *ids)

    def pair(self, context: str, continuation: str) -> tuple[Ids, Ids]:
        """The context's ids, and those that the whole text has after as many: as the public harness does.

        White space at the end of the context belongs to the continuation.
        """
        bare = context.rstrip()
        if not bare:
            whole = self.ids(context + continuation)
            start = (self.first,) if self.first is not None and whole[:1] != (self.first,) else whole[:1]
            return start, whole if start != whole[:1] else whole[1:]
        ids, whole = self.ids(bare), self.ids(context + continuation)
        return ids, whole[len(ids) :]

"""Where a template has a user begin: what a model is given to write a user's turn itself, and what ends that turn."""

from dataclasses import dataclass

from bactrian.chat.messages import Message
from bactrian.chat.template import ChatTemplate
from bactrian.errors import BactrianError

MARK = "turn7of9"
"""Stands for what the user says; letters and digits, which no template changes."""


@dataclass(frozen=True)
class UserTurn:
    """opening: all that the template writes up to where the user speaks. end: what it writes first after that."""

    opening: str
    end: str


def user_turn(template: ChatTemplate, system: str = "") -> UserTurn:
    """The place of a first user turn [Magpie, Xu et al. 2024], after a system turn if one is given.

    A system turn that the template writes by itself is part of the opening. The end is the template's control token
    behind the turn, or the words that stand before it: `<|im_end|>` of ChatML, `<|assistant|>` of Tülu.

    Raises:
        BactrianError: the template refuses a system turn, or writes nothing before or after what a user says.
    """
    before: list[Message] = [{"role": "system", "content": system}] if system else []
    written = template.write([*before, {"role": "user", "content": MARK}], True)
    opening, found, closing = written.partition(MARK)
    if not found or not opening.strip() or not closing.strip():
        where = "before" if found and not opening.strip() else "after"
        raise BactrianError(
            f"chat template '{template.name}': it writes nothing {where} what a user says, so that no prompt can be "
            f"drawn from the model by it"
        )
    control = template.encoder.pattern.search(closing)
    words = (closing[: control.start()] if control else closing).strip()
    return UserTurn(opening, words or (control[0] if control else closing))

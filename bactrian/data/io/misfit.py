"""What cannot be used of a row, and how a value is shown in saying so."""

from typing import Any


class TurnMisfit(Exception):
    """Why a row cannot be used: `reason` groups such rows, `detail` is of this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def shown(value: Any) -> str:
    """A value as it is written in Python, cut to 60 characters; of long ones only the beginning is looked at."""
    if isinstance(value, str):
        text = repr(value[:80])
    elif isinstance(value, (list, tuple)):
        text = repr(value[:3])
    else:
        text = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    return text if len(text) <= 60 else text[:57] + "…"

"""Numbers, times and untrusted text in the form in which the page prints them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

NARROW = "\u202f"  # narrow no-break space: between a number and its unit
NBSP = "\u00a0"
MINUS = "\u2212"
ABSENT = "\u2013"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _stand_ins() -> dict[int, str]:
    """Code points that hide, reorder or break text → something that a reader sees in their place."""
    control = [code for code in range(0x20) if code not in (0x09, 0x0A)]
    invisible = [*control, *range(0x7F, 0xA0), 0xAD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F)]
    invisible += [*range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), 0xFFFE, 0xFFFF, *range(0xE0000, 0xE0080)]
    invisible += range(0xD800, 0xE000)
    return {code: f"⟨U+{code:04X}⟩" for code in invisible}


_STAND_INS = _stand_ins()


def visible(text: str) -> str:
    """Text with control, bidirectional-override and zero-width characters replaced by visible stand-ins.

    What a model wrote must not be able to reorder the page around it, nor hide from the reader.

    >>> visible("a\\x00b\\u202ec")
    'a⟨U+0000⟩b⟨U+202E⟩c'
    """
    return text.replace("\r\n", "\n").translate(_STAND_INS)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the last one an ellipsis when something was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def known(value: float | None) -> bool:
    """Whether there is a finite number to print."""
    return value is not None and math.isfinite(value)


def finite(value: Any) -> float | None:
    """A number of a file that somebody else may have written, if it is one that can be printed."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if usable else None


def interval(value: Any, show: Callable[[float | None], str] | None = None) -> str:
    """`[low, high]` of such a file in words, as percentages or as `show` has it."""
    ends = [finite(end) for end in value] if isinstance(value, list) and len(value) == 2 else []
    show = show or percent
    return f"{show(ends[0])} to {show(ends[1])}" if ends and all(map(known, ends)) else ABSENT


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage: 0.41 → `41.0 %`."""
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value * 100:.{digits}f}{NARROW}%".replace("-", MINUS)


def points(value: float | None, unit: bool = True) -> str:
    """A difference of two shares in percentage points, always signed: 0.387 → `+38.7 points`."""
    if value is None or not math.isfinite(value):
        return ABSENT
    number = f"{round(value * 100, 1) + 0.0:+.1f}".replace("-", MINUS)
    return f"{number} points" if unit else number


def p_value(p: float | None) -> str:
    """`p = 0.031`, or `p = 1.2 × 10⁻⁹` for small ones; never rounded to zero."""
    if p is None or not math.isfinite(p):
        return "p not recorded"
    if p == 0:
        return f"p{NBSP}<{NBSP}10⁻³⁰⁰"
    if p >= 0.001:
        return f"p{NBSP}={NBSP}{p:.3f}" if p < 0.1 else f"p{NBSP}={NBSP}{p:.2f}"
    mantissa, exponent = f"{p:.1e}".split("e")
    return f"p{NBSP}={NBSP}{mantissa}{NBSP}×{NBSP}10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def count(value: float | None) -> str:
    """A whole number with thousands separated: 12345 → `12,345`."""
    return ABSENT if value is None or not math.isfinite(value) else f"{round(value):,}".replace("-", MINUS)


def number(value: float | None) -> str:
    """A quantity of unknown scale, to three or four significant digits."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10_000:
        for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
            if size >= limit:
                return f"{value / limit:.3g}{NARROW}{unit}".replace("-", MINUS) if size < 1e15 else f"{value:.2e}"
    if size < 0.001:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


def duration(seconds: float | None) -> str:
    """`0.4 s`, `1 min 15 s`, `2 h 5 min`."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ABSENT
    if seconds < 10:
        return f"{seconds:.1f}{NARROW}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60}{NARROW}s"
    minutes = round(whole / 60)
    return f"{minutes // 60}{NARROW}h {minutes % 60}{NARROW}min"


def size(nbytes: float | None) -> str:
    """Bytes in binary units: 2_147_483_648 → `2.0 GiB`."""
    if nbytes is None or not math.isfinite(nbytes) or nbytes < 0:
        return ABSENT
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if nbytes >= limit:
            return f"{nbytes / limit:.1f}{NARROW}{unit}"
    return f"{nbytes:.0f}{NARROW}B"


def date(moment: str | float | None) -> str:
    """An ISO time or seconds since 1970 → `3 October 2025, 14:05 UTC`; anything else as it stands."""
    if moment is None or moment == "":
        return "date not recorded"
    try:
        when = (
            datetime.fromtimestamp(moment, UTC) if isinstance(moment, int | float) else datetime.fromisoformat(moment)
        )
    except (ValueError, OverflowError, OSError):
        return str(moment)
    zone = f" {when.tzname()}" if when.tzinfo else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def listing(names: list[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" {word} {names[-1]}" if names else ""

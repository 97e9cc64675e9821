"""Progress bars on a terminal and in notebooks, plain lines elsewhere.

Nothing in a message is taken for markup or terminal control.
"""

import html
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FILES = 1.0
PROGRESS = "progress.json"
"""In the folder of a step that is being made."""
_published: Path | None = None
_hushed = False
_moved = 0.0


class Bar(Protocol):
    """What a loop reports to."""

    def advance(self, n: float = 1, **values: float) -> None:
        """`n` more units are done; `values` (such as loss or tokens_per_second) replace those shown before."""


@contextmanager
def progress(title: str, total: float | None = None, unit: str = "step", done: float = 0) -> Iterator[Bar]:
    """A bar with rate and time left; `done` units were finished before this process (a resumed step).

    >>> with progress("rlvr · grpo", total=40) as bar:
    ...     bar.advance(1, loss=0.3)
    """
    file = _published
    moved()
    if _hushed:
        yield _Noted(_Silent())
    elif sys.stderr.isatty():
        with _live(printable(title), total, unit, done) as bar:
            yield _Noted(bar if file is None else _Published(bar, file, title, total, unit, done))
    else:
        lines = (_Cell if _in_notebook() else _Lines)(printable(title), total, unit, done)
        yield _Noted(lines if file is None else _Published(lines, file, title, total, unit, done))
        lines.end()
    moved()


def moved() -> None:
    """Something was done: for whoever watches that something is (store/watchdog.py). Every bar says so."""
    global _moved
    _moved = time.monotonic()


def last_moved() -> float:
    """When something was done last, by the monotonic clock."""
    return _moved


@contextmanager
def published(path: Path) -> Iterator[None]:
    """Within, what the last bar shows is also in a file, as JSON, renewed every second or so: for `bactrian board`.

    {title, done, total, unit, values, before, began, time, process, memory, gpu_memory}: `before` were done when the
    bar began; times in seconds since 1970; memory in bytes, null where it is not known.
    """
    global _published
    before, _published = _published, path
    try:
        yield
    finally:
        _published = before


def say(message: str) -> None:
    """One plain line on standard error."""
    if not _hushed:
        note(message)


def note(message: str) -> None:
    """One plain line on standard error, of a process that was hushed too."""
    print(printable(message), file=sys.stderr, flush=True)


def hush() -> None:
    """From now on this process says nothing and shows no bars: another, at the same work, does."""
    global _hushed
    _hushed = True


@contextmanager
def hushed() -> Iterator[None]:
    """Within, this process says nothing and shows no bars: what is done is a small part of what a bar shows already."""
    global _hushed
    before, _hushed = _hushed, True
    try:
        yield
    finally:
        _hushed = before


def printable(text: str) -> str:
    """The text without control characters (line breaks and tabs stay), so that it cannot steer a terminal.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """Seconds for a person: "9 s", "3:07", "2:03:07"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def long_duration(seconds: float) -> str:
    """Seconds as one would say them, to two places: "9 s", "4 min 10 s", "3 h 20 min", "2 days 4 h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3570:
        minutes, rest = divmod(whole, 60) if whole < 600 else (round(whole / 60), 0)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(round(seconds / 3600), 24)
    if days >= 730:
        return f"{days / 365.25:,.0f} years"
    return f"{days:,} day{'' if days == 1 else 's'}" + (f" {rest} h" if rest and days < 100 else "")


class _Noted:
    """A bar that also says that something moves."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar

    def advance(self, n: float = 1, **values: float) -> None:
        moved()
        self.bar.advance(n, **values)


class _Silent:
    """Bar of a process that was hushed."""

    def advance(self, n: float = 1, **values: float) -> None:
        pass


class _Lines:
    """Bar for logs: a line at most every SECONDS_BETWEEN_LINES, and one at the end."""

    def __init__(self, title: str, total: float | None, unit: str, done: float) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.before = self.done = done
        self.values: dict[str, float] = {}
        self._ending = ""
        self.started = self.printed = time.monotonic()

    def advance(self, n: float = 1, **values: float) -> None:
        self.done += n
        self.values.update(values)
        if time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES:
            self._print(f"{duration(self._left())} left" if self.total is not None else "")

    def end(self) -> None:
        self._print(f"took {duration(time.monotonic() - self.started)}")

    def _left(self) -> float:
        rate = (self.done - self.before) / max(time.monotonic() - self.started, 1e-9)
        return ((self.total or 0.0) - self.done) / rate if rate > 0 else 0.0

    def _print(self, ending: str) -> None:
        self.printed = time.monotonic()
        say(self._line(ending))

    def _line(self, ending: str) -> str:
        count = f"{self.done:,.0f}" + (f"/{self.total:,.0f}" if self.total is not None else "")
        return " · ".join(filter(None, [self.title, f"{count} {self.unit}s", show_values(self.values), ending]))

    def __repr__(self) -> str:
        return self._line("")


class _Cell(_Lines):
    """Bar of a notebook's cell: one that fills, renewed every second or so."""

    def __init__(self, title: str, total: float | None, unit: str, done: float) -> None:
        super().__init__(title, total, unit, done)
        from IPython.display import display

        self._shown = display(self, display_id=True)

    def advance(self, n: float = 1, **values: float) -> None:
        self.done += n
        self.values.update(values)
        if time.monotonic() - self.printed >= SECONDS_BETWEEN_FILES:
            self._print(f"{duration(self._left())} left" if self.total is not None else "")

    def _print(self, ending: str) -> None:
        self.printed, self._ending = time.monotonic(), ending
        self._shown.update(self)

    def _repr_html_(self) -> str:
        share = "" if self.total is None else f" value='{self.done:g}' max='{max(self.total, self.done):g}'"
        return f"<progress{share}></progress> {html.escape(self._line(self._ending))}"


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; nothing is imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class _Published:
    """A bar that is written into a file too. That is for onlookers: a disk that is full does not stop the work here."""

    def __init__(self, bar: Bar, path: Path, title: str, total: float | None, unit: str, done: float) -> None:
        self.bar, self.path, self.written = bar, path, 0.0
        self.shown: dict[str, Any] = {"title": title, "done": done, "total": total, "unit": unit, "values": {}}
        self.shown |= {"before": done, "began": time.time(), "process": os.getpid()}
        self._write()

    def advance(self, n: float = 1, **values: float) -> None:
        self.bar.advance(n, **values)
        self.shown["done"] += n
        self.shown["values"].update(values)
        if time.monotonic() - self.written >= SECONDS_BETWEEN_FILES:
            self._write()

    def _write(self) -> None:
        self.written = time.monotonic()
        now = {"time": time.time(), "memory": memory_in_use(), "gpu_memory": gpu_memory_in_use()}
        draft = self.path.with_name(f".{self.path.name}.draft")
        with suppress(OSError):
            draft.write_text(json.dumps(self.shown | now, default=float))
            draft.replace(self.path)


def memory_in_use() -> int | None:
    """Resident bytes of this process, where the system says so (Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def gpu_memory_in_use() -> int | None:
    """Bytes that torch holds on the GPU; None where it is not loaded or has none. Loads nothing itself."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.memory_reserved())


def show_values(values: dict[str, float]) -> str:
    """ "loss 0.31 · tokens/s 1,204"."""
    return " · ".join(
        f"{name.replace('_per_', '/').replace('_', ' ')} {_number(value)}" for name, value in values.items()
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


@contextmanager
def _live(title: str, total: float | None, unit: str, done: float) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: list[Any] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit + "s", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}", markup=False),
    ]
    with Progress(*columns, console=Console(stderr=True, markup=False, highlight=False)) as bars:
        task = bars.add_task(title, total=total, shown="")
        if done:
            bars.update(task, completed=done)
        values: dict[str, float] = {}

        class Live:
            def advance(self, n: float = 1, **new: float) -> None:
                values.update(new)
                bars.update(task, advance=n, shown=show_values(values))

        yield Live()

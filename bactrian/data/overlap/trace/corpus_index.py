"""An index that was built, opened: the longest passages that it shares with a text, how often, and where they stand.

Files are mapped into memory, so that opening costs nothing and several processes share them. A look-up is a binary
search over the places at which words begin; of a text of 300 words a few ten thousand steps a shard, each of which
reads one place of the form. The first look-ups after the machine started wait for the disk.
"""

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from unicodedata import unidata_version

import numpy as np

from bactrian.data.overlap.trace.build import (
    ANCHORS,
    FORM,
    FORMAT,
    LINES,
    META,
    ORDER,
    STARTS,
    TEXT,
    TOP_BYTES,
    TOP_EVERY,
    TOPS,
    IndexMeta,
    ShardSizes,
    shard_folder,
)
from bactrian.data.overlap.trace.documents import TracedDocument
from bactrian.data.overlap.trace.tokens import DELIMITER, token_bounds
from bactrian.errors import BactrianError

WINDOW = 4096
"""Bytes of a form that are compared in a search; what shares more is compared further place by place."""
LOOKED_AT = 100
_MARK = bytes((DELIMITER,))
_ABOVE = b"\xff" * TOP_BYTES
_STEP, _HEAD, _COUNTED = 2**20, 64, 100_000


@dataclass(frozen=True)
class TracedPlace:
    """Where a passage stands: characters [start, end) of a document's text.

    text: what stands there. before, after: what stands around it, as far as was asked for.
    """

    document: TracedDocument
    start: int
    end: int
    text: str
    before: str
    after: str


class CorpusIndex:
    """An index over training texts (stage trace_index), open for looking up.

    folder: in which `build` wrote. fold: whether case and white space do not count.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            BactrianError: the folder holds no index, one of another version, or one whose files are not all there.
        """
        self.folder, self.meta = folder, _read_meta(folder)
        self.fold = self.meta.match == "words"
        self.shards = [_OpenShard(shard_folder(folder, number), sizes) for number, sizes in enumerate(self.meta.shards)]
        self._counts: dict[bytes, int] = {}
        self.words = sum(sizes.words for sizes in self.meta.shards)

    def longest(self, form: bytes, at: int) -> int:
        """Bytes of the longest run of whole tokens from `at` on that stands somewhere in the texts; 0 if none does.

        `form` is a text's, from `token_form` with this index's `fold`; at `at` begins a word.
        """
        return form.rfind(_MARK, at, at + max(shard.shared(form, at) for shard in self.shards)) + 1 - at

    def has(self, passage: bytes) -> bool:
        """Whether a passage, the form of whole tokens that begin with a word, stands in the texts."""
        return any(shard.has(passage) for shard in self.shards)

    def count(self, passage: bytes) -> int:
        """How often a passage, the form of whole tokens that begin with a word, stands in the texts."""
        found = self._counts.get(passage)
        if found is None:
            found = sum(high - low for low, high in (shard.range(passage) for shard in self.shards))
            if len(self._counts) < _COUNTED:  # the words of one answer are in the next again
                self._counts[passage] = found
        return found

    def places(self, passage: bytes, most: int, context: int = 0) -> list[TracedPlace]:
        """Where a passage stands: at most so many places, in the order of the data, one a document first.

        `context`: characters around it. Of a passage at more than LOOKED_AT places in a shard, only some are looked at.
        """
        once: list[tuple[_OpenShard, int, int]] = []
        again: list[tuple[_OpenShard, int, int]] = []
        for shard in self.shards:
            before = -1
            for at, document in shard.some(passage):
                (again if document == before else once).append((shard, at, document))
                before = document
        wanted = (*once, *again)[:most]
        return [shard.place(at, document, passage, context, self.fold) for shard, at, document in wanted]


class _OpenShard:
    """One shard: its files, mapped."""

    def __init__(self, folder: Path, sizes: ShardSizes) -> None:
        self.folder = folder
        self.text = self._mapped(TEXT, sizes.text)
        self.form = self._mapped(FORM, sizes.form)
        self.lines = self._mapped(LINES, None)
        self.order = memoryview(self._mapped(ORDER, 4 * sizes.words)).cast("i")
        anchors = np.frombuffer(self._mapped(ANCHORS, None), np.uint32).reshape(-1, 2)
        starts = np.frombuffer(self._mapped(STARTS, 24 * sizes.documents), np.uint64).reshape(-1, 3)
        tops = bytes(self._mapped(TOPS, TOP_BYTES * -(-sizes.words // TOP_EVERY)))
        self.tops = [tops[at : at + TOP_BYTES] for at in range(0, len(tops), TOP_BYTES)]
        self.anchor_forms, self.anchor_texts = anchors[:, 0], anchors[:, 1]
        self.form_starts, self.text_starts, self.line_starts = starts[:, 0], starts[:, 1], starts[:, 2]

    def _mapped(self, name: str, size: int | None) -> mmap | bytes:
        path = self.folder / name
        try:
            found = path.stat().st_size
            if size is not None and found != size:
                raise BactrianError(f"{path}: found {found:,} bytes, expected {size:,}; make the index again")
            with path.open("rb") as file:
                return mmap(file.fileno(), 0, access=ACCESS_READ) if found else b""
        except OSError as error:
            raise BactrianError(f"{path}: cannot be read ({error.strerror}); make the index again") from None

    def shared(self, form: bytes, at: int) -> int:
        """Bytes of the longest beginning of form[at:] that stands here, whole tokens or not."""
        order, here, wanted = self.order, self.form, form[at : at + WINDOW]
        size = len(wanted)
        near = self._first(wanted)
        most = 0
        for place in order[max(0, near - 1) : near + 1]:
            most = max(most, _shared(here[place : place + size], wanted))
        if most < WINDOW:
            return most
        return max(self._shared_beyond(place, form, at) for place, _ in self.some(wanted))

    def _shared_beyond(self, place: int, form: bytes, at: int) -> int:
        """The same for one place, which shares WINDOW bytes."""
        most = step = WINDOW
        while wanted := form[at + most : at + most + step]:
            shared = _shared(self.form[place + most : place + most + step], wanted)
            most += shared
            if shared < len(wanted):
                break
            step = min(2 * step, _STEP)
        return most

    def _first(self, wanted: bytes) -> int:
        """The first in `order` of what is not less than `wanted`: sought among every 1,024th, then between two."""
        form, size, head = self.form, len(wanted), wanted[:TOP_BYTES]
        low = max(0, bisect_left(self.tops, head) - 1) * TOP_EVERY
        high = min(len(self.order), bisect_right(self.tops, head) * TOP_EVERY)
        return bisect_left(self.order, wanted, low, high, key=lambda place: form[place : place + size])

    def has(self, passage: bytes) -> bool:
        """Whether a passage stands here."""
        at = self._first(passage)
        if at == len(self.order):
            return False
        place = self.order[at]
        return self.form[place : place + len(passage)] == passage

    def range(self, passage: bytes) -> tuple[int, int]:
        """Where in `order` the places of a passage are."""
        form, size, low = self.form, len(passage), self._first(passage)
        above = passage[:TOP_BYTES] + _ABOVE  # more than all that begins so
        high = min(len(self.order), bisect_right(self.tops, above) * TOP_EVERY)
        return low, bisect_right(self.order, passage, low, high, key=lambda place: form[place : place + size])

    def some(self, passage: bytes) -> list[tuple[int, int]]:
        """(place in the form, number of its document) of LOOKED_AT places of a passage at most, rising."""
        low, high = self.range(passage)
        places = np.sort(np.array(self.order[low : min(high, low + LOOKED_AT)], np.uint64))
        documents = np.searchsorted(self.form_starts, places, "right") - 1
        return list(zip(places.tolist(), documents.tolist(), strict=True))

    def place(self, at: int, number: int, passage: bytes, context: int, fold: bool) -> TracedPlace:
        """A place of the form, in the text of its document."""
        begin = int(self.text_starts[number])
        limit = int(self.text_starts[number + 1]) if number + 1 < len(self.text_starts) else len(self.text)
        start, _ = self._token(at, limit, fold)
        _, end = self._token(at + passage.rfind(_MARK, 0, -1) + 1, limit, fold)
        before = _decoded(self.text[max(begin, start - 4 * context) : start], context, last=True)
        after = _decoded(self.text[end : min(limit, end + 4 * context)], context, last=False)
        text = self.text[start:end].decode("utf-8", "surrogatepass")
        first = _characters(self.text[begin:start])
        line = int(self.line_starts[number])
        document = TracedDocument(**json.loads(self.lines[line : self.lines.find(b"\n", line)]))
        return TracedPlace(document, first, first + len(text), text, before, after)

    def _token(self, at: int, limit: int, fold: bool) -> tuple[int, int]:
        """Bytes [start, end) in the text of the token that begins at a place of the form.

        Counted from the nearest place before it that is known in both.
        """
        known = int(np.searchsorted(self.anchor_forms, np.uint32(at), "right")) - 1
        number = self.form[int(self.anchor_forms[known]) : at].count(_MARK)
        begin = int(self.anchor_texts[known])
        if known + 1 < len(self.anchor_texts):
            limit = min(limit, int(self.anchor_texts[known + 1]))
        window = self.text[begin:limit].decode("utf-8", "surrogatepass")
        starts, ends = token_bounds(window, fold)
        start, end = int(starts[number]), int(ends[number])
        first = begin + len(window[:start].encode("utf-8", "surrogatepass"))
        return first, first + len(window[start:end].encode("utf-8", "surrogatepass"))


def _read_meta(folder: Path) -> IndexMeta:
    path = folder / META
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        version = said["format"]
        if version != FORMAT:
            raise BactrianError(f"{path}: field format: found {version!r:.20}, expected {FORMAT}; make the index again")
        shards = [ShardSizes(**{name: int(size) for name, size in each.items()}) for each in said["shards"]]
        meta = IndexMeta(version, said["unicode"], said["match"], shards)
    except FileNotFoundError:
        raise BactrianError(f"{folder}: found no {META}, expected an index that stage trace_index made") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BactrianError(f"{path}: cannot be read ({type(error).__name__}: {error}); make the index again") from None
    if meta.match not in ("words", "exact") or not shards:
        raise BactrianError(f"{path}: found match {meta.match!r:.20} and {len(shards)} shards; make the index again")
    if meta.unicode != unidata_version:
        raise BactrianError(
            f"{path}: field unicode: found {meta.unicode!r:.20}, expected {unidata_version}, this Python's: other "
            f"characters may be letters; make the index again"
        )
    return meta


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes they have in common from the beginning."""
    size = min(len(one), len(other), _HEAD)
    differ = int.from_bytes(one[:size]) ^ int.from_bytes(other[:size])
    if differ:
        return size - (differ.bit_length() + 7) // 8
    low, high = size, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _characters(raw: bytes) -> int:
    """How many characters some UTF-8 holds."""
    return int(np.count_nonzero((np.frombuffer(raw, np.uint8) & 0xC0) != 0x80))


def _decoded(raw: bytes, most: int, *, last: bool) -> str:
    """The last, or first, characters of UTF-8 that may be cut at its other end."""
    if not most:
        return ""
    if last:
        raw = raw[next((at for at in range(min(4, len(raw))) if raw[at] & 0xC0 != 0x80), len(raw)) :]
        return raw.decode("utf-8", "surrogatepass")[-most:]
    for cut in range(4):
        try:
            return raw[: len(raw) - cut].decode("utf-8", "surrogatepass")[:most]
        except UnicodeDecodeError:
            continue
    return ""

"""The index over training texts and what is found in it, held against a search by brute force."""

import json
import random
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bactrian.data.overlap.trace import build as building
from bactrian.data.overlap.trace.build import META, build
from bactrian.data.overlap.trace.corpus_index import CorpusIndex
from bactrian.data.overlap.trace.documents import TracedDocument, documents, place_within
from bactrian.data.overlap.trace.tokens import next_token, token_form
from bactrian.data.overlap.trace.traced_spans import STOP_WORDS, AnswerTrace, pieces, trace
from bactrian.data.overlap.words import SINGLES
from bactrian.errors import BactrianError

PIECES = [
    *("a", "b", "ab", "A", "B", " ", " ", "\n", "\r\n", "\t", ".", ",", "_", "1", "the", "(", '"'),
    *(
        "é",
        "e\u0301",
        "\u0301",
        "İ",
        "i̇",
        "Σ",
        "ς",
        "ß",
        "K",
        "Ⱥ",
        "ⱥ",
        "👩\u200d👩\u200d👧",
        "👍🏽",
        "❤\ufe0f",
        "\u200d",
        "\u200b",
    ),
    *(
        "שלום",
        "\u05b0",
        "مرحبا",
        "\u202e",
        "中",
        "文",
        "ไท",
        "กำ",
        "\x00",
        "\x1c",
        "\ud800",
        "\udfff",
        "\U0010ffff",
        "\U00020000",
    ),
    *("\U000e0100", "\xad", "\ufeff", "\u3000", "\x85", "🇩🇪"),
]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where what is written need not reach a disk."""
TEXTS = st.lists(st.sampled_from(PIECES), max_size=15).map("".join)


def slow_tokens(text: str, fold: bool = True) -> list[tuple[int, int, str, bool]]:
    """(start, end, folded, whether it is a word) of each token, character by character."""

    def kind(character: str) -> str:
        if character == "\u200d":
            return "joiner"
        if character.isspace():
            return "white"
        if unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") or 0x1F3FB <= ord(character) <= 0x1F3FF:
            return "attached"
        if character.isalnum() and any(low <= ord(character) <= high for low, high in SINGLES):
            return "single"
        return "word" if character.isalnum() or character == "_" else "other"

    def lower(character: str) -> str:
        return "σ" if character == "ς" else character.lower()[0]

    folded = "".join(map(lower, text)) if fold else text
    starts: list[int] = []
    for at, here in enumerate(map(kind, folded)):
        before = kind(folded[at - 1]) if at else "white"
        attaches = here in ("attached", "joiner") or (before == "joiner" and here != "white")
        joins = here == "word" and before in ("word", "attached", "joiner")
        if before == "white" or not (attaches or joins):
            starts.append(at)
    found = [(start, end, folded[start:end], kind(folded[start])) for start, end in pairwise([*starts, len(text)])]
    return [(s, e, t, k in ("word", "single")) for s, e, t, k in found if not (fold and k == "white")]


def slow_spans(answer: str, texts: Sequence[str], least: int, fold: bool) -> list[tuple[int, int, int]]:
    """(start, end, count) of every span, by trying all."""
    own = slow_tokens(answer, fold)
    others = [[token for _, _, token, _ in slow_tokens(text, fold)] for text in texts]

    def count(wanted: list[str]) -> int:
        size = len(wanted)
        return sum(other[at : at + size] == wanted for other in others for at in range(len(other) - size + 1))

    runs: list[tuple[int, int]] = []
    for first in (n for n, token in enumerate(own) if token[3]):
        last = first
        while last < len(own) and count([token for _, _, token, _ in own[first : last + 1]]):
            last += 1
        while last > first and not own[last - 1][3]:
            last -= 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    spans = []
    for first, last in runs:
        words = [token for _, _, token, word in own[first:last] if word]
        if len(words) >= least and not all(word.lower() in STOP_WORDS for word in words):
            spans.append((own[first][0], own[last - 1][1], count([token for _, _, token, _ in own[first:last]])))
    return spans


def document(number: int, licence: str = "MIT") -> TracedDocument:
    return TracedDocument(str(number), "s", licence, "rows", f"rows.jsonl, line {number + 1}", "text")


def built(texts: Sequence[str], folder: Path, match: str = "words", shard_bytes: int = 10**6) -> CorpusIndex:
    folder.mkdir(parents=True, exist_ok=True)
    build(((document(n), text) for n, text in enumerate(texts)), folder, folder / "scratch", match, shard_bytes)
    return CorpusIndex(folder)


def check(found: AnswerTrace, texts: Sequence[str], fold: bool = True) -> None:
    """Every span stands at every place that is reported."""
    for span in found.spans:
        assert found.text[span.start : span.end] == span.text
        tokens = [token for _, _, token, _ in slow_tokens(span.text, fold)]
        assert 0 < len(span.places) <= span.count
        for place in span.places:
            text = texts[int(place.document.id)]
            assert text[place.start : place.end] == place.text
            assert [token for _, _, token, _ in slow_tokens(place.text, fold)] == tokens
            assert text[: place.start].endswith(place.before) and text[place.end :].startswith(place.after)
    assert "".join(text for text, _ in pieces(found)) == found.text


@given(TEXTS, st.booleans())
def test_tokens_are_those_of_a_character_by_character_reading(text: str, fold: bool) -> None:
    found, slow = token_form([text], fold), slow_tokens(text, fold)
    assert found.start.tolist() == [start for start, *_ in slow]
    assert found.end.tolist() == [end for _, end, *_ in slow]
    assert found.word.tolist() == [word for *_, word in slow]
    form = b"".join(token.encode("utf-8", "surrogatepass") + b"\xfe" for _, _, token, _ in slow) + b"\xff"
    assert found.form.tobytes() == form
    assert found.at.tolist() == [0, *(at + 1 for at, byte in enumerate(form) if byte == 0xFE)][:-1]
    starts = [start for start, *_ in slow_tokens(text, fold=False)]
    assert next_token(text, 5, fold) == next((start for start in starts if start >= 5), len(text))


def test_every_lower_case_is_one_character() -> None:
    for code in range(sys.maxunicode + 1):
        if len(low := chr(code).lower()) != 1:
            assert chr(code) == "İ" and low == "i̇"


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.lists(TEXTS, min_size=1, max_size=3), st.data())
def test_spans_are_those_of_brute_force(texts: list[str], parts: list[str], data: st.DataObject) -> None:
    """Unicode of all kinds, in documents and answers, in shards of one document and of all."""
    fold, least = data.draw(st.booleans()), data.draw(st.integers(1, 4))
    cut = data.draw(st.lists(st.tuples(st.sampled_from(texts), st.integers(0, 20), st.integers(0, 30)), max_size=3))
    answer = "".join([*parts, *(text[start : start + size] for text, start, size in cut)])
    with TemporaryDirectory(dir=MEMORY) as folder:
        if not any(word for text in texts for *_, word in slow_tokens(text)):
            with pytest.raises(BactrianError, match="no word in any text"):
                built(texts, Path(folder))
            return
        index = built(texts, Path(folder), "words" if fold else "exact", data.draw(st.sampled_from([1, 30, 10**6])))
        found = trace(answer, index, least, context=5)
    assert [(span.start, span.end, span.count) for span in found.spans] == slow_spans(answer, texts, least, fold)
    check(found, texts, fold)


WORDS = [f"w{number:x}" for number in range(3000)]


@pytest.fixture(scope="module")
def prose(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], CorpusIndex]:
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randrange(20, 200))) + "." for _ in range(300)]
    return texts, built(texts, tmp_path_factory.mktemp("prose"), shard_bytes=100_000)


def test_no_span_is_found_in_a_thousand_random_answers(prose: tuple[list[str], CorpusIndex]) -> None:
    draw = random.Random(1)
    for _ in range(1000):
        assert trace(" ".join(draw.choices(WORDS, k=60)), prose[1]).spans == ()


def test_every_planted_span_is_found_where_it_was_taken_from(prose: tuple[list[str], CorpusIndex]) -> None:
    """As it is, in capitals, and with other white space; of 8 words, the least, to 20."""
    texts, index = prose
    draw = random.Random(2)
    for _ in range(300):
        number = draw.randrange(len(texts))
        words = texts[number].split()
        size = draw.randrange(8, 21)
        first = draw.randrange(len(words) - size + 1)
        planted = " ".join(words[first : first + size]).rstrip(".")
        shown = draw.choice([planted, planted.upper(), planted.replace(" ", "\r\n\t")])
        before = " ".join(draw.choices(WORDS, k=20))
        found = trace(f"{before} {shown} {before}", index)
        start, end = len(before) + 1, len(before) + 1 + len(shown)
        covering = [span for span in found.spans if span.start <= start and end <= span.end]
        assert covering and any(place.document.id == str(number) for place in covering[0].places)
        assert covering[0].verbatim == (shown == planted)
        check(found, texts)


def test_a_long_answer_that_is_all_copied_is_one_span_and_quick(tmp_path: Path) -> None:
    draw = random.Random(3)
    text = " ".join(draw.choices(WORDS, k=6_000))
    texts = [text, text[:20_000], "x" * 10**6, "y " * 10**5]
    index = built(texts, tmp_path)
    began = time.process_time()
    found = trace(text, index)
    assert [(span.start, span.end, span.count) for span in found.spans] == [(0, len(text), 1)]
    assert trace("y " * 10**4, index, places=2).spans[0].words == 10**4
    assert trace("z " * 10**4, index).spans == ()
    assert time.process_time() - began < 20
    check(found, texts)


def test_pieces_of_a_long_document_are_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(4)
    texts = ["".join(draw.choices(PIECES, k=2000)) for _ in range(3)]
    whole = built(texts, tmp_path / "whole")
    monkeypatch.setattr(building, "BATCH_CHARACTERS", 100)
    cut = built(texts, tmp_path / "cut")
    for name in ("text.bin", "form.bin", "order.bin", "documents.bin", "documents.jsonl"):
        files = [folder / "shard-00000" / name for folder in (whole.folder, cut.folder)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    for text in texts:
        check(trace(text[200:1500], cut, 3, context=30), texts)


def test_stop_words_alone_are_no_span_and_rare_words_rank_first(tmp_path: Path) -> None:
    texts = [
        "it is the one that was to be in all of the",
        "common " * 50,
        "alpha beta gamma delta common common common common",
    ]
    index = built(texts, tmp_path)
    assert trace(texts[0], index).spans == ()
    found = trace(f"{texts[1]} x {texts[2]}", index)
    assert [span.text.split()[0] for span in found.ranked()] == ["alpha", "common"]  # eight words before fifty
    assert trace("common " * 8 + "x " + texts[2], index).ranked()[0].text.startswith("alpha")
    assert [span.text for span in trace("common " * 8 + "x " + texts[2], index, most=1).spans] == [texts[2]]


def test_a_killed_build_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Exceptions at each document, then SIGKILL at random moments of a process of its own."""
    texts = [f"document {number} says {' '.join(WORDS[number : number + 40])}" for number in range(30)]
    whole = built(texts, tmp_path / "whole", shard_bytes=1000)

    class Killed(Exception):
        pass

    folder = tmp_path / "cut"
    folder.mkdir()

    def stream(stop: int) -> Iterator[tuple[TracedDocument, str]]:
        for number, text in enumerate(texts):
            if number == stop:
                raise Killed
            yield document(number), text

    for stop in range(3, 30, 3):
        with pytest.raises(Killed):
            build(stream(stop), folder, folder / "scratch", "words", 1000)
    build(stream(-1), folder, folder / "scratch", "words", 1000)
    assert read_all(folder) == read_all(whole.folder)


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


KILLED = """
import sys
from tests.data.overlap.test_trace import build_many
print("go", flush=True)
build_many(sys.argv[1])
"""


def build_many(folder: str) -> None:
    texts = (f"text {number} {f'{number * 7} and {number % 13} ' * 60}" for number in range(1500))
    rows = ((document(number), text) for number, text in enumerate(texts))
    build(rows, Path(folder), Path(folder, "scratch"), "words", 100_000)


def test_sigkill_at_any_moment_leaves_what_the_next_process_ends(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    build_many(str(whole))
    killed = 0
    for delay in (0.05, 0.15):
        command = [sys.executable, "-c", KILLED, str(cut)]
        with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"go\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    build_many(str(cut))
    assert killed and read_all(cut) == read_all(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "field format: found 2, expected 1"),
        ({"format": None}, "field format: found None"),
        ({"unicode": "3.0.0"}, "field unicode: found '3.0.0'"),
        ({"match": "fuzzy"}, "found match 'fuzzy'"),
        ({"shards": []}, "0 shards"),
        ({"shards": [{"text": 1}]}, "cannot be read"),
        ({"shards": "x"}, "cannot be read"),
    ],
)
def test_an_index_of_another_version_or_form_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    built(["some words that stand here"], tmp_path)
    meta = json.loads((tmp_path / META).read_text())
    (tmp_path / META).write_text(json.dumps(meta | change))
    with pytest.raises(BactrianError, match=message):
        CorpusIndex(tmp_path)


def test_an_index_with_missing_or_cut_files_is_refused(tmp_path: Path) -> None:
    built(["some words that stand here"], tmp_path)
    file = tmp_path / "shard-00000" / "order.bin"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(BactrianError, match=r"order\.bin: found 16 bytes, expected 20"):
        CorpusIndex(tmp_path)
    file.unlink()
    with pytest.raises(BactrianError, match=r"order\.bin: cannot be read"):
        CorpusIndex(tmp_path)
    with pytest.raises(BactrianError, match=r"found no trace\.json"):
        CorpusIndex(tmp_path / "nowhere")


def test_texts_of_rows_know_whose_they_are() -> None:
    call = {"name": "look", "arguments": '{"up": "this"}'}
    row = {
        "id": "r",
        "source": "s",
        "license": "CC BY 4.0",
        "messages": [
            {"role": "user", "content": "asked"},
            {"role": "assistant", "content": "", "reasoning_content": "thought", "tool_calls": [call]},
        ],
        "chosen": [{"role": "assistant", "content": "better"}],
        "solution": "worked",
        "meta": {"deep": ["inner text", 3]},
        "verifier": "constraints all",
        "dataset": "gsm8k",
        "text": "",
        "score": 1.0,
    }
    found = [(document.field, document.role, text) for document, text in documents(row, "d", "f, line 1")]
    assert found == [
        ("messages.0.content", "user", "asked"),
        ("messages.1.reasoning_content", "assistant", "thought"),
        ("messages.1.tool_calls.0", "assistant", 'look {"up": "this"}'),
        ("chosen.0.content", "assistant", "better"),
        ("solution", "", "worked"),
    ]
    assert {document.licence for document, _ in documents(row, "d", "f, line 1")} == {"CC BY 4.0"}
    with pytest.raises(BactrianError, match=r"f, line 1: field 'messages\.0': expected a message"):
        list(documents({**row, "messages": ["x"]}, "d", "f, line 1"))
    foreign = {
        "id": "r",
        "source": "two words",
        "license": "MIT",
        "prompt": "Who was it?",
        "solution": "Somebody else.",
        "meta": {"deep": ["inner text", 3, "label"], "url": "https://example.org/a?b=c"},
        "topic": "history",
        "zh": "\u6c34\u662f",
    }
    found = [(document.field, text) for document, text in documents(foreign, "d", "f, line 1")]
    said = [("prompt", "Who was it?"), ("solution", "Somebody else.")]
    assert found == [*said, ("meta.deep.0", "inner text"), ("zh", "\u6c34\u662f")]
    assert place_within("/a/b/c.jsonl, line 3", Path("/a/b/c.jsonl")) == "c.jsonl, line 3"


@given(TEXTS.filter(bool), st.sampled_from(["MIT", "\u202e<b>", "\ud800"]))
@example("\n\x00", "MIT")
def test_documents_are_read_back_as_they_were(text: str, licence: str) -> None:
    with TemporaryDirectory(dir=MEMORY) as folder:
        texts = [f"{text} one two three", f"one two three {text}"]
        Path(folder, "scratch").mkdir()
        build(
            ((document(n, licence), each) for n, each in enumerate(texts)),
            Path(folder),
            Path(folder, "scratch"),
            "words",
            10**6,
        )
        found = trace("one two three", CorpusIndex(Path(folder)), 3)
    assert [place.document for place in found.spans[0].places] == [document(0, licence), document(1, licence)]

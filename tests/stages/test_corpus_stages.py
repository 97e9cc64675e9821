"""Stages `tag`, `curate`, `dolma`, `quality` and `tokenize`: what they leave, count and refuse."""

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from bactrian.data.corpus.hashed_classifier import HashedClassifier
from bactrian.data.corpus.token_reader import TokenReader
from bactrian.data.io.files import read_rows, write_rows
from bactrian.data.io.formats import Fault
from bactrian.data.synth.spoiled import DEFECTS, SOURCE
from bactrian.errors import BactrianError
from bactrian.model.blank import word_tokenizer
from bactrian.recipe.recipe import load
from bactrian.report.funnel import funnel
from bactrian.run.keys import tasks
from bactrian.stages.data.corpus import Corpus
from bactrian.stages.data.curate import Curate
from bactrian.stages.data.dolma import DolmaFiles
from bactrian.stages.data.quality_classifier import Quality
from bactrian.stages.data.source import DataSource
from bactrian.stages.data.tag import Tag
from bactrian.stages.data.tokenize import Tokenize
from bactrian.stages.stage import Stage
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind

Row = dict[str, Any]
FOOTER = "All rights are reserved here."
PAGES = [
    {"text": f"The cat sat there.\nMenu\n{FOOTER}", "url": "http://a.org/1"},
    {"text": "Write to ann@example.org today, the cat said.", "url": "http://a.org/2"},
    {"text": "The cat sat there once more.", "url": "https://a.org/1/"},
    {"text": f"Another page of another cat.\n{FOOTER}", "url": "http://a.org/3"},
    {"text": "Short.", "url": "http://a.org/4"},
]


def pages() -> list[Row]:
    return [{"id": f"p{i}", "source": "web", "license": "MIT", **page} for i, page in enumerate(PAGES)]


def made(stage: Stage, folder: Path, inputs: dict[str, Path], hashes: dict[str, str] | None = None) -> Workspace:
    kinds = {use.ref: use.kind for use in stage.references()}
    given = {
        name: Input(name, path, kinds.get(name, Kind.DATA), (hashes or {}).get(name, f"hash of {name}"))
        for name, path in inputs.items()
    }
    workspace = Workspace.temporary(folder, given, 0, Hardware())
    stage.run(workspace)
    return workspace


def account(workspace: Workspace) -> dict[str, Any]:
    return json.loads((workspace.output / "rows.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def web(tmp_path: Path) -> Path:
    write_rows(pages(), tmp_path / "web")
    return tmp_path / "web"


RULES = [
    {"rule": "unique", "of": "column", "column": "url", "by": "bloom", "expected": 100},
    {"rule": "keep", "attribute": "gopher__words", "least": 3},
    {"rule": "replace", "attribute": "c4__open_lines"},
    {"rule": "replace", "attribute": "personal__email", "by": "[EMAIL]", "limit": 5},
    {"rule": "unique", "of": "paragraph"},
]


def test_from_documents_to_a_curated_corpus_with_what_each_rule_took(web: Path, tmp_path: Path) -> None:
    tags = made(Tag(data="web", taggers=["gopher", "c4"]), tmp_path / "1", {"web": web}).output
    more = made(Tag(data="web", taggers=["personal"]), tmp_path / "2", {"web": web}).output
    said = read_rows(tags)
    assert [row["id"] for row in said] == ["p0", "p1", "p2", "p3", "p4"]
    assert said[0]["c4__open_lines"] == [[19.0, 24.0, 1.0]] and said[4]["c4__open_lines"] == []
    stage = Curate.model_validate({"data": "web", "attributes": ["tags", "more"], "rules": RULES})
    workspace = made(stage, tmp_path / "3", {"web": web, "tags": tags, "more": more})
    rows = read_rows(workspace.output)
    assert [(row["id"], row["text"]) for row in rows] == [
        ("p0", f"The cat sat there.\n{FOOTER}"),
        ("p1", "Write to [EMAIL] today, the cat said."),
        ("p3", "Another page of another cat.\n"),
    ]
    assert rows[0]["url"] == "http://a.org/1"
    told = account(workspace)
    assert list(told["funnel"].values()) == [5, 4, 3, 3, 3, 3]
    drawn = funnel(told)
    assert drawn is not None and [(bar.label, bar.count) for bar in drawn.bars[1:3]] == [
        ("unique url", "4"),
        ("keep gopher words ≥ 3", "3"),
    ]
    assert {name: case["count"] for name, case in told["dropped"].items()} == {
        "unique url": 1,
        "keep gopher__words ≥ 3": 1,
    }
    lines = told["rules"]
    assert [line["documents_changed"] for line in lines] == [0, 0, 1, 1, 1]
    sizes = [len(page["text"].encode()) for page in PAGES]
    assert [line["bytes_taken"] for line in lines] == [sizes[2], sizes[4], 5, 8, len(FOOTER)]
    assert lines[-1]["bytes_left"] == sum(len(row["text"].encode()) for row in rows)
    assert lines[0]["false_positives"] < 1e-6 and lines[1].get("false_positives") is None
    assert workspace.metrics["bytes_kept"] == lines[-1]["bytes_left"]


def test_tokens_are_counted_by_an_attribute(web: Path, tmp_path: Path) -> None:
    tags = made(Tag(data="web", taggers=["gopher", "c4"]), tmp_path / "1", {"web": web}).output
    settings = {"data": "web", "attributes": ["tags"], "tokens": "gopher__words"}
    rules = [{"rule": "drop", "attribute": "gopher__words", "least": 9}, RULES[2]]
    told = account(
        made(Curate.model_validate({**settings, "rules": rules}), tmp_path / "2", {"web": web, "tags": tags})
    )
    words = [len(page["text"].split()) for page in PAGES]
    assert told["rules"][0]["tokens_taken"] == sum(count for count in words if count >= 9)


def test_attributes_of_other_documents_and_names_that_none_has_are_refused(web: Path, tmp_path: Path) -> None:
    tags = made(Tag(data="web", taggers=["length"]), tmp_path / "1", {"web": web}).output
    rule = {"rule": "keep", "attribute": "lenght__bytes", "least": 3}
    stage = Curate.model_validate({"data": "web", "attributes": ["tags"], "rules": [rule]})
    inputs = {"web": web, "tags": tags}
    with pytest.raises(BactrianError, match=r"'keep lenght__bytes ≥ 3': found no document.*length__bytes"):
        made(stage, tmp_path / "2", inputs)
    with pytest.raises(
        BactrianError, match=r"found tags, which tagged the documents of web, expected attributes of web"
    ):
        made(stage, tmp_path / "3", inputs, {"web": "another hash"})
    (tags / "tags.json").unlink()
    write_rows([{**page, "id": f"q{i}"} for i, page in enumerate(pages())], tmp_path / "other")
    with pytest.raises(BactrianError, match=r"row 1: found no attributes of document q0 \(source web\) in tags"):
        made(stage, tmp_path / "4", {"web": tmp_path / "other", "tags": tags})
    twice = stage.model_copy(update={"attributes": ["tags", "again"]})
    with pytest.raises(BactrianError, match="again: found the attribute 'length__bytes', which another step gave"):
        made(twice, tmp_path / "5", {**inputs, "again": tags})


def test_rows_that_are_no_documents_are_counted_and_listed_and_the_rest_lines_up(tmp_path: Path) -> None:
    lines = [json.dumps(page) for page in pages()]
    lines[1:1] = ["{", json.dumps({"id": "x"}), json.dumps({"id": "y", "text": " "})]
    (tmp_path / "web.jsonl").write_text("\n".join(lines))
    stage = Tag(data="web", taggers=["length"], bad_limit=0.5)
    tagged = made(stage, tmp_path / "1", {"web": tmp_path / "web.jsonl"})
    drops = [json.loads(line) for line in (tagged.output / "drops.jsonl").read_text().splitlines()]
    assert [(drop["where"].partition(", ")[2][:6], drop["reason"]) for drop in drops] == [
        ("line 2", "not JSON"),
        ("line 3", "no text in column 'text'"),
        ("line 4", "an empty text"),
    ]
    rules = [{"rule": "keep", "attribute": "length__bytes", "least": 10}]
    curated = made(
        Curate.model_validate({"data": "web", "attributes": ["tags"], "rules": rules}),
        tmp_path / "2",
        {"web": tmp_path / "web.jsonl", "tags": tagged.output},
    )
    assert [row["id"] for row in read_rows(curated.output)] == ["p0", "p1", "p2", "p3"]
    assert account(curated)["dropped"]["not JSON"]["count"] == 1
    with pytest.raises(BactrianError, match="more than bad_limit"):
        made(stage.model_copy(update={"bad_limit": 0.1}), tmp_path / "3", {"web": tmp_path / "web.jsonl"})


def test_tagging_goes_on_after_it_was_cut(web: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bactrian.data.io import resumption, writer
    from bactrian.stages.data import tag as module

    monkeypatch.setattr(writer, "GROUP_ROWS", 2)
    stage = Tag(data="web", taggers=["length", "c4"])
    whole = made(stage, tmp_path / "whole", {"web": web})
    monkeypatch.setattr(resumption, "SECONDS_BETWEEN_SAVES", 0.0)
    tag_located = module.tag_located

    def cut(located: list[Any], **settings: Any) -> Any:
        yield from tag_located(located, **settings)[:4]
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "tag_located", cut)
    with pytest.raises(KeyboardInterrupt):
        made(stage, tmp_path / "cut", {"web": web})
    monkeypatch.setattr(module, "tag_located", tag_located)
    again = made(stage, tmp_path / "cut", {"web": web})
    for name in ("data.parquet", "rows.json", "tags.json", "drops.jsonl"):
        assert (again.output / name).read_bytes() == (whole.output / name).read_bytes()


def test_what_is_wrong_with_a_row_comes_back_from_another_process_whole() -> None:
    fault = Fault("rows.jsonl, line 3", "not JSON", "Extra data")
    again = pickle.loads(pickle.dumps(fault))  # noqa: S301 - made above
    assert (again.where, again.reason, again.detail, str(again)) == (
        fault.where,
        fault.reason,
        fault.detail,
        str(fault),
    )


def test_a_tagger_of_ones_own_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(pages(), tmp_path / "web")
    (tmp_path / "r.yaml").write_text(
        "name: own\nsteps:\n"
        "  mine: {stage: tag, data: web, taggers: [length, mine.py:shouting]}\n"
        "  other: {stage: tag, data: web, taggers: [length]}\n"
    )

    def keys(code: str) -> dict[str, str]:
        (tmp_path / "mine.py").write_text(code)
        return {task.step.name: task.key for task in tasks(load(tmp_path / "r.yaml"), Hardware())}

    first, second = (keys(f"def shouting(text):\n    return {number}\n") for number in (1.0, 2.0))
    assert first["mine"] != second["mine"] and first["other"] == second["other"]
    with pytest.raises(BactrianError, match=r"mine.py has no shouting, expected FILE.py:FUNCTION"):
        keys("def whispering(text):\n    return 1.0\n")


# Dolma's layout


def dolma_folder(folder: Path) -> None:
    """Documents and attributes as the toolkit's own documentation has them, one file packed by gzip and one by zstd."""
    pages = [{"id": f"d{i}", "text": f"Text {i}.\nMore of it.", "source": "cc", "added": "2024"} for i in range(4)]
    pages[1]["metadata"] = {"url": "http://a.org/1", "score": 3}  # type: ignore[assignment]
    tags = [
        {"id": page["id"], "attributes": {"t__short": [[0, 8, 0.9 - i / 10]] if i else [], "t__n": 0.5 + i}}
        for i, page in enumerate(pages)
    ]
    for place, lines in (("documents/2024", pages), ("attributes/t/2024", tags)):
        (folder / place).mkdir(parents=True)
        first, second = ("\n".join(map(json.dumps, part)).encode() for part in (lines[:2], lines[2:]))
        (folder / place / "0.jsonl.gz").write_bytes(gzip.compress(first))
        with pa.output_stream(str(folder / place / "1.jsonl.zst"), compression="zstd") as file:
            file.write(second)


def test_a_folder_of_the_dolma_toolkit_is_read_curated_and_written_again(tmp_path: Path) -> None:
    dolma_folder(tmp_path / "cc")
    pattern = tmp_path / "cc" / "documents" / "**" / "*.jsonl.*"
    web = made(DataSource(data="cc", layout="dolma", license="ODC-BY"), tmp_path / "1", {"cc": pattern}).output
    rows = read_rows(web)
    assert [row["id"] for row in rows] == ["d0", "d1", "d2", "d3"] and {row["source"] for row in rows} == {"cc"}
    assert rows[1]["url"] == "http://a.org/1" and json.loads(rows[1]["metadata"])["score"] == 3
    rules = [
        {"rule": "keep", "attribute": "t__n", "least": 1},
        {"rule": "replace", "attribute": "t__short", "least": 0.75},
    ]
    stage = Curate.model_validate({"data": "web", "attributes": ["theirs"], "rules": rules})
    theirs = tmp_path / "cc" / "attributes" / "t" / "**" / "*.jsonl.*"
    curated = made(stage, tmp_path / "2", {"web": web, "theirs": theirs}).output
    assert [row["text"] for row in read_rows(curated)] == [
        "More of it.",
        "Text 2.\nMore of it.",
        "Text 3.\nMore of it.",
    ]

    tags = made(Tag(data="web", taggers=["length", "c4_v1"]), tmp_path / "3", {"web": web}).output
    settings = {"data": "web", "attributes": ["tags"], "file_documents": 3}
    for packing in ("gz", "zst"):
        out = made(
            DolmaFiles.model_validate({**settings, "packing": packing}), tmp_path / packing, {"web": web, "tags": tags}
        ).output
        documents = read_rows(out / "documents")
        assert [{**row, "metadata": ...} for row in documents] == [
            {"id": f"d{i}", "text": f"Text {i}.\nMore of it.", "source": "cc", "added": "2024", "metadata": ...}
            for i in range(4)
        ]
        assert documents[1]["metadata"] == {"url": "http://a.org/1", "score": 3, "license": "ODC-BY"}
        said = read_rows(out / "attributes" / "tags")
        assert said[0]["attributes"]["length__bytes"] == [[0, 19, 19.0]]
        assert said[0]["attributes"]["c4_v1__line_count"] == [[0, 19, 2.0]]
        assert [file.name for file in sorted((out / "documents").iterdir())] == [
            f"0000{i}.jsonl.{packing}" for i in (0, 1)
        ]
        back = made(
            DataSource(data="out", layout="dolma"), tmp_path / f"{packing}-back", {"out": out / "documents"}
        ).output
        assert [row["text"] for row in read_rows(back)] == [row["text"] for row in rows]
        keep = [{"rule": "keep", "attribute": "length__bytes", "most": 19}, {**rules[1], "attribute": "x", "least": 0}]
        same = Curate.model_validate({"data": "b", "attributes": ["a"], "rules": keep[:1]})
        found = made(same, tmp_path / f"{packing}-same", {"b": back, "a": out / "attributes" / "tags"})
        assert account(found)["kept"] == 4


def test_attributes_of_others_that_are_not_in_form_are_refused_with_their_place(tmp_path: Path) -> None:
    write_rows(pages(), tmp_path / "web")
    lines = [{"id": f"p{i}", "attributes": {"t": [[0, 2, 1.0]]}} for i in range(5)]
    lines[3]["attributes"] = {"t": [[0, 500, 1.0]]}
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    stage = Curate.model_validate({"data": "w", "attributes": ["t"], "rules": [{"rule": "replace", "attribute": "t"}]})
    with pytest.raises(BactrianError, match=r"t.jsonl, line 4, attribute 't': found the span \[0, 500, 1.0\]"):
        made(stage, tmp_path / "out", {"w": tmp_path / "web", "t": tmp_path / "t.jsonl"})


# quality


def test_a_classifier_tells_two_kinds_of_text_apart_and_tags_with_what_it_learned(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    fine = ["the theorem shows that energy of a molecule is conserved", "a cell divides and the organism grows"]
    junk = ["click here to buy cheap watches now", "free shipping subscribe to win a prize today"]

    def text(kind: list[str], other: list[str]) -> str:
        pool = " ".join(kind).split() * 3 + " ".join(other).split()
        return " ".join(random.choice(pool, 20))

    sides = {"good": [text(fine, junk) for _ in range(150)], "other": [text(junk, fine) for _ in range(250)]}
    for name, texts in sides.items():
        write_rows([{"id": f"{name}{i}", "text": each} for i, each in enumerate(texts)], tmp_path / name)
    inputs = {name: tmp_path / name for name in sides}
    work = made(Quality(good=["good"], other=["other"], bits=14), tmp_path / "1", inputs)
    held = json.loads((work.output / "held_out.json").read_text())
    assert held["auc"] > 0.97 and held["accuracy"] > 0.9 and held["brier"] < 0.15
    assert sum(each["texts"] for each in held["bins"]) == held["good"] + held["other"] > 40
    said = made(
        Tag(data="good", taggers=["classifier"], classifier="quality"),
        tmp_path / "2",
        inputs | {"quality": work.output},
    )
    scores = [row["classifier"] for row in read_rows(said.output)]
    assert np.mean(np.array(scores) > 0.5) > 0.95
    model = HashedClassifier.load(work.output)
    assert model.probabilities(sides["good"][:3]) == pytest.approx(scores[:3])
    page = "A cell divides and the organism grows.\nClick here to buy cheap watches now! Subscribe to win"
    write_rows([{"id": "p", "text": page}, {"id": "q", "text": " \n."}], tmp_path / "page")
    tag = Tag(data="page", taggers=["toxicity"], toxicity="quality")
    spans = read_rows(made(tag, tmp_path / "5", {"page": tmp_path / "page", "quality": work.output}).output)
    parts = [(page[int(start) : int(end)], score > 0.5) for start, end, score in spans[0]["toxicity"]]
    assert parts == [
        ("A cell divides and the organism grows.", True),
        ("Click here to buy cheap watches now!", False),
        ("Subscribe to win", False),
    ]
    again = made(Quality(good=["good"], other=["other"], bits=14), tmp_path / "3", inputs)
    assert all((again.output / file.name).read_bytes() == file.read_bytes() for file in work.output.iterdir())
    with pytest.raises(BactrianError, match=r"found no classifier.json"):
        HashedClassifier.load(tmp_path)
    few = Quality(good=["good"], other=["other"], texts=20)
    with pytest.raises(BactrianError, match=r"field 'good': found \d+ texts to learn from"):
        made(few, tmp_path / "4", inputs)


# tokenize


def test_documents_become_tokens_and_a_spelled_end_token_is_text(tmp_path: Path) -> None:
    texts = ["The cat sat.", "A cat </s> is no end.", "One more cat."]
    write_rows([{"id": f"t{i}", "text": text, "license": "MIT"} for i, text in enumerate(texts)], tmp_path / "in")
    tokenizer = word_tokenizer(texts, 64)
    tokenizer.save_pretrained(tmp_path / "base")
    inputs = {"in": tmp_path / "in", "base": tmp_path / "base"}
    work = made(Tokenize(data=["in"], tokenizer="base"), tmp_path / "1", inputs)
    reader = TokenReader(work.output, 10_000, 0)
    ids = reader.instance(0)
    ends = np.flatnonzero(ids == tokenizer.eos_token_id)
    parts = [tokenizer.decode(part[:-1]) for part in np.split(ids, ends + 1)[:-1]]
    assert parts == texts and reader.about.dtype == "uint16" and work.metrics["documents"] == 3
    lines = gzip.decompress((work.output / "part-00000.csv.gz").read_bytes()).decode().splitlines()
    assert lines[1] == f'{ends[0] + 1},{ends[1] + 1},t1,in,"data.parquet, row 2"'
    counts = made(Tag(data="in", taggers=["tokens"], tokenizer="base"), tmp_path / "2", inputs)
    assert [row["tokens"] for row in read_rows(counts.output)] == (np.diff(ends, prepend=-1) - 1).tolist()


def test_repeated_tokens_are_marked_in_the_text(tmp_path: Path) -> None:
    text = "Once there was " + "ha ho " * 40 + "and an end."
    write_rows([{"id": "a", "text": text}, {"id": "b", "text": "Nothing here."}], tmp_path / "in")
    word_tokenizer([text, "Nothing here."], 64).save_pretrained(tmp_path / "base")
    inputs = {"in": tmp_path / "in", "base": tmp_path / "base"}
    found = read_rows(made(Tag(data="in", taggers=["token_repeats"], tokenizer="base"), tmp_path / "1", inputs).output)
    [[start, end, times]] = found[0]["token_repeats"]
    assert times == 40 and text[int(start) : int(end)].strip() == ("ha ho " * 40).strip()
    assert found[1]["token_repeats"] == []


@pytest.mark.parametrize(
    ("stage", "settings", "wrong"),
    [
        (Tag, {"data": "a", "taggers": ["tokens"]}, "tokens needs the setting tokenizer"),
        (Tag, {"data": "a", "taggers": ["c4"], "classifier": "q"}, "classifier: none of the taggers reads it"),
        (Tag, {"data": "a", "taggers": ["c4", "c4"]}, "found c4 twice"),
        (Tokenize, {"data": ["a"], "tokenizer": "m", "vocabulary": ["b"]}, "found one beside tokenizer"),
        (Curate, {"data": "a", "rules": [{"rule": "keep", "attribute": "x"}]}, "expected least, most or both"),
        (Curate, {"data": "a", "rules": [{"rule": "unique", "of": "column"}]}, "column: give it with"),
        (Quality, {"good": ["a"], "other": ["a"]}, "found 'a' in good and in other"),
    ],
)
def test_settings_that_do_not_fit(stage: type[Stage], settings: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        stage.model_validate(settings)


def test_a_spoilt_corpus_is_cleaned_by_the_rules_of_base_nano(tmp_path: Path) -> None:
    """Each defect is met by the rule that is for it; no clean text is lost."""
    recipe = load(Path(__file__).parents[2] / "recipes" / "base-nano.yaml")
    web = made(Corpus(count=300, largest=10, spoiled=0.4), tmp_path / "1", {}).output
    rows = read_rows(web)
    clean = [row for row in rows if not row["source"].startswith(SOURCE)]
    assert len(clean) == 300 and 0.3 < 1 - len(clean) / len(rows) < 0.5
    assert {row["source"].removeprefix(SOURCE) for row in rows if row not in clean} == set(DEFECTS)
    tags = made(recipe.step("tags").stage, tmp_path / "2", {"web": web}).output
    left = read_rows(made(recipe.step("everyday").stage, tmp_path / "3", {"web": web, "tags": tags}).output)
    assert [row for row in left if row["source"] == "bactrian/corpus"] == clean
    others = [row for row in left if row["source"].startswith(SOURCE)]
    assert all("@" not in row["text"] for row in left)
    assert {row["source"] for row in others} <= {f"{SOURCE}address", f"{SOURCE}echo"}
    assert sum(row["source"] == f"{SOURCE}echo" for row in others) <= 2

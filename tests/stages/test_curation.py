"""Stages `deduplicate`, `filter` and `mix`: what they keep, what they say of the rest, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.files import read_rows, write_rows
from bactrian.errors import BactrianError
from bactrian.stages.data.deduplicate import Deduplicate
from bactrian.stages.data.filter import Filter
from bactrian.stages.data.mix import Mix
from bactrian.stages.stage import Facts, Stage
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind

Row = dict[str, Any]
LONG = "The answer of the three sisters is that they have to walk to the mill and back with the bread of the day. "


def make(stage: Stage, folder: Path, inputs: dict[str, list[Row]], seed: int = 0, threads: int = 1) -> Workspace:
    given = {}
    for name, rows in inputs.items():
        write_rows(rows, folder / "in" / name)
        given[name] = Input(name, folder / "in" / name, Kind.DATA, f"hash of {name}")
    workspace = Workspace.temporary(folder / f"out-{threads}", given, seed, Hardware(threads=threads))
    stage.run(workspace)
    return workspace


def asked(question: str, answer: str, number: int = 0, license: str = "MIT", **more: Any) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": f"{question[:8]}-{number}", "messages": messages, "source": "s", "license": license, **more}


def account(workspace: Workspace) -> dict[str, Any]:
    return json.loads((workspace.output / "rows.json").read_text())  # type: ignore[no-any-return]


def reasons(workspace: Workspace) -> dict[str, int]:
    return {reason: cases["count"] for reason, cases in account(workspace)["dropped"].items()}


def ids(workspace: Workspace) -> list[str]:
    return [row["id"] for row in read_rows(workspace.output)]


# deduplicate


def test_duplicates_within_and_across_sources(tmp_path: Path) -> None:
    near = [asked("How?", LONG * 3 + word, n) for n, word in enumerate(("one", "two"))]
    first = [asked("Why?", "Because.", 0, license="CC-BY-NC-4.0"), asked("Who?", "I.", 1), *near]
    second = [asked("why? ", "because.", 2), asked("When?", "Now.", 3)]
    stage = Deduplicate(data=["first", "second"], ngram=3)
    workspace = make(stage, tmp_path, {"first": first, "second": second})
    assert ids(workspace) == ["Who?-1", "How?-0", "why? -2", "When?-3"]  # the row without a mark is the better
    assert account(workspace)["duplicates"] == [
        {"dropped_from": "first", "kept_in": "first", "how": "near", "rows": 1},
        {"dropped_from": "first", "kept_in": "second", "how": "exact", "rows": 1},
    ]
    assert workspace.metrics == {"rows_kept": 4, "rows_truncated": 0, "rows_dropped": 2, "exact": 1, "near": 1}
    pairs = {row["dropped_id"]: row for row in read_rows(workspace.output / "duplicates.parquet")}
    assert pairs["Why?-0"]["kept_id"] == "why? -2" and pairs["Why?-0"]["kept_text"] == "why? \nbecause."
    assert 0.8 <= pairs["How?-1"]["similarity"] < 1


def test_the_longer_answer_stays_and_first_means_first(tmp_path: Path) -> None:
    rows = [asked("Why?", "No.", 0), asked("Why?", "Because of that.", 1)]
    assert ids(make(Deduplicate(data=["a"], of="prompt"), tmp_path / "1", {"a": rows})) == ["Why?-1"]
    assert ids(make(Deduplicate(data=["a"], of="prompt", keep="first"), tmp_path / "2", {"a": rows})) == ["Why?-0"]
    assert len(ids(make(Deduplicate(data=["a"]), tmp_path / "3", {"a": rows}))) == 2


def test_a_row_without_text_is_an_error_and_no_duplicate(tmp_path: Path) -> None:
    rows = [asked("q", "a"), {"id": "x", "speech": "?", "source": "s"}, {"id": "y", "speech": "!", "source": "s"}]
    with pytest.raises(BactrianError, match=r"row 2: found no text to compare in the fields id, source, speech"):
        make(Deduplicate(data=["a"]), tmp_path, {"a": rows})


# filter

RULES: dict[str, tuple[Row, Row, dict[str, Any], str]] = {
    "language": (
        asked("Was ist das?", "Das ist ein kleines Haus."),
        asked("What is it?", "It is a small house."),
        {},
        "in another language",
    ),
    "length": (asked("a b", "c"), asked("a b", "c d"), {"least": 4}, "whole shorter than 4 words"),
    "gopher": (
        asked("q", "word " * 60),
        asked("q", " ".join(dict.fromkeys(LONG.split())) + " with that"),
        {"of": "answer", "least_words": 10},
        "Gopher: fewer than 2 of the stop words",
    ),
    "c4": (asked("q", "One. Two."), asked("q", "One. Two. Three!"), {"of": "answer"}, "C4: fewer than 3 sentences"),
    "hygiene": (
        asked("Who are you?", "I am chatgpt, a model."),
        asked("What is ChatGPT?", "I am a bombard."),
        {},
        "an answer names another assistant",
    ),
    "personal": (
        asked("q", "a1@b.co a2@b.co"),
        asked("q", "a1@b.co"),
        {"most": 1},
        "personal data in more than 1 places",
    ),
    "pattern": (asked("[asy] draw", "a"), asked("(asy)", "a"), {"patterns": [r"\[asy\]"]}, r"matches \[asy\]"),
    "score": (
        asked("q", "a", toxicity=0.41),
        asked("q", "a", toxicity=0.4),
        {"column": "toxicity", "most": 0.4},
        "toxicity above 0.4",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_drops_what_breaks_it_and_keeps_what_does_not(rule: str, tmp_path: Path) -> None:
    bad, good, settings, reason = RULES[rule]
    rows = [{**bad, "id": "bad"}, {**good, "id": "good"}]
    workspace = make(Filter(data="a", rules=[{"rule": rule, **settings}]), tmp_path, {"a": rows})
    assert ids(workspace) == ["good"]
    assert reasons(workspace) == {reason: 1}
    assert "row 1" in account(workspace)["dropped"][reason]["examples"][0]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that only counts: every "bad" in a text makes it more toxic (its weights are set by hand)."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("classifier")
    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "bad": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", model_max_length=16).save_pretrained(folder)
    config = BertConfig(
        vocab_size=3,
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=16,
        id2label={0: "fine", 1: "toxic"},
        label2id={"fine": 0, "toxic": 1},
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.bert.embeddings.word_embeddings.weight[2] = torch.tensor([9.0, -9.0, 9.0, -9.0])
        model.bert.embeddings.LayerNorm.weight.fill_(1)
        layer = model.bert.encoder.layer[0]
        for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
            norm.weight.fill_(1)
        model.bert.pooler.dense.weight.copy_(torch.eye(4))
        model.classifier.weight[1] = torch.tensor([3.0, -3.0, 3.0, -3.0])
    model.save_pretrained(folder)
    return folder


def test_a_classifier_drops_what_it_gives_the_label(classifier: Path, tmp_path: Path) -> None:
    rows = [asked("bad", "thing", 0), asked("good", "thing", 1)]
    write_rows(rows, tmp_path / "in")
    inputs = {"a": Input("a", tmp_path / "in", Kind.DATA, ""), "m": Input("m", classifier, Kind.MODEL, "")}
    workspace = Workspace.temporary(tmp_path / "out", inputs)
    stage = Filter(data="a", rules=[{"rule": "classifier", "model": "m", "label": "toxic", "most": 0.6}])
    assert [found.ref for found in stage.references()] == ["a", "m"]
    stage.run(workspace)
    assert ids(workspace) == ["good-1"] and reasons(workspace) == {"toxic above 0.6": 1}
    with pytest.raises(BactrianError, match='found no label "rude", expected one of: fine, toxic'):
        Filter(data="a", rules=[{"rule": "classifier", "model": "m", "label": "rude"}]).run(workspace)


def test_personal_data_are_masked_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    personal = asked("I am at jo@example.com", "Call +1 (415) 555-2671 or 10.20.30.40.", 0)
    rows = [personal, asked("12 + 23 - 45", "-10", 1)]
    workspace = make(Filter(data="a", rules=[{"rule": "personal"}]), tmp_path, {"a": rows})
    masked, same = read_rows(workspace.output)
    assert [turn["content"] for turn in masked["messages"]] == ["I am at [EMAIL]", "Call [PHONE] or [IP_ADDRESS]."]
    assert same == rows[1]
    assert account(workspace)["repaired"]["changed by personal"]["count"] == 1


def test_c4_cuts_lines_out_of_plain_text(tmp_path: Path) -> None:
    text = "Home | About\nThis is one whole sentence here. Here is two. And three is this.\nEnable Javascript now."
    row = {"id": "t", "text": text, "source": "s", "license": "MIT"}
    workspace = make(Filter(data="a", rules=[{"rule": "c4"}]), tmp_path, {"a": [row]})
    assert read_rows(workspace.output)[0]["text"] == text.splitlines()[1]


def test_rows_out_of_form_are_an_error_without_hygiene_and_counted_with_it(tmp_path: Path) -> None:
    empty = {"id": "e", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}]}
    twice = {"id": "t", "messages": [{"role": "user", "content": "q"}, {"role": "user", "content": "r"}]}
    rows = [asked("q", "a"), {**empty, "source": "s"}, {**twice, "source": "s"}]
    with pytest.raises(BactrianError, match=r"row 2, field 'messages', message 2"):
        make(Filter(data="a", rules=[{"rule": "length"}]), tmp_path / "1", {"a": rows})
    workspace = make(Filter(data="a", rules=[{"rule": "length"}, {"rule": "hygiene"}]), tmp_path / "2", {"a": rows})
    assert reasons(workspace) == {"out of form": 2}


def test_no_row_left_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match=r"no row passes the rules\n1 rows: 0 kept whole"):
        make(Filter(data="a", rules=[{"rule": "length", "least": 99}]), tmp_path, {"a": [asked("q", "a")]})


@pytest.mark.parametrize(
    "settings",
    [
        {"rule": "pattern", "patterns": ["("]},
        {"rule": "score", "column": "x"},
        {"rule": "length", "least": 3, "most": 2},
    ],
)
def test_rules_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Filter(data="a", rules=[settings])


# mix


def rows_of(name: str, count: int) -> list[Row]:
    return [asked(f"{name}{n}", "x" * (4 * n + 4), n) | {"id": f"{name}{n}"} for n in range(count)]


def mixed(folder: Path, seed: int = 0, sizes: dict[str, int] | None = None, **settings: Any) -> Workspace:
    sizes = sizes or {"a": 10, "b": 6}
    return make(Mix(**settings), folder, {name: rows_of(name, size) for name, size in sizes.items()}, seed)


def counts(workspace: Workspace) -> dict[str, int]:
    mixture = json.loads((workspace.output / "mixture.json").read_text())
    return {each["name"]: each["rows"] for each in mixture["sources"]}


@pytest.mark.parametrize(
    ("a", "b", "total", "expected"),
    [
        ({}, {}, None, (10, 6)),
        ({"amount": 1.0}, {"amount": 0.5}, None, (10, 3)),
        ({"amount": 1}, {"amount": 5}, None, (1, 5)),
        ({"amount": 25}, {"amount": 2.5}, None, (25, 15)),
        ({"amount": 25, "most": 12}, {"most": 2}, None, (12, 2)),
        ({"weight": 3.0}, {"weight": 1.0}, 20, (15, 5)),
        ({"amount": 4}, {"weight": 1.0}, 20, (4, 16)),
        ({"amount": 0}, {}, None, (0, 6)),
    ],
)
def test_amounts(a: Row, b: Row, total: int | None, expected: tuple[int, int], tmp_path: Path) -> None:
    workspace = mixed(tmp_path, sources=[{"data": "a", **a}, {"data": "b", **b}], total=total)
    assert counts(workspace) == dict(zip("ab", expected, strict=True))
    found = ids(workspace)
    assert len(found) == len(set(found)) == sum(expected)
    times = [sum(each.split("#")[0] == f"a{n}" for each in found) for n in range(10)]
    assert max(times) - min(times) <= 1


def test_tokens_as_the_unit(tmp_path: Path) -> None:
    sources = [{"data": "a", "amount": 20, "capability": "math"}, {"data": "b", "weight": 1.0}]
    workspace = mixed(tmp_path, sources=sources, total=45, unit="tokens")
    mixture = json.loads((workspace.output / "mixture.json").read_text())
    a, b = mixture["sources"]
    assert 20 - 12 < a["tokens"] <= 20 and 45 - 20 - 8 < b["tokens"] <= 45 - a["tokens"]
    assert mixture["capabilities"] == {"math": {"rows": a["rows"], "tokens": a["tokens"]}}
    assert {row.get("capability") for row in read_rows(workspace.output)} == {"math", None}


def test_the_seed_decides_the_mixture_and_the_number_of_threads_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bactrian.data.io.parallel.FEW", 1_000)
    sources = {"a": rows_of("a", 30) * 90, "b": rows_of("b", 6)}
    stage = Mix(sources=[{"data": "a", "amount": 0.1}, {"data": "b", "amount": 9}])
    one, two = (make(stage, tmp_path, sources, 5, threads) for threads in (1, 2))
    other = make(stage, tmp_path / "other", sources, 6)
    assert (one.output / "data.parquet").read_bytes() == (two.output / "data.parquet").read_bytes()
    assert ids(one) != ids(other) and sorted(ids(one)) != ids(one)


def test_rows_without_a_licence_are_marked_unclear(tmp_path: Path) -> None:
    made = make(Mix(sources=[{"data": "a"}]), tmp_path, {"a": [asked("q", "a"), asked("r", "a", license="unknown")]})
    assert any("unclear" in licence.marks for licence in made.licences)


@pytest.mark.parametrize(
    "settings",
    [
        {"sources": [{"data": "a"}, {"data": "a"}]},
        {"sources": [{"data": "a", "amount": 1, "weight": 1.0}], "total": 3},
        {"sources": [{"data": "a", "weight": 1.0}]},
        {"sources": [{"data": "a"}], "total": 3},
    ],
)
def test_mixtures_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Mix(**settings)


def test_amounts_that_leave_nothing_for_the_weights(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="found amounts of 10 rows"):
        mixed(tmp_path, sources=[{"data": "a"}, {"data": "b", "weight": 1.0}], total=10)


def test_a_forecast_of_a_mixture_says_about_what_comes_out() -> None:
    facts = {"a": Facts(rows=100, tokens_per_row=10), "b": Facts(rows=50, tokens_per_row=40)}
    sources = [{"data": "a", "amount": 0.5}, {"data": "b", "amount": 100}]
    assert Mix(sources=sources).forecast(facts).makes == Facts(rows=150, tokens_per_row=(50 * 10 + 100 * 40) / 150)

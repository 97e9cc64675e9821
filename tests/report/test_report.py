"""The page as a whole: what it holds, that it stands alone, and that nothing in it but its own script can act."""

from __future__ import annotations

import base64
import doctest
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
from fabricate import write_lines, write_run

from bactrian.errors import BactrianError
from bactrian.report import charts, formatting, scores, svg, write_report
from bactrian.report.run_record import ResultsRecord
from bactrian.store.manifest import Manifest

SECTIONS = ("made", "scores", "curves", "transcripts", "trust", "licences", "time", "settings", "recipe")
HOSTILE = "<script>alert(1)</script></style></pre>\"'><img src=x onerror=alert(2)>{{7*7}}\u202eRTL\x00\x1b[31m"
TAGS = frozenset(
    """html head meta title style body header main footer section article nav a h1 h2 h3 h4 p b i small strong span div
    dl dt dd ul li pre code details summary figure figcaption table thead tbody tr th td button script
    svg g path line rect circle text sup mark q""".split()  # noqa: SIM905
)
LOADS = ("src", "style", "srcset", "data", "action", "xlink:href")


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        """All text, runs of white space (no-break ones too) as one blank."""
        return " ".join(" ".join(self.pieces).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def page(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def artifact(run: Path, step: str) -> Path:
    record = json.loads((run / "run.json").read_text())
    return run.parent / str(next(s["path"] for s in record["steps"] if s["name"] == step))


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file; a manifest is sealed again."""
    if path.name == "manifest.json":
        Manifest.model_validate(Manifest.read(path.parent).model_dump() | changes).write(path.parent)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def assert_inert(found: Page) -> None:
    """Only the template's elements, no handlers, no loads, one script and one style, both allowed by hash."""
    policy = ""
    for tag, attributes in found.elements:
        assert tag in TAGS, tag
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in LOADS, name
            assert name != "href" or (value or "").startswith("#"), value
        if attributes.get("http-equiv") == "Content-Security-Policy":
            policy = attributes["content"] or ""
    assert found.count("script") == found.count("style") == 1
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        body = re.search(f"<{tag}>(.*?)</{tag}>", found.source, re.S)
        assert body
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "@import" not in found.source and "url(" not in found.source
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]", found.source)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def test_a_whole_run_has_every_section_and_stands_alone(run: Path) -> None:
    found = page(run)
    assert_inert(found)
    ids = {attributes.get("id") for _, attributes in found.elements}
    assert ids >= set(SECTIONS)
    assert len(found.source.encode()) < 2_000_000
    assert found.count("h1") == 1
    assert not list(run.glob("*.partial")) and not list(run.glob(".report*"))
    for said in ("bactrian run recipes/quickstart.yaml --set rlvr.steps=60", "17 min 11 s", "AMD EPYC 7B13", "2 cores"):
        assert said in found.text, said
    assert "yet" not in found.text.split("Licences")[0].split("How far")[0]


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_numbers_printed_are_those_of_the_results(run: Path) -> None:
    given = json.loads((artifact(run, "scores") / "results.json").read_text())
    text = page(run).text
    for score in given["scores"]:
        low, high = (f"{end * 100:.1f} %" for end in score["interval"])
        assert f"{score['score'] * 100:.1f} %" in text
        assert f"{low} to {high}" in text
        assert f"{low[:-2]}–{high}" in text
    for c in given["comparisons"]:
        low, high = (f"{end * 100:+.1f}".replace("-", "−") for end in c["interval"])
        assert f"{c['difference'] * 100:+.1f} points".replace("-", "−") in text
        p = " ".join(formatting.p_value(c["p"]).split())
        assert f"{low} to {high} · {p}" in text
        assert f"{c['gained']} gained, {c['lost']} lost" in text


def test_the_verdict_is_the_first_model_against_the_last(run: Path) -> None:
    given = json.loads((artifact(run, "scores") / "results.json").read_text())
    ends = {s["model"]: s["score"] for s in given["scores"] if (s["task"], s["mode"]) == ("sums", "greedy")}
    text = page(run).text
    said = f"greedy accuracy went from {ends['base'] * 100:.1f} % to {ends['rlvr'] * 100:.1f} %"
    assert "On 300 unseen problems of sums, " + said in text


def test_a_difference_that_is_none_is_called_none() -> None:
    score = {"task": "sums", "questions": 300, "score": 0.4, "interval": [0.34, 0.46]}
    compared = {"task": "sums", "before": "a", "after": "b", "difference": 0.01, "interval": [-0.03, 0.05], "p": 0.6}
    results = ResultsRecord.model_validate(
        {"models": ["a", "b"], "scores": [score | {"model": "a"}, score | {"model": "b"}], "comparisons": [compared]}
    )
    view = scores.task_views(results)[0]
    assert view.steps and view.steps.rows[0].tone == "level"
    assert "not distinguishable from zero" in view.steps.rows[0].note
    sentence, tone = scores._sentence(results, "sums", several=False)
    assert tone == "level" and "no difference that can be told from zero" in sentence
    assert "On 300 evaluation problems, " in sentence


def _poison(value: Any, hostile: str, safe: frozenset[str]) -> Any:
    """Every text in a record made hostile, except under the keys that steer the reader of the record."""
    if isinstance(value, dict):
        named = ((key if key in _FIELDS else hostile + key, key, item) for key, item in value.items())
        return {name: item if key in safe else _poison(item, hostile, safe) for name, key, item in named}
    if isinstance(value, list):
        return [_poison(item, hostile, safe) for item in value]
    return hostile + value if isinstance(value, str) else value


_FIELDS = frozenset(
    """name recipe recipe_path command started seconds steps stage kind key path status inputs format step content_hash
    settings seed code packages hardware licences attempts metrics files source licence marks sha256 bytes tasks models
    scores n comparisons model task mode questions samples score interval counts pass_at_k mean_tokens before after
    difference p test gained lost data_hash verifier max_new_tokens prompt_example template_hash overlap""".split()  # noqa: SIM905
)
_SAFE = frozenset({"kind", "status", "path", "started", "mode", "counts", "pass_at_k"})


def poison(run: Path) -> None:
    """Hostile text in every place of a run that can hold text."""
    record = run / "run.json"
    given = json.loads(record.read_text())
    for step in given["steps"]:
        folder = run.parent / step["path"]
        if (folder / "manifest.json").exists():
            plain = Manifest.read(folder).model_dump(mode="json", exclude_defaults=True, exclude={"fields"})
            Manifest.model_validate(_poison(plain, HOSTILE, _SAFE | {"format"})).write(folder)
        if (folder / "results.json").exists():
            path = folder / "results.json"
            path.write_text(json.dumps(_poison(json.loads(path.read_text()), HOSTILE, _SAFE)))
        if (folder / "metrics.jsonl").exists():
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            write_lines(folder / "metrics.jsonl", [row | {HOSTILE: 1.0} for row in rows])
        if (folder / "questions.parquet").exists():
            rows = parquet.read_table(folder / "questions.parquet").to_pylist()
            for row in rows:
                for column in ("model", "task", "question", "prompt", "completion", "ground_truth", "finish"):
                    row[column] = HOSTILE + row[column]
                row["extracted"] = HOSTILE
            parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "questions.parquet")
    record.write_text(json.dumps(_poison(given, HOSTILE + "\ud800", _SAFE)))


def test_hostile_text_is_shown_and_does_nothing(run: Path) -> None:
    poison(run)
    found = page(run)
    assert_inert(found)
    assert found.count("img") == 0
    assert "<script>alert(1)</script>" in found.text and "{{7*7}}" in found.text
    assert "⟨U+202E⟩RTL⟨U+0000⟩⟨U+001B⟩[31m" in found.text
    assert "⟨U+D800⟩" in found.text
    assert "gained" in found.text and "Reward" in found.text


def test_without_an_evaluate_step_nothing_is_claimed(run: Path) -> None:
    given = json.loads((run / "run.json").read_text())
    edit(run / "run.json", steps=given["steps"][:-1])
    found = page(run)
    assert "Nothing was measured" in found.text and "That is not a score of zero" in found.text
    assert_inert(found)


def test_a_step_not_made_and_an_artifact_deleted_since_are_said(run: Path) -> None:
    shutil.rmtree(artifact(run, "dpo"))
    given = json.loads((run / "run.json").read_text())
    steps = [s | {"path": None, "status": "waiting"} if s["name"] == "rlvr" else s for s in given["steps"]]
    edit(run / "run.json", steps=steps)
    text = page(run).text
    assert "dpo : its artifact is no longer there: moved or deleted since" in text
    assert "rlvr : not made yet" in text


def test_damaged_files_are_said(run: Path) -> None:
    (artifact(run, "sft") / "manifest.json").write_text('{"kind": ')
    (artifact(run, "dpo") / "config.json").unlink()
    (artifact(run, "scores") / "results.json").write_text("[]")
    text = page(run).text
    assert "sft : its artifact cannot be used" in text
    assert "config.json is missing or has changed since" in text
    assert "its results.json could not be read" in text
    assert "Nothing was measured" in text


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"PAR1 nonsense")])
def test_answers_missing_or_damaged(run: Path, damage: Any) -> None:
    damage(artifact(run, "scores") / "questions.parquet")
    text = page(run).text
    assert "questions.parquet is missing" in text or "cannot be read" in text
    assert "went from" in text


def test_training_logs_that_are_empty_null_single_or_broken(run: Path) -> None:
    (artifact(run, "sft") / "metrics.jsonl").write_text("")
    rows = [{"step": i, "loss": None, "margin": float("nan"), "accuracy": 0.5 if i == 3 else None} for i in range(5)]
    write_lines(artifact(run, "dpo") / "metrics.jsonl", rows)
    (artifact(run, "rlvr") / "metrics.jsonl").write_text('{"step": 1, "reward": 0.25, "kl": 0.0}\n{"step": 2, "rew')
    found = page(run)
    assert_inert(found)
    assert "the log is empty" in found.text
    assert "no values recorded" in found.text
    assert "4 of 5 values missing" in found.text
    assert "1 of 2 lines of the log could not be read" in found.text
    assert "NaN" not in found.source and "nan" not in re.findall(r'd="([^"]*)"', found.source)


def test_ten_thousand_steps_stay_small_and_keep_their_spikes(run: Path) -> None:
    rows = [{"step": i, "loss": 100.0 if i == 5003 else 1.0 + i % 7, "grad_norm": 1.0} for i in range(10_000)]
    write_lines(artifact(run, "sft") / "metrics.jsonl", rows)
    assert len(page(run).source.encode()) < 2_000_000
    points = [(float(row["step"]), float(row["loss"])) for row in rows]
    kept = charts.thin(points, charts.RAW_POINTS)
    assert len(kept) <= charts.RAW_POINTS and (5003.0, 100.0) in kept


def test_thinking_is_folded_apart_from_the_answer(run: Path) -> None:
    path = artifact(run, "scores") / "questions.parquet"
    rows = parquet.read_table(path).to_pylist()
    for row in rows:
        thought = f"<think>\nsecret </pre> {row['question']}\n</think>"
        row |= {
            "completion": thought + "\n\n" + row["completion"],
            "answer_at": len(thought),
            "answer_tokens": 11,
            "thinking_tokens": 1234,
        }
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = page(run)
    assert_inert(found)
    blocks = found.source.split('<div class="answer">')[1:]
    assert blocks
    for block in blocks:
        thinking, _, answer = block.partition("</details>")
        assert "<summary>Thinking, 1,234 tokens</summary>" in thinking and "secret &lt;/pre&gt;" in thinking
        shown = answer.partition("</div>")[0]
        assert "secret" not in shown and "11 tokens" in shown


def test_very_long_answers_are_cut_and_said_to_be(run: Path) -> None:
    path = artifact(run, "scores") / "questions.parquet"
    rows = [row | {"completion": "word " * 4_000} for row in parquet.read_table(path).to_pylist()]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = page(run)
    assert len(found.source) < 2_000_000
    assert "cut here: 18,400 more characters" in found.text


def test_the_loss_of_reinforcement_is_a_surrogate_and_no_headline(run: Path) -> None:
    source = page(run).source
    article = source[source.index('<section id="curves">') :].split('<b dir="auto">rlvr</b>')[1]
    headline, rest = article[: article.index("<details>")], article[article.index("<details>") :]
    assert "Surrogate" not in headline and "<b>Loss</b>" not in headline and "<b>Reward</b>" in headline
    assert "<b>Surrogate</b>" in rest and "<b>Surrogate loss</b>" in rest and "weight_version" in rest


def test_marks_of_licences_are_prominent(run: Path) -> None:
    marked = {"source": "some-set", "licence": "CC-BY-NC-4.0", "marks": ["NC"]}
    edit(artifact(run, "rlvr") / "manifest.json", licences=[marked])
    found = page(run)
    assert "the last model (rlvr) carries the mark NC" in found.text
    assert found.text.index("CC-BY-NC-4.0") > found.text.index("carries the mark")


def test_errors_are_not_zeros(run: Path) -> None:
    path = artifact(run, "scores") / "results.json"
    given = json.loads(path.read_text())
    given["scores"][0] |= {"counts": {"right": 90, "wrong": 150, "timed_out": 40, "crashed": 20}}
    given["scores"][1] |= {"score": None, "interval": None}
    path.write_text(json.dumps(given))
    text = page(run).text
    assert "On 60 of 300 answers the verifier timed out or crashed" in text
    assert "lies between 30.0 % and 50.0 %" in text
    assert "no score" in text


def test_overlap_is_unseen_only_when_checked(run: Path) -> None:
    path = artifact(run, "scores") / "results.json"
    given = json.loads(path.read_text())
    del given["tasks"]["sums"]["overlap"]
    given["tasks"]["chain-sums"]["overlap"] = 12
    path.write_text(json.dumps(given))
    text = page(run).text
    assert "On 300 evaluation problems of sums" in text
    assert "12 of 300 questions of chain-sums occur in training data" in text
    assert "Not recorded: whether the questions of sums occur in training data" in text


def test_a_run_without_steps_is_still_a_page(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"name": "empty", "started": null}')
    found = page(tmp_path)
    assert_inert(found)
    assert "This run has no steps" in found.text


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"name": 3, "steps": 4}'])
def test_no_record_of_a_run_is_an_error_that_names_the_place(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(BactrianError, match=re.escape(str(tmp_path))):
        write_report(tmp_path)


def test_import_is_light() -> None:
    heavy = "jinja2 pyarrow pydantic torch transformers numpy"
    code = f"import bactrian.report, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", [formatting, charts, svg], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


SHOTS = "Question: 2+2?\nAnswer: 4\n\n" * 40


def test_transcripts_show_the_question_and_fold_what_stands_before_it(run: Path) -> None:
    path = artifact(run, "scores") / "questions.parquet"
    rows = parquet.read_table(path).to_pylist()
    for row in rows:
        row["prompt"] = f"{SHOTS}Question: what of {row['question']}?\nAnswer:"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    blocks = page(run).source.split('<div class="transcript">')[1:]
    assert blocks
    for block in blocks:
        number = re.search(r">question (sums-\d+|chain-sums-\d+)<", block)
        assert number
        folded, _, rest = block.partition("</details>")
        assert f"before the question: {len(SHOTS):,} characters" in folded and "2+2?" in folded
        assert f'tabindex="0">Question: what of {number[1]}?\nAnswer:</pre>' in rest and "2+2?" not in rest


def test_a_page_of_training_alone_has_no_section_without_content(run: Path) -> None:
    given = json.loads((run / "run.json").read_text())
    edit(run / "run.json", steps=[step for step in given["steps"] if step["name"] in ("problems", "sft")])
    found = page(run)
    ids = {attributes.get("id") for _, attributes in found.elements}
    assert not ids & {"scores", "transcripts"} and "curves" in ids
    links = {attributes.get("href") for name, attributes in found.elements if name == "a"}
    assert {link.removeprefix("#") for link in links if link} <= ids
    for empty in ("No evaluate step has left results", "No answers were recorded", "whether anything occur"):
        assert empty not in found.text


def test_the_table_of_answers_has_a_column_for_each_way_that_occurred(run: Path) -> None:
    path = artifact(run, "scores") / "results.json"
    given = json.loads(path.read_text())
    assert all(not score["counts"]["refused"] and not score["counts"]["crashed"] for score in given["scores"])
    source = page(run).source
    heads = re.findall(r'<thead><tr><th scope="col">Model</th>.*?</thead>', source)
    assert heads and all("wrong" in head and "refused" not in head and "crashed" not in head for head in heads)
    assert "None was timed out, refused or crashed." in source

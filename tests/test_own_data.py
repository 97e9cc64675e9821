"""A user's own data in every stage: any layout, odd columns, lists; wrong kinds are refused by the first rows."""

import csv
import gzip
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.cli.main import invoke
from bactrian.cli.stage_command import setting_value
from bactrian.data.io.files import read_rows, write_rows
from bactrian.data.io.first_rows import FIRST, fits
from bactrian.errors import BactrianError
from bactrian.recipe.document import Document
from bactrian.recipe.recipe import Recipe, check
from bactrian.run.keys import tasks
from bactrian.stages.data.source import DataSource, ReadingSettings
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


CHAT, PAIR, TEXT = {"sft"}, {"dpo", "reward"}, set[str]()
PROBLEM = {"rlvr", "evaluate", "ppo"}
LAYOUTS: dict[str, tuple[Any, set[str]]] = {
    "messages": (lambda i: {"messages": turns(f"q {i}", f"reply {i}")}, CHAT),
    "sharegpt": (
        lambda i: {"conversations": [{"from": "human", "value": f"q {i}"}, {"from": "gpt", "value": f"reply {i}"}]},
        CHAT,
    ),
    "alpaca": (lambda i: {"instruction": f"q {i}", "input": "", "output": f"reply {i}"}, CHAT),
    "prompt, completion": (lambda i: {"prompt": f"q {i}", "completion": f"reply {i}"}, CHAT),
    "inputs, targets": (lambda i: {"inputs": f"q {i}", "targets": f"reply {i}"}, CHAT),
    "question, words": (lambda i: {"question": f"q {i}", "answer": f"a word {i}."}, CHAT),
    "question, number": (lambda i: {"question": f"q {i}", "answer": f"{i}"}, CHAT | PROBLEM),
    "question, solution, number": (
        lambda i: {"problem": f"q {i}", "solution": f"as you see {i}", "answer": f"\\frac{{{i}}}{{2}}"},
        CHAT | PROBLEM,
    ),
    "gsm8k": (lambda i: {"question": f"q {i}", "answer": f"so it is\n#### {i}"}, CHAT | PROBLEM),
    "choices": (lambda i: {"question": f"q {i}", "choices": ["a", "b", f"c {i}"], "answer": 1}, CHAT | PROBLEM),
    "problem": (lambda i: {"messages": turns(f"q {i}"), "ground_truth": f"{i}", "dataset": "math"}, PROBLEM),
    "worked": (
        lambda i: {"messages": turns(f"q {i}"), "ground_truth": f"{i}", "dataset": "math", "solution": f"it is {i}"},
        CHAT | PROBLEM,
    ),
    "pair": (lambda i: {"prompt": turns(f"q {i}"), "chosen": turns("", "a")[1:], "rejected": turns("", "b")[1:]}, PAIR),
    "pair of texts": (lambda i: {"prompt": f"q {i}", "chosen": f"reply {i}", "rejected": f"b {i}"}, PAIR),
    "pair of talks": (lambda i: {"chosen": turns(f"q {i}", "a"), "rejected": turns(f"q {i}", "b")}, PAIR),
    "transcripts": (
        lambda i: {"chosen": f"\n\nHuman: q {i}\n\nAssistant: a", "rejected": f"\n\nHuman: q {i}\n\nAssistant: b"},
        PAIR,
    ),
    "feedback": (lambda i: {"messages": turns(f"q {i}", f"reply {i}"), "label": i % 2 == 0}, {"kto"}),
    "feedback of texts": (lambda i: {"prompt": f"q {i}", "completion": f"reply {i}", "label": i % 2 == 0}, {"kto"}),
    "text": (lambda i: {"text": f"once upon a time {i}"}, TEXT),
}
STAGES = ("sft", "dpo", "reward", "kto", "rlvr", "ppo", "evaluate")
FORMS = ("jsonl", "json", "jsonl.gz", "parquet", "folder", "csv")


def stored(folder: Path, rows: list[dict[str, Any]], form: str, name: str = "mine") -> Path:
    """The rows as a file, or a folder of two, of this form."""
    path = folder / f"{name}.{form}"
    lines = [json.dumps(row) + "\n" for row in rows]
    if form == "json":
        path.write_text(json.dumps(rows))
    elif form == "jsonl":
        path.write_text("".join(lines))
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress("".join(lines).encode()))
    elif form == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif form == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path = folder / name
        path.mkdir()
        (path / "a.jsonl").write_text("".join(lines[:1]))
        (path / "b.jsonl").write_text("".join(lines[1:]))
    return path


def recipe(stage: str, data: Any, top: Mapping[str, Any] | None = None, **settings: Any) -> Recipe:
    model = {"models": ["embedded:smollm2-135m"]} if stage == "evaluate" else {"model": "embedded:smollm2-135m"}
    more = {"value": "embedded:smollm2-135m"} if stage == "ppo" else {}
    step = {"stage": stage, **model, **more, "data": data, **settings}
    return check(Document("r", "", {"name": "r", **(top or {}), "steps": {"step": step}}), Path())


def rows_read(made: Recipe, folder: Path) -> list[dict[str, Any]]:
    """What the step would read: the file as it is, or what the source in front of it makes."""
    data = made.step("step").stage.model_dump()["data"]
    if data not in made.adopted:
        return read_rows(data)
    stage = made.step(data).stage
    assert isinstance(stage, DataSource) and stage.data is not None
    workspace = Workspace.temporary(folder, {stage.data: Input(stage.data, Path(stage.data), Kind.DATA, "0")})
    stage.run(workspace)
    return read_rows(workspace.output)


def needs(made: Recipe) -> tuple[Any, ...]:
    return next(use.rows for use in made.step("step").stage.references() if use.path == ("data",))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_takes_the_layouts_of_its_kind_and_refuses_others(layout: str, stage: str, tmp_path: Path) -> None:
    make, good = LAYOUTS[layout]
    rows = [make(i) for i in range(1, 7)]
    flat = all(isinstance(value, str) for value in rows[0].values())
    form = FORMS[(list(LAYOUTS).index(layout) + STAGES.index(stage)) % (6 if flat else 5)]
    file = stored(tmp_path, rows, form)
    if stage in good:
        made = recipe(stage, str(file))
        read = rows_read(made, tmp_path / "made")
        assert len(read) == len(rows) and all(fits(row, needs(made)) for row in read)
    else:
        with pytest.raises(BactrianError) as refused:
            recipe(stage, str(file))
        said = str(refused.value)
        first = file / "a.jsonl" if form == "folder" else file
        assert said.count('step "step", field "data"') == 1 and re.search(
            rf"{re.escape(str(first))}, (row|line) \d", said
        )
        assert all(f"{name}: " in said for name, value in rows[0].items() if value) and "expected" in said
        for_whom = re.search(r"for stage (\w+)", said)
        assert for_whom is None or for_whom[1] in good or layout == "text"


def pasted(said: str) -> Iterator[dict[str, Any]]:
    """The settings that an error tells to write, of the command line and of the recipe."""
    for line in said.splitlines()[1:]:
        if options := re.search(r" (--(?:columns|layout|verifier|bad-limit) [^(]*) \(in a recipe: (.*)\)$", line):
            words = shlex.split(options[1])
            for option, text in zip(words[::2], words[1::2], strict=True):
                name = option.removeprefix("--").replace("-", "_")
                yield {name: setting_value(ReadingSettings.model_fields[name].annotation, text, option)}


NAMES = st.from_regex(r"[a-zäß][a-z_ ]{2,9}[a-z]", fullmatch=True).filter(
    lambda name: name not in ("text", "content", "messages", "history", "system", "source", "license", "label")
)


@settings(max_examples=25)
@given(names=st.lists(NAMES, min_size=2, max_size=4, unique=True), stage=st.sampled_from(["sft", "dpo", "rlvr"]))
def test_what_an_error_says_to_write_is_taken(
    names: list[str], stage: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    if stage == "dpo":
        names = [names[0], f"better {names[1]}", f"worse {names[1]}"]
    rows = [{name: f"{i}{j}" for j, name in enumerate(names)} for i in range(1, 4)]
    file = stored(folder, rows, "csv")
    try:
        made = recipe(stage, str(file))
    except BactrianError as refused:
        written = list(pasted(str(refused)))
        assert written, refused
        made = recipe(stage, str(file), **{name: value for each in written for name, value in each.items()})
    read = rows_read(made, folder / "made")
    assert len(read) == 3 and all(fits(row, needs(made)) for row in read)


def test_pairs_can_be_learnt_from_by_sft_as_the_error_says(tmp_path: Path) -> None:
    for number, layout in enumerate(("pair of texts", "pair of talks")):
        file = stored(tmp_path, [LAYOUTS[layout][0](i) for i in range(3)], "jsonl", f"f{number}")
        with pytest.raises(BactrianError, match=r"bactrian dpo … --data .*\(in a recipe: stage: dpo\)") as refused:
            recipe("sft", str(file))
        how = {name: value for each in pasted(str(refused.value)) for name, value in each.items()}
        read = rows_read(recipe("sft", str(file), **how), tmp_path / f"made{number}")
        assert [row["messages"][-1]["content"] for row in read][:1] == (["reply 0"] if number == 0 else ["a"])


def test_a_file_that_is_right_as_it_is_needs_no_further_step(tmp_path: Path) -> None:
    file = stored(tmp_path, [LAYOUTS["messages"][0](i) for i in range(3)], "jsonl")
    made = recipe("sft", str(file))
    assert [step.name for step in made.steps] == ["step"] and made.unlicensed == (str(file),)
    (tmp_path / "artifact").mkdir()
    write_rows(
        [{**LAYOUTS["messages"][0](i), "id": f"{i}", "source": "s", "license": "MIT"} for i in range(3)],
        tmp_path / "artifact",
    )
    made = recipe("sft", str(tmp_path / "artifact"))
    assert [step.name for step in made.steps] == ["step"] and made.unlicensed == ()
    forced = recipe("sft", str(file), license="MIT")
    assert [step.name for step in forced.steps] == ["mine", "step"] and forced.unlicensed == ()
    assert [step.implicit for step in forced.steps] == [True, False]


def test_an_answered_problem_is_a_conversation(tmp_path: Path) -> None:
    row = {"messages": turns("1 + 1?", "2"), "ground_truth": "2", "dataset": "math"}
    assert fits(row, ["conversation"]) and not fits(row, ["problem", "worked"])
    assert [step.name for step in recipe("sft", str(stored(tmp_path, [row], "jsonl"))).steps] == ["step"]


def test_keys_follow_what_is_in_the_file_and_how_it_is_read(tmp_path: Path) -> None:
    rows = [LAYOUTS["sharegpt"][0](i) for i in range(3)]
    file = stored(tmp_path, rows, "jsonl")

    def keys(**settings: Any) -> list[str]:
        made = recipe("sft", str(file), **settings)
        return [task.key for task in tasks(made, made.hardware.decide())]

    before = keys()
    assert len(before) == 2 and keys() == before
    assert not set(keys(license="MIT")) & set(before)
    explicit = {
        "mine": {"stage": "source", "data": str(file)},
        "step": {"stage": "sft", "model": "embedded:smollm2-135m", "data": "mine"},
    }
    written = check(Document("r", "", {"name": "r", "steps": explicit}), Path())
    assert [task.key for task in tasks(written, written.hardware.decide())] == before
    stored(tmp_path, [*rows, LAYOUTS["sharegpt"][0](9)], "jsonl")
    assert not set(keys()) & set(before)


def test_several_files_are_read_each_in_its_layout_and_mixed(tmp_path: Path) -> None:
    names = ("sharegpt", "alpaca", "messages")
    files = [str(stored(tmp_path, [LAYOUTS[name][0](i) for i in range(3)], "jsonl", name)) for name in names]
    made = recipe("sft", files)
    assert [(step.name, step.stage.name) for step in made.steps] == [
        ("sharegpt", "source"),
        ("alpaca", "source"),
        ("step-data", "mix"),
        ("step", "sft"),
    ]
    assert [use.ref for use in made.step("step-data").stage.references()] == ["sharegpt", "alpaca", files[2]]
    assert recipe("sft", files[:1]).steps == recipe("sft", files[0]).steps
    with pytest.raises(BactrianError, match=r'field "data.1"'):
        recipe("sft", [files[0], str(stored(tmp_path, [{"text": "a"}], "jsonl", "text"))])
    with pytest.raises(BactrianError, match=r'field "data": found \[\], expected'):
        recipe("sft", [])


def test_names_of_the_steps_are_those_of_files_and_never_taken_twice(tmp_path: Path) -> None:
    rows = [LAYOUTS["sharegpt"][0](i) for i in range(3)]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    files = [str(stored(tmp_path / folder, rows, "jsonl", name)) for folder in ("a", "b") for name in ("step", "x y.z")]
    made = recipe("sft", files)
    names = [step.name for step in made.steps]
    assert len(set(names)) == len(names) == 6 and all(re.fullmatch(r"[\w-]+", name) for name in names)


def test_a_file_named_twice_is_adopted_once(tmp_path: Path) -> None:
    file = str(stored(tmp_path, [LAYOUTS["alpaca"][0](i) for i in range(3)], "jsonl"))
    one = {"stage": "sft", "model": "embedded:smollm2-135m", "data": file}
    made = check(Document("r", "", {"name": "r", "steps": {"a": one, "b": {**one, "epochs": 3.0}}}), Path())
    assert [step.name for step in made.steps] == ["mine", "a", "b"]


def test_held_out_problems_and_problem_sets_are_adopted_too(tmp_path: Path) -> None:
    rows = [LAYOUTS["question, number"][0](i) for i in range(3)]
    one, two = (str(stored(tmp_path, rows, "csv", name)) for name in ("one", "two"))
    made = recipe("rlvr", one, watch={"held_out": two}, verifier="contains")
    uses = {use.field: use for use in made.step("step").stage.references()}
    assert uses["data"].ref == "one" and uses["watch.held_out"].ref == "two" and uses["watch.held_out"].held_out
    assert {made.step(name).stage.model_dump()["verifier"] for name in ("one", "two")} == {"contains"}
    step = {"stage": "evaluate", "models": ["embedded:smollm2-135m"], "problems": {"p": one, "q": two}}
    made = check(Document("r", "", {"name": "r", "steps": {"e": step}}), Path())
    assert made.step("e").reads == ("one", "two")


def test_settings_of_reading_without_a_file_to_read_are_refused(tmp_path: Path) -> None:
    file = stored(tmp_path, [LAYOUTS["alpaca"][0](i) for i in range(3)], "jsonl")
    source = {"stage": "source", "data": str(file)}
    sft = {"stage": "sft", "model": "embedded:smollm2-135m", "data": "s", "columns": {"prompt": "q"}}
    with pytest.raises(BactrianError, match=r'step "t", field "columns": this says how a file is read'):
        check(Document("r", "", {"name": "r", "steps": {"s": source, "t": sft}}), Path())
    with pytest.raises(BactrianError, match=r'field "layout": found "sharegtp", expected'):
        recipe("sft", str(file), layout="sharegtp")
    with pytest.raises(BactrianError, match=r'field "columns": found "q", expected a mapping'):
        recipe("sft", str(file), columns="q")


def test_a_source_of_another_kind_is_seen_before_anything_is_made(tmp_path: Path) -> None:
    pairs = stored(tmp_path, [LAYOUTS["pair of texts"][0](i) for i in range(3)], "jsonl")
    steps = {
        "pairs": {"stage": "source", "data": str(pairs)},
        "few": {"stage": "mix", "sources": [{"data": "pairs", "amount": 2}]},
        "tuned": {"stage": "sft", "model": "embedded:smollm2-135m", "data": "few"},
    }
    with pytest.raises(BactrianError, match=r'step "tuned", field "data": found "few", a step that makes pair rows'):
        check(Document("r", "", {"name": "r", "steps": steps}), Path())
    odd = stored(tmp_path, [{"a": "b"}], "jsonl", "odd")
    with pytest.raises(
        BactrianError, match=r'step "pairs", field "data": found .*odd.jsonl, line 1: no known layout, {a: "b"}'
    ):
        check(Document("r", "", {"name": "r", "steps": {"pairs": {"stage": "source", "data": str(odd)}}}), Path())


def test_a_hub_id_becomes_a_source_of_the_hub() -> None:
    made = recipe("dpo", "owner/some.pairs@abc", split="test")
    stage = made.steps[0].stage
    assert isinstance(stage, DataSource) and made.steps[0].name == "some-pairs"
    assert (stage.hub, stage.revision, stage.split) == ("owner/some.pairs", "abc", "test")


def test_strict_licences_name_every_data_set_without_one(tmp_path: Path) -> None:
    rows = [LAYOUTS["alpaca"][0](i) for i in range(FIRST + 20)]
    stated = [{**row, "license": "MIT"} for row in rows]
    named = {
        "none": rows,
        "all": stated,
        "late": [*stated[:-1], rows[-1]],
        "unknown": [{**row, "license": "unknown"} for row in rows],
    }
    files = {name: str(stored(tmp_path, each, "jsonl", name)) for name, each in named.items()}
    assert recipe("sft", list(files.values())).unlicensed == (files["none"], files["unknown"])
    with pytest.raises(BactrianError) as refused:
        recipe("sft", [*files.values(), "owner/set"], {"licences": "strict"})
    lacking = [name for name, file in files.items() if f"{file} states no licence" in str(refused.value)]
    assert lacking == ["none", "late", "unknown"] and "owner/set states no licence" in str(refused.value)
    assert recipe("sft", [files["none"], "owner/set"], {"licences": "strict"}, license="CC0-1.0").unlicensed == ()
    with pytest.raises(BactrianError, match="owner/set"):
        recipe("sft", "owner/set", {"licences": "strict"}, license="unknown")
    with pytest.raises(BactrianError, match=r'field "licences": found "stirct", expected'):
        recipe("sft", files["all"], {"licences": "stirct"})


@pytest.mark.parametrize(("stage", "setting"), [("source", "allow_unlicensed"), ("mix", "allow_unclear")])
def test_settings_that_allowed_missing_licences_say_what_is_now(stage: str, setting: str, tmp_path: Path) -> None:
    file = stored(tmp_path, [LAYOUTS["alpaca"][0](i) for i in range(3)], "jsonl")
    what = {"data": str(file)} if stage == "source" else {"sources": [{"data": str(file)}]}
    with pytest.raises(BactrianError, match="licences: strict"):
        check(Document("r", "", {"name": "r", "steps": {"s": {"stage": stage, **what, setting: True}}}), Path())


def test_one_bad_row_in_a_few_is_named_with_what_lets_it_pass(tmp_path: Path) -> None:
    rows = [LAYOUTS["sharegpt"][0](i) for i in range(4)] + [{"conversations": [{"from": "human", "value": ""}]}]
    file = stored(tmp_path, rows, "jsonl")
    with pytest.raises(BactrianError, match=r"(?s)line 5: .*1 of the 5 rows cannot be used") as refused:
        recipe("sft", str(file))
    how = {name: value for each in pasted(str(refused.value)) for name, value in each.items()}
    del how["columns"]  # THEIRS is for the reader to fill in
    assert len(rows_read(recipe("sft", str(file), **how), tmp_path / "made")) == 4


def test_the_beginning_of_a_large_json_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [LAYOUTS["alpaca"][0](i) for i in range(200)]
    file = stored(tmp_path, rows, "json")
    from bactrian.data.io import formats
    from bactrian.data.io.first_rows import first_rows

    whole = first_rows(file)
    monkeypatch.setattr(formats, "_BEGINNING", 5000)
    cut = first_rows(file)
    assert 10 < len(cut) < len(whole) == FIRST and cut == whole[: len(cut)]
    file.write_text("[" + " " * 20 + ",\n{half")
    assert first_rows(file)


def test_a_column_that_is_named_and_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though the rows would do without it: what is asked then is in another column than was meant."""
    monkeypatch.chdir(tmp_path)
    Path("exam.csv").write_text("question,frage,answer\nWhat is 1 + 1?,Was ist 1 + 1?,2\n")
    asked = ["sft", "--model", "embedded:smollm2-135m", "--data", "exam.csv", "--columns"]
    for columns, wrong in (("question=fragen", "fragen"), ("question={frage} Kurz: {bitte}", "bitte")):
        assert invoke([*asked, columns]) == 2
        said = capsys.readouterr().err
        assert f'found "{wrong}", a column that none of the first rows of exam.csv has' in said
        assert 'did you mean "frage"?' in said or wrong == "bitte"
    step = {"stage": "sft", "model": "embedded:smollm2-135m", "data": "exam.csv", "columns": {"question": "frage"}}
    check(Document("r", "", {"name": "r", "steps": {"s": step}}), tmp_path)

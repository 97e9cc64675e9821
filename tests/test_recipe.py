"""Everything that can be wrong with a recipe: one message with file, line, step, field, what was found and expected."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.recipe.document import Document, override
from bactrian.recipe.recipe import Recipe, check, load
from bactrian.stages import all_stages
from bactrian.stages.stage import Stage
from bactrian.store.manifest import Kind

GOOD = """\
name: small
seed: 17
steps:
  data: {stage: letters, count: 2}
  sft:
    stage: blend
    data: data
    learning_rate: 1e-3
  scores:
    stage: compare
    models: [sft]
"""

pytestmark = pytest.mark.usefixtures("fakes")


def read(text: str, *overrides: str) -> Recipe:
    Path("r.yaml").write_text(text)
    return load(Path("r.yaml"), overrides)


def complaint(text: str, *overrides: str) -> str:
    with pytest.raises(BactrianError) as caught:
        read(text, *overrides)
    return str(caught.value)


def test_a_good_recipe_is_typed_and_ordered() -> None:
    recipe = read(GOOD)
    assert (recipe.name, recipe.seed) == ("small", 17)
    assert [step.name for step in recipe.steps] == ["data", "sft", "scores"]
    sft = recipe.step("sft")
    assert sft.stage.model_dump()["learning_rate"] == 1e-3
    assert sft.reads == ("data",) and sft.seed == 17


def test_steps_may_stand_in_any_order_in_the_file() -> None:
    backwards = "steps:\n  b: {stage: blend, data: a}\n  a: {stage: letters}\n"
    assert [step.name for step in read(backwards).steps] == ["a", "b"]
    assert read(backwards).name == "r"


def test_a_name_is_made_from_the_file_s_where_there_is_none(tmp_path: Path) -> None:
    for file, name in (("mein rezept é.v2.yaml", "mein-rezept-v2"), ("é.yaml", "run")):
        (tmp_path / file).write_text("steps:\n  data: {stage: letters}\n")
        assert load(tmp_path / file).name == name


def test_a_step_s_own_seed_wins() -> None:
    assert read("seed: 1\nsteps:\n  a: {stage: letters, seed: 5}\n").step("a").seed == 5


MALFORMED = [
    (GOOD + "  x: [1, 2\n", ["r.yaml", "line 13", "not valid YAML"]),
    ("a: b: c\n", ["r.yaml, line 1", "not valid YAML"]),
    (GOOD.replace("seed: 17", "name: twice"), ["line 2", 'duplicate key "name"']),
    (GOOD.replace("    data: data\n", "    data: data\n    data: data\n"), ["line 8", 'duplicate key "data"']),
    ("", ["r.yaml, line 1", "an empty file"]),
    ("- a\n- b\n", ["r.yaml, line 1", "expected a recipe"]),
    ("a: &a [*a]\nsteps: {}\n", ["r.yaml"]),
    ("\x00", ["r.yaml"]),
    ("steps: {a: {stage: " + "[" * 1200 + "\n", ["r.yaml"]),
]

WRONG: list[tuple[str, str, list[str]]] = [
    # (replace, by, parts of the message)
    ("seed: 17", "sede: 17", ["line 2", 'field "sede"', "found an unknown setting", 'did you mean "seed"?']),
    ("seed: 17", "seed: x", ["line 2", 'field "seed"', 'found "x"', "expected a whole number"]),
    ("seed: 17", "seed: -1", ["line 2", "found -1", "expected a number >= 0"]),
    ("name: small", "name: a/b", ["line 1", 'field "name"', 'found "a/b"']),
    ("name: small", "name: memo", ["line 1", 'field "name"', 'found "memo"']),
    (
        "seed: 17",
        "hardware: {dtype: float16}",
        ["line 2", 'field "hardware.dtype"', 'found "float16"', "expected 'auto', 'float32' or 'bfloat16'"],
    ),
    (
        "stage: blend",
        "stage: blnd",
        ["line 6", 'step "sft"', 'field "stage"', 'unknown stage "blnd"', "letters, blend, compare", 'mean "blend"'],
    ),
    ("    stage: blend\n", "", ["line 5", 'step "sft"', 'field "stage"', "found nothing", "one of: letters, blend"]),
    (
        "learning_rate: 1e-3",
        "learning_rat: 1",
        ["line 8", 'step "sft"', 'field "learning_rat"', "unknown setting", 'did you mean "learning_rate"?'],
    ),
    ("learning_rate: 1e-3", "lr: 1", ["line 8", 'field "lr"', 'did you mean "learning_rate"?']),
    ("learning_rate: 1e-3", "learning_rate: fast", ["line 8", 'found "fast"', "expected a number"]),
    ("learning_rate: 1e-3", 'learning_rate: "1"', ["line 8", 'found "1"', "expected a number"]),
    ("learning_rate: 1e-3", "learning_rate: 0", ["line 8", "found 0", "expected a number > 0"]),
    ("learning_rate: 1e-3", "learning_rate: .nan", ["line 8", "found NaN"]),
    ("learning_rate: 1e-3", "loss: simp", ["line 8", 'found "simp"', "expected 'dpo' or 'simpo'"]),
    ("learning_rate: 1e-3", "shuffle: 1", ["line 8", "found 1", "expected true or false"]),
    (
        "learning_rate: 1e-3",
        "more:\n    - data: data\n      wieght: 2",
        ["line 10", 'field "more.0.wieght"', "unknown setting"],
    ),
    ("learning_rate: 1e-3", "more:\n    - weight: 2", ["line 9", 'field "more.0.data"', "found nothing"]),
    ("learning_rate: 1e-3", "more: data", ["line 8", 'field "more"', 'found "data"', "expected a list"]),
    (
        "learning_rate: 1e-3",
        "turns: [{turn: upp}]",
        ["line 8", 'field "turns.0.turn"', 'found "upp"', "one of: up, down", 'did you mean "up"?'],
    ),
    ("learning_rate: 1e-3", "turns: [{by: 2}]", ["line 8", 'field "turns.0.turn"', "found nothing"]),
    (
        "learning_rate: 1e-3",
        "turns: [{turn: up, bye: 2}]",
        ["line 8", 'field "turns.0.bye"', "unknown setting", 'did you mean "by"?'],
    ),
    ("learning_rate: 1e-3", "turns: [{turn: up, by: x}]", ["line 8", 'field "turns.0.by"', "a whole number"]),
    ("count: 2", "count: true", ["line 4", 'step "data"', 'field "count"', "found true", "expected a whole number"]),
    ("count: 2", "count: 2.5", ["line 4", "found 2.5", "expected a whole number"]),
    ("    data: data\n", "", ["line 5", 'step "sft"', 'field "data"', "found nothing"]),
    ("{stage: letters, count: 2}", "letters", ["line 4", 'step "data"', 'found "letters"', "expected a mapping"]),
    ("data: data", "data: dataa", ["line 7", 'step "sft"', 'field "data"', '"dataa"', 'did you mean "data"?']),
    ("data: data", "data: ./no.jsonl", ["line 7", "./no.jsonl", "is no step and does not exist"]),
    ("data: data", "data: no/such.jsonl", ["line 7", "no/such.jsonl", "is no step and does not exist"]),
    ("data: data", "data: embedded:smollm2-135m", ["line 7", "which is a model", "expected something that is data"]),
    (
        "models: [sft]",
        "models: [sft, data]",
        ["line 11", 'field "models.1"', '"data", a step that makes data', "expected one that makes a model"],
    ),
    ("models: [sft]", "models: []", ["line 11", "found []", "expected at least 1 of them"]),
    (
        "models: [sft]",
        "models: ['embedded:smolm2-135m']",
        ["line 11", 'field "models.0"', "embedded:smolm2-135m", 'did you mean "embedded:smollm2-135m"?'],
    ),
    ("data: data", "data: data\n    model: sft", ["line 5", 'step "sft"', "a cycle: sft reads sft"]),
]


@pytest.mark.parametrize(("text", "parts"), MALFORMED)
def test_malformed_yaml_is_an_error_with_its_line(text: str, parts: list[str]) -> None:
    message = complaint(text)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(("old", "new", "parts"), WRONG)
def test_a_wrong_recipe_is_an_error_that_says_where_and_what(old: str, new: str, parts: list[str]) -> None:
    assert old in GOOD
    message = complaint(GOOD.replace(old, new, 1))
    assert message.startswith("r.yaml, ") and "\n" not in message
    assert all(part in message for part in [*parts, "found", "expected"]), message


def test_a_cycle_is_printed_in_order() -> None:
    text = "steps:\n" + "".join(f"  {a}: {{stage: blend, data: d, model: {b}}}\n" for a, b in ("xy", "yz", "zx"))
    message = complaint(text + "  d: {stage: letters}\n")
    assert (
        "x reads y reads z reads x" in message
        or "y reads z reads x reads y" in message
        or "z reads x reads y reads z" in message
    ), message


def test_all_problems_are_reported_at_once() -> None:
    message = complaint(GOOD.replace("count: 2", "count: two").replace("data: data", "data: nowhere"))
    assert [line.split(":")[0].split(",")[1] for line in message.splitlines()] == [" line 4", " line 7"]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(BactrianError, match=r"no\.yaml: found no such file"):
        load(Path("no.yaml"))  # and no shipped recipe of that name
    Path("latin.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(BactrianError, match=r"latin\.yaml: the recipe cannot be read"):
        load(Path("latin.yaml"))


def test_paths_are_looked_up_here_and_next_to_the_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("{}\n")
    (folder / "r.yaml").write_text("steps:\n  b: {stage: blend, data: rows.jsonl}\n")
    assert load(folder / "r.yaml").step("b").reads == ()


def test_a_hub_id_is_left_for_later() -> None:
    assert read("steps:\n  b: {stage: blend, data: openai/gsm8k, model: HuggingFaceTB/SmolLM2-135M@main}\n").steps


OVERRIDES: list[tuple[str, list[str]]] = [
    ("sft.learning_rate=fast", ["--set sft.learning_rate=fast", 'step "sft"', 'found "fast"', "expected a number"]),
    ("sft.lr=1", ["--set sft.lr=1", 'field "lr"', 'did you mean "learning_rate"?']),
    ("sfd.learning_rate=1", ["--set sfd.learning_rate=1", 'step "sfd"', "found no such step", 'did you mean "sft"?']),
    ("sft", ["--set sft", 'found no "="', "expected step.field=value"]),
    ("sft=1", ["--set sft=1", "expected step.field=value"]),
    ("sft.data=[", ["--set sft.data=[", "not valid YAML"]),
    ("sft.data=nowhere", ["--set sft.data=nowhere", 'field "data"', "is no step and does not exist"]),
    ("scores.models.3=sft", ["--set scores.models.3=sft", "expected a position from 0 to 0"]),
    ("sft.data.x=1", ["--set sft.data.x=1", "a single value"]),
    ("seed=x", ["--set seed=x", 'field "seed"', 'found "x"', "expected a whole number"]),
    ("hardware.threads=0", ["--set hardware.threads=0", "expected a number >= 1"]),
]


@pytest.mark.parametrize(("setting", "parts"), OVERRIDES)
def test_a_wrong_override_is_an_error_that_names_it(setting: str, parts: list[str]) -> None:
    message = complaint(GOOD, setting)
    assert message.startswith("--set") and all(part in message for part in parts), message


def test_overrides_are_typed_as_yaml() -> None:
    recipe = read(
        GOOD,
        "sft.learning_rate=2e-4",
        "scores.models=[sft, sft]",
        "seed=3",
        "sft.shuffle=false",
        "hardware.dtype=float32",
        "scores.tasks.sums=data",
    )
    sft, scores = recipe.step("sft").stage.model_dump(), recipe.step("scores").stage.model_dump()
    assert (sft["learning_rate"], sft["shuffle"]) == (2e-4, False)
    assert scores["models"] == ["sft", "sft"] and scores["tasks"] == {"sums": "data"}
    assert recipe.seed == 3 and recipe.hardware.dtype == "float32"


def test_references_are_found_wherever_they_are() -> None:
    stage = read(GOOD.replace("data: data", "data: data\n    more: [{data: data, weight: 2}]")).step("sft").stage
    assert [(found.field, found.ref, found.kind) for found in stage.references()] == [
        ("data", "data", Kind.DATA),
        ("more.0.data", "data", Kind.DATA),
    ]


def test_initials_and_typos_find_the_nearest_name() -> None:
    assert nearest("lr", ["loss", "learning_rate"]) == "learning_rate"
    assert nearest("epoch", ["epochs", "data"]) == "epochs"
    assert nearest("zzz", ["epochs"]) is None


@given(
    st.integers(1, 8).flatmap(
        lambda n: st.tuples(
            st.permutations(range(n)), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=12)
        )
    )
)
def test_any_acyclic_recipe_is_ordered_after_its_inputs(drawn: tuple[list[int], list[tuple[int, int]]]) -> None:
    order, pairs = drawn
    reads = {name: sorted({min(pair) for pair in pairs if max(pair) == name != min(pair)}) for name in order}
    steps = {f"s{name}": {"stage": "compare", "models": ["m"], "tasks": {}} for name in order}
    steps = {
        f"s{name}": {
            "stage": "blend",
            "data": "d",
            "more": [],
            **({"model": f"s{reads[name][0]}"} if reads[name] else {}),
        }
        for name in order
    }
    document = Document("r", "", {"name": "r", "steps": {**steps, "d": {"stage": "letters"}}})
    made = [step.name for step in check(document, Path()).steps]
    assert sorted(made) == sorted([*steps, "d"])
    for step in check(document, Path()).steps:
        assert all(made.index(read) < made.index(step.name) for read in step.reads)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["stage", "data", "models", "count", "more", "seed", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(anything)
def test_no_data_whatever_makes_the_check_fail_otherwise_than_in_words(value: Any) -> None:
    data = {"name": "r", "steps": {"a": {"stage": "letters"}, "b": value, "c": {"stage": "blend", "data": value}}}
    with pytest.raises(BactrianError):
        check(Document("r", "", data), Path())


@given(st.text(max_size=30))
def test_no_override_whatever_fails_otherwise_than_in_words(text: str) -> None:
    document = Document("r", "", {"name": "r", "steps": {"a": {"stage": "letters"}}})
    try:
        override(document, [f"a.{text}", text])
        check(document, Path())
    except BactrianError:
        pass


def test_the_real_stages_load_without_torch_and_have_distinct_names() -> None:
    for name, stage in all_stages().items():
        assert issubclass(stage, Stage) and stage.name == name and isinstance(stage.makes, Kind)

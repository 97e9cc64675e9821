"""What a person can get wrong, through the real command line and real stages: one message, status 2, no traceback."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke

HOSTILE = "\x1b]0;owned\x07\x1b[31m[red]<script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few thousand weights, in a folder whose name has a space and a letter beyond ASCII."""
    import torch

    from bactrian.model import blank

    folder = tmp_path_factory.mktemp("models") / "klein é"
    tokenizer = blank.word_tokenizer(["What is one and two ? three . yes no"], 64)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 16, "context": 64}
    blank.new_model(tokenizer, architecture="llama", folder=folder, **sizes)
    return folder


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bactrian.run.make.prepare", lambda hardware, seed: None)
    monkeypatch.setenv("BACTRIAN_NO_REEXEC", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said about a command that must be refused."""
    status = invoke(arguments)
    error = capsys.readouterr().err
    assert status == 2 and "Traceback" not in error and "\x1b" not in error and "\u202e" not in error, error
    return error[error.rindex("error: ") :]


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


TALK = {"messages": turns("one ?", "two")}
SUM = {"messages": turns("one and two ?"), "ground_truth": "3", "dataset": "gsm8k"}
PAIR = {"prompt": turns("one ?"), "chosen": turns("", "two")[1:], "rejected": turns("", "three")[1:]}


def without(row: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != field}


def write(*rows: Any, ending: str = "\n") -> str:
    Path("rows é.jsonl").write_text("\n".join(map(json.dumps, rows)) + ending)
    return "rows é.jsonl"


RECIPES = {
    "steps:\n  a: {stage: sft, model: [\n": ["r é.yaml, line 3", "not valid YAML"],
    "steps:\n  a: {stage: sftt}\n": ["line 2", 'step "a"', 'field "stage"', 'unknown stage "sftt"', '"sft"?'],
    "steps:\n  a:\n    stage: corpus\n    cuont: 3\n": ["line 4", 'field "cuont"', 'did you mean "count"?'],
    "steps:\n  a: {stage: corpus, count: many}\n": ["line 2", 'field "count"', '"many"', "a whole number"],
    "steps:\n  a: {stage: sft, model: b, data: d}\n  d: {stage: corpus}\n": ['step "a"', 'field "model"', '"b"'],
    "steps:\n  a: {stage: sft, model: d, data: d}\n  d: {stage: corpus}\n": ['"d", a step that makes data', "a model"],
    "steps:\n  a: {stage: sft, model: b, data: d}\n  b: {stage: sft, model: a, data: d}\n  d: {stage: corpus}\n": [
        "a cycle: a reads b reads a"
    ],
    "steps:\n  a: {stage: sft, model: 'embedded:smol', data: d}\n  d: {stage: corpus}\n": [
        'field "model"',
        '"embedded:smol"',
        'did you mean "embedded:smollm2-135m"?',
    ],
    "steps:\n  a: {stage: problems, tasks: [{source: sumz, count: 1}]}\n": [
        'field "tasks.0.source"',
        '"sumz"',
        'did you mean "sums"?',
    ],
    "steps:\n  a: {stage: problems, tasks: [{source: sums, count: 1, terms: [5, 2]}]}\n": [
        'step "a"',
        "terms is 5 to 2",
        "smallest ≤ largest",
    ],
    "steps:\n  a: {stage: evaluate, models: [d], data: d, k: [4]}\n  d: {stage: corpus}\n": [
        "k: found [4]",
        "from 1 to samples (0)",
    ],
    "name: ../../etc\nsteps:\n  a: {stage: corpus}\n": ["line 1", 'field "name"', '"../../etc"'],
    "hardware: {dtype: fp16}\nsteps:\n  a: {stage: corpus}\n": ["line 1", '"hardware.dtype"', '"fp16"', "'bfloat16'"],
    "steps:\n  a: {stage: corpus}\n  a: {stage: corpus}\n": ["line 3", 'duplicate key "a"'],
    "steps:\n  a: !!python/object/apply:os.mkdir [owned]\n": ["line 2", 'step "a"'],
    "": ["line 1", "an empty file"],
    "- a\n": ["line 1", "no mapping"],
}


@pytest.mark.parametrize(("text", "parts"), RECIPES.items())
def test_a_recipe_at_fault_is_refused(capsys: pytest.CaptureFixture[str], text: str, parts: list[str]) -> None:
    Path("r é.yaml").write_text(text)
    said = complaint(capsys, "run", "r é.yaml")
    assert not [part for part in parts if part not in said], said
    assert not Path("owned").exists()


ROWS: list[tuple[str, Callable[[], str], list[str]]] = [
    ("sft", lambda: write(TALK, TALK, ending="\n" + json.dumps(TALK)[:30]), ["line 3", "column 31", "half a JSON"]),
    ("sft", lambda: write(TALK, {"text": "one"}), ["line 2: a text row", '{text: "one"}', "1 of the 2 rows"]),
    ("sft", lambda: write({"messages": turns("one ?", " ")}), ["line 1", "message 2", "empty assistant turn"]),
    ("sft", lambda: write({"messages": "one ?"}), ["line 1", "field 'messages'", "expected a list", "'one ?'"]),
    ("sft", lambda: write(ending=""), ["empty, no rows"]),
    ("sft", lambda: write({"messages": [{"role": HOSTILE, "content": ""}]}), ["line 1", "field 'role'", r"\x1b[31m"]),
    ("sft", lambda: write({HOSTILE: 1}), ["line 1: no known layout", r"\u001b[31m[red]<script>"]),
    ("pretrain", lambda: write(TALK), ["line 1", "no field 'text'"]),
    ("dpo", lambda: write(PAIR, without(PAIR, "rejected")), ["line 2", "no field 'rejected'"]),
    ("dpo", lambda: write({**PAIR, "prompt": []}), ["line 1", "field 'prompt'"]),
    ("dpo", lambda: write({**PAIR, "rejected": PAIR["chosen"]}), ["no pair is left", "the same text: 1", "row 1"]),
    ("evaluate", lambda: write(SUM, without(SUM, "ground_truth")), ["line 2", "no field 'ground_truth'"]),
    (
        "evaluate",
        lambda: write({**SUM, "ground_truth": [[]] * 2, "dataset": 3}),
        ["line 1", "'ground_truth'", "found [["],
    ),
    ("evaluate", lambda: write(SUM, {**SUM, "id": "x", "dataset": "gsm9k"}), ["row 2", "'gsm9k'", "mean 'gsm8k'"]),
    ("evaluate", lambda: write({**SUM, "messages": turns("one ?", "two")}), ["line 1", "ends with a user turn"]),
    ("rlvr", lambda: write(without(SUM, "ground_truth")), ["line 1", "no field 'ground_truth'"]),
    ("rlvr", lambda: write({**SUM, "dataset": "gsm9k"}), ["'gsm9k'", "did you mean 'gsm8k'"]),
    ("prefer", lambda: write(without(SUM, "dataset")), ["line 1", "no field 'dataset'"]),
]
MODEL_OPTION = {"sft": "--model", "dpo": "--model", "rlvr": "--model", "evaluate": "--models", "prefer": "--pool"}


@pytest.mark.parametrize(("stage", "rows", "parts"), ROWS)
def test_a_row_at_fault_is_named(
    capsys: pytest.CaptureFixture[str], tiny: Path, stage: str, rows: Callable[[], str], parts: list[str]
) -> None:
    model = [MODEL_OPTION[stage], str(tiny)] if stage in MODEL_OPTION else []
    data = "--prompts" if stage == "prefer" else "--data"
    said = complaint(capsys, stage, *model, data, rows())
    assert not [part for part in [f'step "{stage}"', *parts] if part not in said], said


def test_an_unknown_verifier_in_a_file_of_problems_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    name = write(SUM, {**SUM, "dataset": "gsm9k"})
    said = complaint(capsys, "problems", "--tasks", json.dumps([{"source": "file", "data": name}], ensure_ascii=False))
    assert f"{name}, row 2, field 'dataset': no verifier is called 'gsm9k'" in said


@pytest.mark.parametrize("stage", [("prefer", "--prompts", "--pool"), ("rlvr", "--data", "--model")])
def test_an_unknown_verifier_costs_no_sampling(
    capsys: pytest.CaptureFixture[str], tiny: Path, stage: tuple[str, str, str]
) -> None:
    name = write(SUM, {**SUM, "dataset": "gsm9k"})
    said = complaint(capsys, stage[0], stage[1], name, stage[2], str(tiny))
    assert f"{name}, row 2, field 'dataset': no verifier is called 'gsm9k'" in said


@pytest.mark.parametrize(
    "stage",
    [
        ("evaluate", "--data", "--models"),
        ("prefer", "--prompts", "--pool"),
        ("rlvr", "--data", "--model"),
    ],
)
def test_answers_longer_than_the_context_are_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tiny: Path, stage: tuple[str, str, str]
) -> None:
    problem = write({**SUM, "id": "camel"})
    said = complaint(capsys, stage[0], stage[1], problem, stage[2], str(tiny), "--max-new-tokens", "4096")
    context = json.loads((tiny / "config.json").read_text())["max_position_embeddings"]
    assert f"{context}" in said and "4096" in said and "max_new_tokens" in said
    assert "camel" in said or stage[0] == "evaluate"


def test_a_length_that_leaves_nothing_to_train_is_named(capsys: pytest.CaptureFixture[str], tiny: Path) -> None:
    said = complaint(capsys, "sft", "--model", str(tiny), "--data", write(TALK), "--max-length", "4")
    assert "no row has a trained token within 4 tokens" in said
    said = complaint(capsys, "sft", "--model", str(tiny), "--data", write(TALK), "--max-length", "1")
    assert "--max-length 1" in said and "found 1, expected a number >= 2" in said


def spoil(folder: Path, name: str) -> None:
    if name == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif name == "pickle":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    elif name == "no header":
        (folder / "model.safetensors").write_bytes(b"")
    elif name == "no config":
        (folder / "config.json").unlink()
    elif name == "remote code":
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "own.py").write_text("import os; os.mkdir('owned')")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("no tokenizer", "no tokenizer: expected tokenizer.json"),
        ("pickle", "weights only as pytorch_model.bin: a pickle can run any code"),
        ("no header", "model.safetensors: found no safetensors header"),
        ("no config", "no config.json"),
        ("remote code", "cannot be loaded"),
    ],
)
def test_a_model_folder_at_fault_is_refused(
    capsys: pytest.CaptureFixture[str], tiny: Path, name: str, part: str
) -> None:
    shutil.copytree(tiny, name)
    spoil(Path(name), name)
    said = complaint(capsys, "sft", "--model", name, "--data", write(TALK))
    assert name in said and part in said, said
    assert not Path("owned").exists()


def test_a_full_disk_is_named(capsys: pytest.CaptureFixture[str], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("safetensors.torch.save_file", full)  # as in checkpoints
    said = complaint(
        capsys,
        "sft",
        "--model",
        str(tiny),
        "--data",
        write(TALK),
        "--checkpoints.checkpoint-seconds",
        "0",
        "--epochs",
        "4",
        "--batch-size",
        "1",
    )
    assert "checkpoints: the disk is full" in said and "run again to resume" in said


def test_hostile_text_in_data_goes_through_and_steers_nothing(capsys: pytest.CaptureFixture[str], tiny: Path) -> None:
    row = {**SUM, "messages": turns(f"one {HOSTILE} [/bold] ?"), "source": HOSTILE, "license": HOSTILE, "id": HOSTILE}
    arguments = ["evaluate", "--models", str(tiny), "--data", write(row), "--max-new-tokens", "4"]
    assert invoke(arguments) == 0
    folder = next(Path("runs/artifacts").glob("evaluate-*"))
    assert invoke(["show", str(folder)]) == 0
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err and "\u202e" not in output.out + output.err
    assert r"\x1b[31m[red]" in output.out  # the licence, as text
    page = Path("runs/evaluate/report.html").read_text()
    assert "<script>alert" not in page and "\x1b" not in page and "\u202e" not in page
    assert "owned" in page

"""A template without a place for tools is told by its text, before anything is loaded."""

import json
from pathlib import Path

import pytest

from bactrian.chat.named_templates import NAMED, WITH_TOOLS
from bactrian.chat.tool_places import lacks_tools, tools_in
from bactrian.cli.main import invoke

PLAIN = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"
CALL = {"name": "add", "arguments": "{}"}
TOOLS = json.dumps([{"type": "function", "function": {"name": "add"}}])


@pytest.mark.parametrize("name", NAMED)
def test_of_named_templates_those_that_are_said_to(name: str, tmp_path: Path) -> None:
    assert (lacks_tools(tmp_path, name, True, True) == "") == (name in WITH_TOOLS)


def test_of_a_model_s_own_template_its_file_or_configuration(tmp_path: Path) -> None:
    assert lacks_tools(tmp_path, None, True, True) == ""  # it has none: said elsewhere
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": PLAIN}))
    said = lacks_tools(tmp_path, None, True, True)
    assert "does not write the tools that rows list and calls" in said and "chatml" in said
    assert lacks_tools(tmp_path, "chatml", True, True) == "" == lacks_tools(tmp_path, None, False, False)
    (tmp_path / "chat_template.jinja").write_text("{{ tools }}" + PLAIN)  # transformers prefers it
    assert lacks_tools(tmp_path, None, True, False) == "" != lacks_tools(tmp_path, None, False, True)


def test_what_rows_have() -> None:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    assert tools_in([{"messages": turns[:1]}, {"text": "a"}]) == (False, False)
    assert tools_in([{"messages": turns[:1], "tools": TOOLS}]) == (True, False)
    assert tools_in([{"prompt": turns[:1], "chosen": turns[1:], "rejected": []}]) == (False, True)


def test_it_is_said_of_a_recipe_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    for name, text in (("config.json", "{}"), ("model.safetensors", ""), ("chat_template.jinja", PLAIN)):
        Path("model", name).write_text(text)
    call = {"function": {"name": "add", "arguments": "{}"}}
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    turns += [{"role": "tool", "content": "3"}, {"role": "assistant", "content": "It is 3."}]
    Path("calls.jsonl").write_text(json.dumps({"messages": turns, "tools": json.loads(TOOLS), "license": "MIT"}) + "\n")
    assert invoke(["sft", "--model", "model", "--data", "calls.jsonl"]) == 2
    said = capsys.readouterr().err
    assert 'step "sft", field "data": these rows have tools, and the chat template of model' in said
    assert "making" not in said and not Path("runs", "artifacts").exists()

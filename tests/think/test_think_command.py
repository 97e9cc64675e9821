"""`bactrian think`, as a person calls it."""

import socket
from pathlib import Path

import pytest
from chain import thinker

from bactrian.cli.main import invoke


def test_one_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thinker(tmp_path / "m")
    command = ["think", str(tmp_path / "m"), "ab\x1b[31m?", "--budget", "12", "--answer", "4", "--format", "tags"]
    assert invoke(command) == 0
    out, err = capsys.readouterr()
    assert out.endswith("\n") and "⟦\n</think>\n\nFinal Answer:⟧" in out and "\x1b" not in out + err
    assert "thinking 12 of 12 tokens, cut by the budget" in err and "answer 4 tokens" in err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--budget", "600"], "the budget may be"),
        (["--format", "tag"], "expected auto or one of"),
        (["--budget", "-1"], "not in the range"),
    ],
)
def test_bad_input_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], said: str
) -> None:
    thinker(tmp_path / "m")
    assert invoke(["think", str(tmp_path / "m"), "ab?", *wrong]) == 2
    assert said in capsys.readouterr().err


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thinker(tmp_path / "m")
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and never answers
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"
        assert (
            invoke(
                [
                    "think",
                    str(tmp_path / "m"),
                    "ab?",
                    "--format",
                    "tags",
                    "--budget",
                    "8",
                    "--server",
                    url,
                    "--timeout",
                    "0.2",
                ]
            )
            == 2
        )
    said = capsys.readouterr().err
    assert url in said and "Traceback" not in said


def test_a_conversation_counts_thinking_and_keeps_it_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bactrian.chat import ChatTemplate, ThinkingReader
    from bactrian.cli.chat_console import _turn

    model = thinker(tmp_path / "m")
    said = "<think>ab a</think>\nbb"
    ids = model.template.encoder.text(said)
    reader = ThinkingReader(model.template)  # its template has no such thing
    assert _turn(reader, reader.parts(ids, said)) == {"role": "assistant", "content": said}
    template = ChatTemplate.load(model.tokenizer, "tulu-think")
    reader = ThinkingReader(template)
    turn = _turn(reader, reader.parts(ids, said))
    assert turn == {"role": "assistant", "content": "bb", "reasoning_content": "ab a"}
    assert capsys.readouterr().err.splitlines()[-1] == "(thinking 7 tokens, answer 3)"
    assert template.write([{"role": "user", "content": "a"}, turn], False).endswith(said + "</s>")

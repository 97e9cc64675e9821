"""Some forty first mistakes, each answered before anything heavy is loaded, by a message that holds its fix."""

from pathlib import Path

import pytest

from tests.first_hour.mistakes import DOCUMENT, MISTAKES, Answer, answers, document


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    return answers(tmp_path_factory.mktemp("mistakes"))


def test_there_are_forty() -> None:
    assert len({mistake.command for mistake in MISTAKES}) >= 40
    late = [mistake.late for mistake in MISTAKES]
    assert late == sorted(late)  # what has read rows may have loaded more than the next one would


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda number: MISTAKES[number].title)
def test_the_answer_holds_the_fix(number: int, given: list[Answer]) -> None:
    mistake, answer = MISTAKES[number], given[number]
    assert answer.status == 2, answer.said
    assert mistake.fix in answer.said
    assert "Traceback" not in answer.said and ("making" not in answer.said or mistake.late)
    assert mistake.late or (not answer.torch and answer.seconds < 3)


def test_the_document_is_what_was_said(given: list[Answer]) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(given)


def test_a_right_command_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files and the command that most of them begin with are fine."""
    from bactrian.cli.main import invoke
    from tests.first_hour import mistakes

    mistakes.write_files(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert invoke(["plan", "recipe.yaml"]) == 0
    assert "error" not in capsys.readouterr().err

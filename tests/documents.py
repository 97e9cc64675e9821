"""The code blocks of the documents, and a folder in which they can run: tiny models and a few rows by the names used.

A block that cannot run stands under a line `<!-- not run: why -->`.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+?) -->\n+)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)
SHELL = ("", "sh", "bash", "console")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, and why it is not run, if it is not."""

    document: str
    line: int
    language: str
    text: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: Path) -> Iterator[Block]:
    """All blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    name = str(document.relative_to(ROOT)) if document.is_relative_to(ROOT) else document.name
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        inner = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        yield Block(name, line, found["language"], inner, found["why"] or "")


def all_blocks() -> list[Block]:
    """Of every document."""
    return [block for document in DOCUMENTS for block in blocks(document)]


def commands(text: str) -> Iterator[str]:
    """The commands of a shell block, without comments; a line may hold several, set apart."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        bare = re.sub(r"\s(>|>>|<)\s?\S+", "", bare)  # into a file
        yield from filter(None, re.split(r"\s{2,}(?=bactrian )|\s&&\s", bare))


def check_command(command: str) -> None:
    """A command of a document can be typed: its program is there, and takes these options.

    Raises:
        AssertionError: naming what is wrong. Files that a reader has and we have not are no error.
    """
    # of a synopsis: [--optional], several …, one of a|b
    plain = re.sub(r"\s…|[\[\]]", "", re.sub(r"\|[^\s\]]+", "", command))
    program, *arguments = shlex.split(plain)
    while "=" in program:  # a variable before the command
        program, *arguments = arguments
    if program == "bactrian":
        parse(arguments)
    elif program == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        unknown = {each for each in arguments if "=" not in each} - targets
        assert not unknown, f"the Makefile has no {unknown}"
    elif Path(program).name in ("python", "pytest", "python3"):
        missing = [each for each in arguments if re.fullmatch(r"(tests|benchmarks|examples)/\S*", each)]
        missing = [each for each in missing if not (ROOT / each).exists()]
        assert not missing, f"no {missing}"
    else:
        assert program in ("pip", "pipx", "uvx", "cd", "git", "export", "cat"), f"nothing is known of {program}"


def parse(arguments: list[str]) -> None:
    """Read a bactrian command as its program would, and do nothing.

    Raises:
        AssertionError: an unknown command or option, or a value that it does not take.
    """
    from bactrian.cli.main import commands as group

    try:
        context = group.make_context("bactrian", list(arguments))
        rest = [*context._protected_args, *context.args]
        while isinstance(context.command, click.Group) and rest:
            name, command, rest = context.command.resolve_command(context, rest)
            assert command is not None
            context = command.make_context(str(name), rest, parent=context)
            rest = [*context._protected_args, *context.args] if isinstance(command, click.Group) else []
    except click.exceptions.Exit:  # --help
        return
    except click.ClickException as error:
        there = isinstance(error, click.BadParameter) and "does not exist" in error.message
        assert there, f"bactrian {shlex.join(arguments)}: {error.format_message()}"


def steps_of(text: str) -> dict[str, Any]:
    """A YAML block as a recipe: a whole one, steps, or one step's settings."""
    from ruamel.yaml import YAML

    data = YAML(typ="safe", pure=True).load(text)
    assert isinstance(data, dict), "no mapping"
    return data if "steps" in data else {"steps": data}


CHATS = [("what is 12 ?", "12 = 12"), ("the cat", "sat on a mat"), ("is 12 a cat ?", "12 is 12")]


def write_rows(folder: Path) -> None:
    """The files that blocks name."""
    chats = [[{"role": "user", "content": asked}, {"role": "assistant", "content": said}] for asked, said in CHATS]
    problems = [[{"role": "user", "content": f"what is {n} + {n} ?"}] for n in range(6)]
    files: dict[str, list[dict[str, Any]]] = {
        "rows.jsonl": [{"messages": messages, "license": "CC0-1.0"} for messages in chats],
        "pairs.jsonl": [
            {"prompt": messages[:1], "chosen": messages[1:], "rejected": [{"role": "assistant", "content": "no"}]}
            for messages in chats
        ],
        "unseen.jsonl": [
            {"messages": messages, "dataset": "gsm8k", "ground_truth": str(2 * n), "license": "CC0-1.0"}
            for n, messages in enumerate(problems)
        ],
        "prompts.jsonl": [{"prompt": f"say {n} and please", "license": "CC0-1.0"} for n in range(6)],
    }
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = [{"question": asked, "reply": said} for asked, said in CHATS]
    (folder / "chats.json").write_text(json.dumps(plain))
    (folder / "faq.csv").write_text("question,reply\n" + "".join(f"{asked},{said}\n" for asked, said in CHATS))

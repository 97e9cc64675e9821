"""Rows that stand in for a source in a rehearsal: its layout and columns, and nothing else of it.

Texts are common words in a random order, drawn from the source's name, so that no two sources share a question.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bactrian.data.io.rows import Row
from bactrian.verify import verifier as verifier_of

_COMMON = """
the of and a to in is you that it he was for on are with as his they be at one have this from or had by hot but some
what there we can out other were all your when up use word how said an each she which do their time if will way about
many then them would write like so these her long make thing see him two has look more day could go come did my sound
no most number who over know water than call first people may down side been now find any new work part take get place
made live where after back little only round man year came show every good me give our under name very through just
form much great think say help low line before turn cause same mean differ move right boy old too does tell sentence
set three want air well also play small end put home read hand port large spell add even land here must big high such
follow act why ask men change went light kind off need house picture try us again animal point mother world near build
"""
WORDS = tuple(_COMMON.split())
VERIFIERS = ("gsm8k", "math", "instructions")
"""Of problems whose source leaves it to its rows, as Tülu 3's does: they take turns."""
_COLUMN = re.compile(r"\{([^{}]+)\}")


def made_up_rows(
    name: str,
    layout: str,
    count: int,
    *,
    columns: Mapping[str, str],
    keep: Sequence[str] = (),
    source_column: str = "",
    verifier: str = "",
) -> list[Row]:
    """`count` rows as a source of this name might hold them, which stage `source` reads with these very settings.

    `layout`: a name of LAYOUTS, or "auto": questions and answers where there is a verifier, else messages.
    """
    layout = ("question_answer" if verifier else "messages") if layout == "auto" else layout
    rows = []
    for number in range(count):
        draw = random.Random(f"{name}/{number}")
        ours = _ours(draw, layout, verifier or VERIFIERS[number % len(VERIFIERS)], bool(verifier))
        row = _named(ours, columns)
        row |= {column: f"kind {number % 3}" for column in (*keep, source_column) if column and column not in row}
        if "label" in ours and "label" in keep:
            row["label"] = number % 2 == 0
        rows.append(row)
    return rows


def made_up_cases(name: str, count: int) -> list[Row]:
    """`count` cases in MediQ's layout, which stage `cases` reads."""
    rows: list[Row] = []
    for number in range(count):
        draw = random.Random(f"{name}/{number}")
        facts = [_text(draw, 6) for _ in range(4)]
        rows.append(
            {
                "id": number,
                "question": _text(draw, 8),
                "context": facts,
                "options": {letter: _text(draw, 3) for letter in "ABCD"},
                "answer_idx": "B",
                "facts": facts,
            }
        )
    return rows


def _ours(draw: random.Random, layout: str, verifier: str, verified: bool) -> Row:
    """A row under the layout's own names."""
    asked = {"role": "user", "content": _text(draw)}
    said = [{"role": "assistant", "content": _text(draw)} for _ in range(2)]
    truth, solution, settings = _gold(draw, verifier)
    answer = truth if verified else said[0]["content"]
    if layout == "problem":
        extra = {"settings": settings} if settings else {}
        return {"messages": [asked], "ground_truth": truth, "dataset": verifier, "solution": solution, **extra}
    shapes: dict[str, Row] = {
        "pair": {"prompt": asked["content"], "chosen": [asked, said[0]], "rejected": [asked, said[1]]},
        "feedback": {"messages": [asked, said[0]], "label": True},
        "messages": {"messages": [asked, said[0]]},
        "sharegpt": {
            "conversations": [
                {"from": "human", "value": asked["content"]},
                {"from": "gpt", "value": said[0]["content"]},
            ]
        },
        "glaive": {
            "system": f"SYSTEM: {_text(draw, 5)}",
            "chat": f"USER: {asked['content']}\n\n\nASSISTANT: {said[0]['content']} <|endoftext|>",
        },
        "function_calls": {"query": asked["content"], "answers": [_call(draw)], "tools": [_TOOL]},
        "alpaca": {"instruction": asked["content"], "input": "", "output": said[0]["content"]},
        "self_instruct": {"instruction": asked["content"], "instances": [{"input": "", "output": said[0]["content"]}]},
        "prompt_completion": {"prompt": asked["content"], "completion": answer},
        "choices": {"question": asked["content"], "choices": [_text(draw, 3) for _ in range(4)], "answer": "B"},
        "question_answer": {"question": asked["content"], "answer": answer},
        "transcript": {"text": f"Human: {asked['content']}\n\nAssistant: {said[0]['content']}"},
        "text": {"text": "\n".join(_text(draw) for _ in range(3))},
        "dolma": {"id": _text(draw, 1), "text": "\n".join(_text(draw) for _ in range(3)), "source": "made up"},
    }
    return shapes[layout]


_TOOL = {"name": "look", "description": "Looks something up.", "parameters": {"type": "object", "properties": {}}}


def _call(draw: random.Random) -> Row:
    return {"name": _TOOL["name"], "arguments": {"what": _text(draw, 3)}}


def _gold(draw: random.Random, verifier: str) -> tuple[str, str, dict[str, Any]]:
    """(ground truth, an answer that is right, settings): one of the verifier's own examples."""
    right = [each for each in verifier_of(verifier).examples if each.outcome == "right"]
    if not right:  # a model decides
        return _text(draw, 5), _text(draw), {}
    example = draw.choice(right)
    return example.ground_truth, example.completion, dict(example.settings)


def _named(row: Row, columns: Mapping[str, str]) -> Row:
    """The row as it is before `columns` are applied: each of the layout's columns under the source's own name.

    Every column of a template gets the value, or, where that is a JSON object, the part of it of that name.
    """
    given = {name: value for name, value in row.items() if name not in columns}
    for name, theirs in columns.items():
        value = row.get(name, "one two three")
        for column in _COLUMN.findall(theirs) or [theirs]:
            given[column] = _part(value, column)
    return given


def _part(value: Any, column: str) -> Any:
    try:
        whole = json.loads(value)
        return whole[column]
    except (TypeError, ValueError, KeyError):
        return value


def _text(draw: random.Random, words: int = 0) -> str:
    chosen = draw.choices(WORDS, k=words or draw.randint(14, 40))
    return " ".join(chosen).capitalize() + "."

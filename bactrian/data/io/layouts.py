"""The field's layouts of training rows, each as a function from a row's columns to ours (docs/data.md lists them)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from bactrian.data.io.misfit import TurnMisfit
from bactrian.data.io.rows import Row, RowKind
from bactrian.data.io.tool_turns import Turns, with_tools
from bactrian.data.io.turns import (
    from_glaive,
    from_transcript,
    messages_of,
    refuse_tools,
    split_pair,
    spoken,
    tidy,
)
from bactrian.data.io.written_calls import calls_of

Adapted = tuple[Row, list[str]]
"""The columns of our kind, and what was mended."""


@dataclass(frozen=True)
class FileLayout:
    """How rows may look: `needs` are the sets of columns of which one must be there, `reads` all that is looked at.

    One that is not `detectable` is used only where it is named. Columns in `doubts` say that a row holds more than the
    layout would take, such as the passage that a question is about: then it must be named too.
    """

    name: str
    kind: RowKind
    needs: tuple[frozenset[str], ...]
    reads: frozenset[str]
    adapt: Callable[[Row], Adapted]
    detectable: bool = True
    doubts: frozenset[str] = frozenset()

    def fits(self, columns: frozenset[str]) -> bool:
        """Whether all needed columns are there."""
        return any(need <= columns for need in self.needs)


@cache
def detect(columns: frozenset[str]) -> FileLayout | None:
    """The layout of a row with these columns: the first in LAYOUTS that fits."""
    return next((layout for layout in LAYOUTS.values() if layout.detectable and layout.fits(columns)), None)


def as_problem(row: Row, verifier: str) -> Row:
    """A conversation of question and answer as a problem; `row` is what `adapt` of a layout gave.

    The ground truth is the one that the layout found, or what follows `####` in the answer, or the whole answer; an
    answer that is more than that is the worked solution.
    """
    refuse_tools(row["messages"])
    *asked, answer = row["messages"]
    if len([turn for turn in asked if turn["role"] == "user"]) != 1:
        raise TurnMisfit("several turns, where a problem has one")
    text = answer["content"]
    truth = row.get("ground_truth", text.rpartition("####")[2]).strip()
    if not truth:
        raise TurnMisfit("no final answer")
    worked = {"solution": text} if text.strip() != truth else {}
    tools = {"tools": row["tools"]} if "tools" in row else {}
    return {"messages": asked, "ground_truth": truth, "dataset": verifier} | worked | tools


def _conversation(turns: Turns, row: Row) -> Adapted:
    """A conversation, after the `system` column's text if there is one, with the tools that are listed."""
    if isinstance(row.get("system"), str) and turns and turns[0]["role"] != "system":
        turns = [spoken("system", row["system"], "system"), *turns]
    turns, tools, mended = with_tools(turns, row.get("tools"))
    messages, also = tidy(turns, answered=True)
    return {"messages": messages, **tools}, [*mended, *also]


def _problem(row: Row) -> Adapted:
    turns, tools, mended = with_tools(messages_of(row["messages"], "messages"), row.get("tools"))
    messages, also = tidy(turns, answered=False)
    refuse_tools(messages)
    kept = {**tools, "messages": messages, "ground_truth": _truth(row["ground_truth"]), "dataset": row["dataset"]}
    if isinstance(kept["dataset"], list) and len(kept["dataset"]) == 1:
        kept["dataset"] = kept["dataset"][0]
    for field in ("ground_truth", "dataset"):
        if not isinstance(kept[field], str) or not kept[field].strip():
            raise TurnMisfit(f"'{field}' is no text", repr(kept[field])[:60])
    if isinstance(row.get("solution"), str) and row["solution"].strip():
        kept["solution"] = row["solution"]
    if row.get("settings"):
        if not isinstance(row["settings"], Mapping):
            raise TurnMisfit("'settings' is no object", repr(row["settings"])[:60])
        kept["settings"] = row["settings"]
    return kept, [*mended, *also]


def _messages(row: Row) -> Adapted:
    return _conversation(messages_of(row["messages"], "messages"), row)


def _feedback(row: Row) -> Adapted:
    """Unpaired feedback (KTO): a conversation, and whether its last answer was found good."""
    label = row["label"] if isinstance(row["label"], bool) else _LABELS.get(str(row["label"]).lower())
    if label is None:
        raise TurnMisfit("'label' is neither true nor false", repr(row["label"])[:60])
    adapted, mended = _messages(row) if "messages" in row else _prompted(row)
    return {**adapted, "label": label}, mended


def _sharegpt(row: Row) -> Adapted:
    return _conversation(messages_of(row["conversations"], "conversations"), row)


def _glaive(row: Row) -> Adapted:
    system = row["system"].removeprefix("SYSTEM:").strip() if isinstance(row["system"], str) else row["system"]
    return _conversation(from_glaive(row["chat"], "chat"), {"system": system})


def _function_calls(row: Row) -> Adapted:
    """One question and the calls that answer it, as xLAM has them."""
    calls = {"role": "assistant", "content": "", "tool_calls": calls_of(row["answers"])}
    return _conversation([spoken("user", row["query"], "query"), calls], row)


def _alpaca(row: Row) -> Adapted:
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise TurnMisfit("'history' is no list of pairs")
    turns = [spoken(role, text, "history") for pair in history for role, text in zip(_TWO, pair, strict=True)]
    return _conversation([*turns, _instruction(row), spoken("assistant", row["output"], "output")], row)


def _self_instruct(row: Row) -> Adapted:
    """A task with worked instances, of which the first is taken."""
    instances = row["instances"]
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], Mapping):
        raise TurnMisfit("'instances' is no list of {input, output}")
    first = instances[0]
    if "output" not in first:
        raise TurnMisfit("no field 'output'")
    asked = _instruction({"instruction": row["instruction"], "input": first.get("input", "")})
    return _conversation([asked, spoken("assistant", first["output"], "output")], row)


def _two_columns(*pairs: tuple[str, str]) -> Callable[[Row], Adapted]:
    """A prompt in one column and its answer in another, as text or as messages."""

    def adapt(row: Row) -> Adapted:
        asked, answered = next(pair for pair in pairs if pair[0] in row and pair[1] in row)
        truth = _truth(row[answered])
        worked = row.get("solution") if answered == "answer" else None
        answer = worked if isinstance(worked, str) and worked.strip() else truth
        turns = [*_side(row[asked], "user", asked), *_side(answer, "assistant", answered)]
        if isinstance(row.get("reasoning"), str) and row["reasoning"].strip():
            turns[-1]["reasoning_content"] = row["reasoning"]
        adapted, mended = _conversation(turns, row)
        return adapted | ({"ground_truth": truth} if answer is worked and isinstance(truth, str) else {}), mended

    return adapt


def _choices(row: Row) -> Adapted:
    """A question with lettered choices, as CommonsenseQA, ARC and MMLU have them; the answer is "B. its text"."""
    inside = row["question"] if isinstance(row["question"], Mapping) else row
    lines = {label: f"{label}. {text}" for label, text in _lettered(inside.get("choices", row.get("choices")))}
    key = row.get("answerKey", row.get("answer"))
    key = list(lines)[key] if type(key) is int and 0 <= key < len(lines) else key
    if not isinstance(key, str) or key not in lines:
        raise TurnMisfit("the answer is none of the choices", repr(key)[:60])
    asked = spoken("user", inside.get("stem", row["question"]), "question")
    asked["content"] = "\n".join([asked["content"], *lines.values()])
    adapted, mended = _conversation([asked, spoken("assistant", lines[key], "answerKey")], row)
    return adapted | {"ground_truth": key}, mended


def _lettered(choices: Any) -> list[tuple[str, str]]:
    """(label, text) of a list of {label, text}, of {label: [A, B], text: [one, two]}, or of texts alone."""
    if isinstance(choices, Mapping):
        labels, texts = choices.get("label"), choices.get("text")
        pairs = list(zip(labels, texts, strict=False)) if isinstance(labels, list) and isinstance(texts, list) else []
    else:
        given = list(enumerate(choices)) if isinstance(choices, list) else []
        pairs = [
            (one.get("label"), one.get("text")) if isinstance(one, Mapping) else (chr(ord("A") + number), one)
            for number, one in given[:26]
        ]
    if not pairs or not all(isinstance(part, str) for pair in pairs for part in pair):
        raise TurnMisfit("'choices' is no list of choices")
    return pairs


def _transcript(row: Row) -> Adapted:
    return _conversation(from_transcript(row["text"], "text"), row)


def _text(row: Row) -> Adapted:
    text = row.get("text", row.get("content"))
    if not isinstance(text, str):
        raise TurnMisfit("'text' is no text", f"{repr(text)[:60]} ({type(text).__name__})")
    if not text.strip():
        raise TurnMisfit("an empty text")
    return {"text": text}, []


def _dolma(row: Row) -> Adapted:
    """A document of the Dolma toolkit; what it says besides is kept, its metadata as JSON and their URL as a column."""
    adapted, mended = _text(row)
    about = row.get("metadata")
    if about:
        if not isinstance(about, Mapping):
            raise TurnMisfit("'metadata' is no object", repr(about)[:60])
        adapted["metadata"] = json.dumps(about, ensure_ascii=False)
        if isinstance(about.get("url"), str):
            adapted["url"] = about["url"]
    kept = {name: row[name] for name in ("added", "created", "version") if isinstance(row.get(name), str)}
    return adapted | kept, mended


def _pair(row: Row) -> Adapted:
    """Answers alone, or whole conversations that begin with the prompt; as text, messages or transcripts."""
    given = _prompt(row)
    sides = [_answer(row[field], field, transcript=not given) for field in ("chosen", "rejected")]
    if all(side and side[0]["role"] == "assistant" for side in sides):
        if not given:
            raise TurnMisfit("no prompt")
        sides = [[*given, *side] for side in sides]
    (chosen, tools, mended), (rejected, _, _) = (with_tools(side, row.get("tools")) for side in sides)
    prompt, chosen, rejected = split_pair(chosen, rejected)
    asked, also = tidy(prompt, answered=False)
    for side in (chosen, rejected):
        tidy([*prompt, *side], answered=True)
        if side[-1]["role"] != "assistant":
            raise TurnMisfit("an answer that ends with the user's turn")
    return {"prompt": asked, "chosen": chosen, "rejected": rejected, **tools}, [*mended, *also]


def _prompt(row: Row) -> Turns:
    """What a pair answers, from whichever column has it; none if the answers bring it along."""
    system = [spoken("system", row["system"], "system")] if isinstance(row.get("system"), str) else []
    for field in ("conversations", "prompt", "question"):
        if field in row and row[field] != []:
            return [*system, *_side(row[field], "user", field)]
    return [*system, _instruction(row)] if "instruction" in row else []


def _answer(value: Any, field: str, transcript: bool) -> Turns:
    if isinstance(value, str) and transcript:
        return from_transcript(value, field)
    return messages_of([value], field) if isinstance(value, Mapping) else _side(value, "assistant", field)


def _side(value: Any, role: str, field: str) -> Turns:
    return messages_of(value, field) if isinstance(value, list) else [spoken(role, value, field)]


def _instruction(row: Row) -> dict[str, Any]:
    """Alpaca's instruction, and after an empty line its input if it has one."""
    asked, more = spoken("user", row["instruction"], "instruction"), spoken("user", row.get("input", ""), "input")
    parts = [part["content"] for part in (asked, more) if part["content"].strip()]
    return {"role": "user", "content": "\n\n".join(parts)}


def _truth(value: Any) -> Any:
    """An answer as text: a number as written, a list or object as JSON; text and messages stay."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and {"role", "from"} & value[0].keys():
        return value
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError):
        raise TurnMisfit("an answer that JSON cannot hold") from None


_TWO = ("user", "assistant")
_LABELS = {"true": True, "false": False}
"""Of feedback in a CSV, where all is text."""


_prompted = _two_columns(("prompt", "completion"), ("prompt", "response"), ("inputs", "targets"))
_CONTEXT = "context passage body document options choices cot rationale explanation"


def _layout(
    name: str,
    kind: RowKind,
    adapt: Callable[[Row], Adapted],
    needs: str,
    reads: str = "",
    detectable: bool = True,
    doubts: str = "",
) -> FileLayout:
    """`needs`: sets of columns, separated by |; `reads`: what else is looked at."""
    sets = tuple(frozenset(part.split()) for part in needs.split("|"))
    read = frozenset(reads.split()).union(*sets)
    return FileLayout(name, kind, sets, read, adapt, detectable, frozenset(doubts.split()) - read)


LAYOUTS: dict[str, FileLayout] = {
    layout.name: layout
    for layout in (
        _layout("problem", "problem", _problem, "messages ground_truth dataset", "solution settings tools"),
        _layout(
            "pair", "pair", _pair, "chosen rejected", "prompt conversations question instruction input system tools"
        ),
        _layout(
            "feedback",
            "conversation",
            _feedback,
            "messages label|prompt completion label|prompt response label",
            "system tools",
        ),
        _layout("messages", "conversation", _messages, "messages", "system tools"),
        _layout("sharegpt", "conversation", _sharegpt, "conversations", "system tools"),
        _layout("glaive", "conversation", _glaive, "system chat"),
        _layout("function_calls", "conversation", _function_calls, "query answers tools", "system"),
        _layout("alpaca", "conversation", _alpaca, "instruction output", "input system history"),
        _layout("self_instruct", "conversation", _self_instruct, "instruction instances", "system"),
        _layout(
            "prompt_completion",
            "conversation",
            _prompted,
            "prompt completion|prompt response|inputs targets",
            "system reasoning tools",
            doubts=_CONTEXT,
        ),
        _layout("choices", "conversation", _choices, "question answerKey|question choices answer", "choices system"),
        _layout(
            "question_answer",
            "conversation",
            _two_columns(("question", "answer"), ("problem", "answer"), ("problem", "solution"), ("query", "response")),
            "question answer|problem answer|problem solution|query response",
            "system reasoning solution",
            doubts=_CONTEXT,
        ),
        _layout("transcript", "conversation", _transcript, "text", "", detectable=False),
        _layout(
            "dolma", "text", _dolma, "id text source", "metadata added created version attributes", detectable=False
        ),
        _layout("text", "text", _text, "text|content", doubts="code input output answer completion response label"),
    )
}

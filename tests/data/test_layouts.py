"""The field's layouts: what each becomes, what is mended, and what is refused for which reason."""

from typing import Any

import pytest

from bactrian.data.io.adoption import Account, Adoption, adopt
from bactrian.data.io.formats import Fault
from bactrian.data.io.rows import validate_row

ASKED = {"role": "user", "content": "2 + 2?"}
SAID = {"role": "assistant", "content": "4"}
WRONG = {"role": "assistant", "content": "5"}
SYSTEM = {"role": "system", "content": "Be brief."}
TALK = [ASKED, SAID, ASKED, SAID]


def adopted(row: dict[str, Any], **how: Any) -> tuple[Any, Account]:
    account = Account()
    (made,) = adopt([(row, "a.jsonl, line 3")], Adoption(**{"source": "s", "license": "MIT", **how}), account)
    return made, account


def human(text: str, who: str = "human") -> dict[str, str]:
    return {"from": who, "value": text}


CONVERSATIONS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("messages", {"messages": TALK}, TALK),
    ("messages", {"messages": [SYSTEM, ASKED, SAID], "prompt": "2 + 2?", "x": 1}, [SYSTEM, ASKED, SAID]),
    ("messages", {"messages": [{**ASKED, "name": "Ann"}, {**SAID, "weight": 1}]}, [ASKED, {**SAID, "weight": 1.0}]),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]}, SAID]},
        [ASKED, SAID],
    ),
    ("messages", {"messages": [ASKED, SAID], "system": "Be brief."}, [SYSTEM, ASKED, SAID]),
    ("sharegpt", {"conversations": [human("2 + 2?"), human("4", "gpt")] * 2}, TALK),
    (
        "sharegpt",
        {"conversations": [human("Be brief.", "System"), human("2 + 2?"), human("4", "gpt")]},
        [SYSTEM, ASKED, SAID],
    ),
    ("alpaca", {"instruction": "2 + 2?", "input": "", "output": "4"}, [ASKED, SAID]),
    (
        "alpaca",
        {"instruction": "Add.", "input": "2, 2", "output": "4"},
        [{"role": "user", "content": "Add.\n\n2, 2"}, SAID],
    ),
    (
        "alpaca",
        {"instruction": "2 + 2?", "output": "4", "system": "Be brief.", "history": [["2 + 2?", "4"]]},
        [SYSTEM, *TALK],
    ),
    (
        "self_instruct",
        {"instruction": "2 + 2?", "instances": [{"input": "", "output": "4"}, {"output": "four"}]},
        [ASKED, SAID],
    ),
    ("prompt_completion", {"prompt": "2 + 2?", "completion": "4"}, [ASKED, SAID]),
    ("prompt_completion", {"prompt": [SYSTEM, ASKED], "completion": [SAID]}, [SYSTEM, ASKED, SAID]),
    ("prompt_completion", {"inputs": "2 + 2?", "targets": "4", "task": "sum"}, [ASKED, SAID]),
    ("question_answer", {"question": "2 + 2?", "answer": "4"}, [ASKED, SAID]),
    ("question_answer", {"question": "2 + 2?", "answer": 4.0}, [ASKED, SAID]),
    ("question_answer", {"problem": "2 + 2?", "solution": "4", "answer": "four"}, [ASKED, SAID]),
    (
        "question_answer",
        {"question": "2 + 2?", "answer": "4", "reasoning": "2 + 2 = 4"},
        [ASKED, {**SAID, "reasoning_content": "2 + 2 = 4"}],
    ),
    (
        "choices",
        {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1},
        [{"role": "user", "content": "2 + 2?\nA. 3\nB. 4"}, {"role": "assistant", "content": "B. 4"}],
    ),
    (
        "choices",
        {"question": {"stem": "2 + 2?", "choices": [{"label": "X", "text": "4"}]}, "answerKey": "X"},
        [{"role": "user", "content": "2 + 2?\nX. 4"}, {"role": "assistant", "content": "X. 4"}],
    ),
    (
        "choices",
        {"question": "2 + 2?", "choices": {"label": ["X"], "text": ["4"]}, "answerKey": "X"},
        [{"role": "user", "content": "2 + 2?\nX. 4"}, {"role": "assistant", "content": "X. 4"}],
    ),
    ("feedback", {"messages": [ASKED, SAID], "label": True}, [ASKED, SAID]),
]


@pytest.mark.parametrize(("layout", "row", "messages"), CONVERSATIONS)
def test_conversations(layout: str, row: dict[str, Any], messages: list[Any]) -> None:
    made, account = adopted(row)
    assert made == {"messages": messages, "id": "a.jsonl:3", "source": "s", "license": "MIT"}
    assert list(account.layouts) == [layout] and account.tally.kept == 1
    assert adopted(row, layout=layout)[0] == made
    validate_row(made, "conversation", "here")


HH = "\n\nHuman: 2 + 2?\n\nAssistant: {}"
PAIR = {"prompt": [ASKED], "chosen": [SAID], "rejected": [WRONG]}
PAIRS: list[dict[str, Any]] = [
    PAIR,
    {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
    {"prompt": "2 + 2?", "chosen": [ASKED, SAID], "rejected": [ASKED, WRONG], "messages": [ASKED, SAID]},
    {"chosen": [ASKED, SAID], "rejected": [ASKED, WRONG]},
    {"chosen": HH.format(4), "rejected": HH.format(5)},
    {"conversations": [human("2 + 2?")], "chosen": human("4", "gpt"), "rejected": human("5", "gpt")},
    {"instruction": "2 + 2?", "input": "", "output": "4", "chosen": "4", "rejected": "5"},
    {"question": "2 + 2?", "system": "", "chosen": "4", "rejected": "5"},
]


@pytest.mark.parametrize("row", PAIRS)
def test_pairs(row: dict[str, Any]) -> None:
    made, _ = adopted(row)
    assert {name: made[name] for name in PAIR} == PAIR
    validate_row(made, "pair", "here")


def test_a_pair_of_conversations_parts_where_they_differ_at_a_user_s_turn() -> None:
    made, _ = adopted({"chosen": TALK, "rejected": [*TALK[:3], WRONG]})
    assert (made["prompt"], made["chosen"], made["rejected"]) == (TALK[:3], [SAID], [WRONG])
    made, _ = adopted({"chosen": TALK, "rejected": [ASKED, WRONG, ASKED, SAID]})
    assert (made["prompt"], made["chosen"]) == ([ASKED], TALK[1:])


def test_problems() -> None:
    given = {"messages": [ASKED], "ground_truth": "4", "dataset": "gsm8k", "id": 7}
    assert adopted(given)[0] == {**given, "id": "7", "source": "s", "license": "MIT"}
    assert adopted({**given, "settings": {"timeout": 3}})[0]["settings"] == {"timeout": 3}
    assert adopted({**given, "settings": "3"})[0].reason == "'settings' is no object"
    made, _ = adopted({"question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4"}, verifier="gsm8k")
    assert made["ground_truth"] == "4" and made["solution"].startswith("2 + 2") and made["messages"] == [ASKED]
    made, _ = adopted({"problem": "2 + 2?", "answer": "4"}, verifier="math")
    assert made["ground_truth"] == "4" and "solution" not in made
    made, _ = adopted({"problem": "2 + 2?", "solution": r"It is \boxed{4}.", "answer": "4"}, verifier="math")
    assert made["ground_truth"] == "4" and made["solution"] == r"It is \boxed{4}."
    made, _ = adopted({"question": "2 + 2?", "choices": ["3", "4"], "answer": "B"}, verifier="choice")
    assert made["ground_truth"] == "B" and made["solution"] == "B. 4"
    validate_row(made, "problem", "here")


def test_columns_templates_and_transcripts_are_named() -> None:
    row = {"body": "2 +", "q": "2?", "steps": "4", "n": 4}
    made, account = adopted(row, columns={"question": "{body} {q}", "answer": "steps"}, keep=("n",))
    assert made["messages"] == [ASKED, SAID] and made["n"] == 4 and not account.left_out
    made, _ = adopted(row, columns={"question": "{body} {q}", "answer": "steps {missing}"})
    assert isinstance(made, Fault) and made.reason == "no known layout"
    made, _ = adopted({"text": "### Human: 2 + 2?### Assistant: 4\n\n" * 2}, layout="transcript")
    assert made["messages"] == TALK
    made, _ = adopted({"text": "Human: 2 + 2?\nAssistant: say Human: 4"}, layout="transcript")
    assert made["messages"][1]["content"] == "say Human: 4"
    assert adopted({"text": "Oh. Human: 2 + 2?"}, layout="transcript")[0].reason == "'text' is no transcript"
    assert adopted({"text": "4"})[0]["text"] == adopted({"content": "4"})[0]["text"] == "4"


MENDED: list[tuple[list[Any], list[Any]]] = [
    ([{"role": "system", "content": " "}, ASKED, SAID], [ASKED, SAID]),
    ([ASKED, SAID, ASKED], [ASKED, SAID]),
]


@pytest.mark.parametrize(("turns", "messages"), MENDED)
def test_what_is_mended_is_counted(turns: list[Any], messages: list[Any]) -> None:
    made, account = adopted({"messages": turns})
    assert made["messages"] == messages and account.tally.kept == 0
    assert account.tally.counts() == {"rows_kept": 0, "rows_truncated": 0, "rows_dropped": 0, "rows_repaired": 1}
    assert "1 repaired" in str(account) and "a.jsonl, line 3" in str(account)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": [SAID, ASKED]}, "roles out of turn"),
    ({"messages": [ASKED, ASKED, SAID]}, "roles out of turn"),
    ({"messages": [ASKED, SYSTEM, SAID]}, "roles out of turn"),
    ({"messages": [ASKED]}, "no answer of the assistant"),
    ({"messages": [SYSTEM]}, "no turn of a user"),
    ({"messages": [ASKED, {"role": "assistant", "content": "\n"}]}, "an empty turn"),
    ({"messages": []}, "'messages' is no list of turns"),
    ({"messages": "2 + 2?"}, "'messages' is no list of turns"),
    ({"messages": [ASKED, "4"]}, "'messages' is no list of turns"),
    ({"messages": [ASKED, {"role": "assistant", "content": 4}]}, "a turn of 'messages' is no text"),
    ({"messages": [ASKED, {"role": "critic", "content": "4"}]}, "an unknown role"),
    ({"messages": [ASKED, {"role": ["assistant"], "content": "4"}]}, "an unknown role"),
    ({"messages": [ASKED, {"role": "tool", "content": "4"}, SAID]}, "a turn of a tool that nothing called"),
    ({"messages": [ASKED, {"role": "assistant", "content": "", "tool_calls": [{}]}]}, "a call that names no tool"),
    ({"messages": [ASKED, {**SAID, "weight": 0.5}]}, "a weight that is neither 0 nor 1"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}, SAID]},
        "a turn of 'messages' is no text",
    ),
    ({"messages": [ASKED, SAID], "label": False}, "labelled as a bad answer"),
    ({"messages": [ASKED, SAID], "label": 1}, "'label' is neither true nor false"),
    ({"instruction": "2 + 2?", "output": 4}, "'output' is no text"),
    ({"instruction": "2 + 2?", "instances": []}, "'instances' is no list of {input, output}"),
    ({"prompt": "2 + 2?", "chosen": "4", "rejected": "4"}, "chosen and rejected are the same"),
    ({"chosen": "4", "rejected": "5"}, "'chosen' is no transcript"),
    ({"chosen": [SAID], "rejected": [WRONG]}, "no prompt"),
    (
        {"chosen": [ASKED, SAID], "rejected": [{**ASKED, "content": "3 + 3?"}, WRONG]},
        "chosen and rejected answer different prompts",
    ),
    ({"prompt": "2 + 2?", "chosen": "4", "rejected": ""}, "an empty turn"),
    ({"question": "2 + 2?", "answer": True}, "'answer' is no text"),
    ({"question": "2 + 2?", "choices": ["3", "4"], "answer": "C"}, "the answer is none of the choices"),
    ({"question": "2 + 2?", "choices": ["3", 4], "answer": "A"}, "'choices' is no list of choices"),
    ({"messages": [ASKED], "ground_truth": " ", "dataset": "x"}, "'ground_truth' is no text"),
    ({"messages": [ASKED, SAID], "ground_truth": "4", "dataset": "x"}, "the last turn is the assistant's"),
    ({"text": " "}, "an empty text"),
    ({"text": ["a"]}, "'text' is no text"),
    ({"persona": "a nurse"}, "no known layout"),
    ({}, "no known layout"),
    ({"question": "2 + 2?", "answer": "4", "context": "x"}, "looks like layout question_answer, but has context too"),
    ({"text": "Sum.", "code": "a + b"}, "looks like layout text, but has code too"),
]


@pytest.mark.parametrize(("row", "reason"), REFUSED)
def test_what_is_refused_says_why_and_where(row: dict[str, Any], reason: str) -> None:
    made, account = adopted(row)
    assert isinstance(made, Fault) and made.reason.startswith(reason) and made.where == "a.jsonl, line 3"
    assert account.tally.counts()["rows_dropped"] == 1 and account.tally.kept == 0


def test_a_named_layout_says_which_field_is_missing_and_so_does_a_row_unlike_those_before() -> None:
    assert adopted({"prompt": "a"}, layout="alpaca")[0].reason == "layout alpaca: no field 'instruction'"
    account = Account()
    rows = [
        ({"instruction": "a", "output": "b"}, "f, line 1"),
        ({"instruction": "a"}, "f, line 2"),
        ({"text": "a"}, "f, line 3"),
    ]
    first, second, third = adopt(rows, Adoption("s", "MIT"), account)
    assert not isinstance(first, Fault)
    assert isinstance(second, Fault) and second.reason == "layout alpaca: no field 'output'"
    assert isinstance(third, Fault) and third.reason == "a text row, where most are conversation rows"


def test_identity_is_the_row_s_own_or_its_place() -> None:
    row = {"text": "a", "id": "x1", "source": "elsewhere", "license": "cc-by-4.0"}
    assert adopted(row)[0] == {"text": "a", "id": "x1", "source": "s", "license": "cc-by-4.0"}
    assert adopted(row, source_column="source")[0]["source"] == "elsewhere"
    assert adopted({"text": "a", "id": True, "license": "unknown"})[0]["id"] == "a.jsonl:3"
    assert adopted({"text": "a", "license": "unknown"}, license="")[0]["license"] == ""


def test_columns_that_are_kept_have_types_that_a_file_can_hold() -> None:
    given = {"n": 2**70, "tags": ["a"], "meta": {"a": [1]}, "share": 0.5, "none": None}
    made, _ = adopted({"text": "a", **given}, keep=tuple(given))
    assert made["n"] == str(2**70) and made["tags"] == ["a"] and made["meta"] == '{"a": [1]}' and made["share"] == 0.5

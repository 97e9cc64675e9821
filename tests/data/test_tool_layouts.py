"""Conversations with tools: the same one in every layout becomes the same row; what is refused, and why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.curate.portions import measure
from bactrian.data.io.adoption import Account, Adoption, adopt
from bactrian.data.io.files import read_rows
from bactrian.data.io.formats import Fault
from bactrian.data.io.rows import validate_row
from bactrian.data.io.texts import answer_text, map_texts, prompt_text, whole_text
from bactrian.data.io.writer import RowWriter
from bactrian.data.overlap.asked import texts_of
from bactrian.errors import BactrianError

Talk = list[dict[str, Any]]


def schema(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"It's {name}.", "parameters": {"type": "object", "properties": {}}, **more}


TOOLS = [{"type": "function", "function": schema("weather")}, {"type": "function", "function": schema("time")}]
LISTED = json.dumps(TOOLS)


def call(name: str, **arguments: Any) -> dict[str, str]:
    return {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def said(content: str, *calls: dict[str, str]) -> dict[str, Any]:
    return {"role": "assistant", "content": content} | ({"tool_calls": list(calls)} if calls else {})


def result(content: str, **more: str) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


ONE = [user("Oslo?"), said("", call("weather", city="Oslo")), result('{"sky": "grey"}'), said("Grey.")]
TWO = [
    {"role": "system", "content": "Be brief."},
    user("Oslo, and when?"),
    said("I look.", call("weather", city="Oslo", exact=True, days=2, q=[None, "it's"]), call("time", zone='say "CET"')),
    result("grey"),
    result("12:00"),
    said("Grey, noon."),
    user("Thanks"),
    said("Sure."),
]


def adopted(row: dict[str, Any], **how: Any) -> tuple[Any, Account]:
    account = Account()
    (made,) = adopt([(row, "a.jsonl, line 3")], Adoption(**{"source": "s", "license": "MIT", **how}), account)
    return made, account


# Writers of a conversation in each layout: from ours to a row of somebody else's.


def openai(talk: Talk, text: bool = True) -> dict[str, Any]:
    """tool_calls with ids, arguments as text (or, as templates want them, objects), content null."""
    messages: Talk = []
    ids: list[str] = []
    for number, turn in enumerate(talk):
        if "tool_calls" in turn:
            ids = [f"call_{number}_{k}" for k in range(len(turn["tool_calls"]))]
            made = [
                {
                    "id": id,
                    "type": "function",
                    "function": {**each, "arguments": each["arguments"] if text else json.loads(each["arguments"])},
                }
                for id, each in zip(ids, turn["tool_calls"], strict=True)
            ]
            turn = {**turn, "content": turn["content"] or None, "tool_calls": made}
        elif turn["role"] == "tool":
            turn = {**turn, "tool_call_id": ids.pop(0)}
        messages.append(turn)
    return {"messages": messages, "tools": TOOLS}


def objects(talk: Talk) -> dict[str, Any]:
    return openai(talk, text=False)


def legacy(talk: Talk) -> dict[str, Any]:
    """OpenAI before tool_calls: one function_call, the result under the function's name."""
    messages: Talk = []
    for turn in talk:
        if "tool_calls" in turn:
            (only,) = turn["tool_calls"]
            messages.append({"role": "assistant", "content": None, "function_call": only})
        elif turn["role"] == "tool":
            messages.append({"role": "function", "name": only["name"], "content": turn["content"]})
        else:
            messages.append(turn)
    return {"messages": messages, "tools": [tool["function"] for tool in TOOLS]}


def sharegpt(talk: Talk) -> dict[str, Any]:
    """LLaMA-Factory's Glaive: function_call and observation, tools as JSON without `type`."""
    names = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
    turns: Talk = []
    for turn in talk:
        if turn["content"] or "tool_calls" not in turn:
            turns.append({"from": names[turn["role"]], "value": turn["content"]})
        made = [{**each, "arguments": json.loads(each["arguments"])} for each in turn.get("tool_calls", [])]
        turns += [{"from": "function_call", "value": json.dumps(each)} for each in made]
    return {"conversations": turns, "tools": json.dumps([tool["function"] for tool in TOOLS])}


HERMES = (
    "You are a function calling AI model. You are provided with function signatures within <tools> </tools> XML tags. "
    "Don't make assumptions.\n<tools>\n{tools}\n</tools>\nFor each function call return a json object within "
    "<tool_call> </tool_call> tags with the following schema:\n<tool_call>\n"
    "{{'arguments': <args-dict>, 'name': <function-name>}}\n</tool_call>\n"
)
QWEN = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
    "signatures within <tools></tools> XML tags:\n<tools>\n{tools}\n</tools>\n\nFor each function call, return a json "
    'object:\n<tool_call>\n{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
)


def tagged(talk: Talk, written: Callable[[Any], str]) -> list[tuple[str, str]]:
    """(role, text) with calls and results between tags."""
    turns = []
    for turn in talk:
        made = [
            f"<tool_call>\n{written({'arguments': json.loads(each['arguments']), 'name': each['name']})}\n</tool_call>"
            for each in turn.get("tool_calls", [])
        ]
        given = f"<tool_response>\n{turn['content']}\n</tool_response>\n" if turn["role"] == "tool" else turn["content"]
        if turns and turns[-1][0] == turn["role"] == "tool":
            turns[-1] = ("tool", turns[-1][1] + given)
        else:
            turns.append((turn["role"], "\n".join(filter(None, [given, *made])) + "\n" * bool(made)))
    return turns


def listing(turns: list[tuple[str, str]], text: str) -> list[tuple[str, str]]:
    """The turns with tools listed in the system turn."""
    if turns[0][0] == "system":
        return [("system", f"{turns[0][1]}\n\n{text}"), *turns[1:]]
    return [("system", text), *turns]


def hermes(talk: Talk) -> dict[str, Any]:
    """Calls and schemas as Python writes them."""
    names = {"user": "human", "assistant": "gpt", "tool": "tool", "system": "system"}
    turns = listing(tagged(talk, repr), HERMES.format(tools=repr(TOOLS)))
    return {"conversations": [{"from": names[role], "value": text} for role, text in turns], "category": "Weather"}


def qwen(talk: Talk) -> dict[str, Any]:
    """As a template of Qwen's has written it: results in turns of the user."""
    turns = listing(tagged(talk, json.dumps), QWEN.format(tools="\n".join(map(json.dumps, TOOLS))))
    return {"messages": [{"role": "user" if role == "tool" else role, "content": text} for role, text in turns]}


def llama(talk: Talk, mark: str = "<|python_tag|>", end: str = "<|eom_id|>") -> dict[str, Any]:
    """A call behind a mark, or as bare JSON; `parameters`; results of ipython."""
    messages = []
    for turn in talk:
        if "tool_calls" in turn:
            (only,) = turn["tool_calls"]
            stated = {"name": only["name"], "parameters": json.loads(only["arguments"])}
            turn = {"role": "assistant", "content": f"{mark}{json.dumps(stated)}{end}"}
        messages.append({**turn, "role": "ipython"} if turn["role"] == "tool" else turn)
    return {"messages": messages, "tools": LISTED}


def bare_llama(talk: Talk) -> dict[str, Any]:
    return llama(talk, mark="", end="")


def glaive(talk: Talk) -> dict[str, Any]:
    """One text of all turns, the JSON of arguments between single quotes."""
    chat = ""
    for turn in talk:
        who = {"user": "USER", "assistant": "ASSISTANT", "tool": "FUNCTION RESPONSE"}[turn["role"]]
        text = turn["content"]
        for each in turn.get("tool_calls", []):
            text = f'<functioncall> {{"name": "{each["name"]}", "arguments": \'{each["arguments"]}\'}}'
        chat += f"{who}: {text}{' <|endoftext|>' if who == 'ASSISTANT' else ''}\n\n\n"
    listed = "\n".join(json.dumps(tool["function"], indent=4) for tool in TOOLS)
    system = (
        f"SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n{listed}"
    )
    return {"system": system, "chat": chat}


ANY = {each.__name__: each for each in (openai, objects, sharegpt, hermes, qwen)}
SINGLE = {each.__name__: each for each in (legacy, llama, bare_llama)}  # one call a turn, without words
NAMED = {"legacy"}  # it says of a result whose it is


def expected(talk: Talk, layout: str) -> Talk:
    if layout not in ("openai", "objects", *NAMED):
        return talk
    names: list[str] = []
    made = []
    for turn in talk:
        names = [each["name"] for each in turn["tool_calls"]] if "tool_calls" in turn else names
        made.append({**turn, "name": names.pop(0)} if turn["role"] == "tool" else turn)
    return made


@pytest.mark.parametrize("layout", [*ANY, *SINGLE, "glaive"])
def test_the_same_conversation_in_every_layout(layout: str) -> None:
    for talk in (TWO, ONE) if layout in ANY else (ONE,):
        made, account = adopted({**ANY, **SINGLE, "glaive": glaive}[layout](talk))
        assert made == {
            "messages": expected(talk, layout),
            "tools": LISTED,
            "id": "a.jsonl:3",
            "source": "s",
            "license": "MIT",
        }
        assert account.tally.kept == 1 and "tools" not in account.left_out
        assert validate_row(made, "conversation", "here") == made


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<>\x00"), max_size=6) | st.sampled_from(
    ["'", '"', "\\"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def conversations(draw: Callable[..., Any], most: int = 2, words: bool = True) -> Talk:
    turns: Talk = []
    spoken = st.sampled_from(["Hm.", "Let me look: {", "It's 5 o'clock."])
    for _ in range(draw(st.integers(1, 2))):
        turns.append(user(draw(spoken)))
        for _ in range(draw(st.integers(0, 2))):
            count = draw(st.integers(1, most))
            names = [draw(st.sampled_from(["weather", "time"])) for _ in range(count)]
            given = [draw(st.dictionaries(WORDS, VALUES, max_size=2)) for _ in names]
            calls = [
                {**call(name), "arguments": json.dumps(each, ensure_ascii=False)}
                for name, each in zip(names, given, strict=True)
            ]
            turns.append(said(draw(spoken) if words and draw(st.booleans()) else "", *calls))
            turns += [result(draw(st.sampled_from(["ok", '{"a": [1]}', "It's."]))) for _ in range(count)]
        turns.append(said(draw(spoken)))
    return turns


@settings(max_examples=60, deadline=None)
@given(talk=conversations(), layout=st.sampled_from(list(ANY)))
def test_whatever_is_called_survives_every_layout(talk: Talk, layout: str) -> None:
    made, _ = adopted(ANY[layout](talk))
    assert not isinstance(made, Fault), (made.reason, made.detail)
    assert made["messages"] == expected(talk, layout)


@settings(max_examples=30, deadline=None)
@given(talk=conversations(most=1, words=False), layout=st.sampled_from(list(SINGLE)))
def test_whatever_is_called_survives_layouts_of_one_call(talk: Talk, layout: str) -> None:
    made, _ = adopted(SINGLE[layout](talk))
    assert not isinstance(made, Fault), (made.reason, made.detail)
    assert made["messages"] == expected(talk, layout)


def test_xlam_glaive_and_built_in_tools() -> None:
    answers = [{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "time", "arguments": {}}]
    made, account = adopted({"query": "Oslo?", "answers": json.dumps(answers), "tools": json.dumps(TOOLS)})
    assert made["messages"] == [user("Oslo?"), said("", call("weather", city="Oslo"), call("time"))]
    assert list(account.layouts) == ["function_calls"] and made["tools"] == LISTED
    plain = {"system": "SYSTEM: You are a helpful assistant.", "chat": "USER: a\n\n\nASSISTANT: b <|endoftext|>\n\n\n"}
    made, account = adopted(plain)
    assert made["messages"] == [{"role": "system", "content": "You are a helpful assistant."}, user("a"), said("b")]
    assert list(account.layouts) == ["glaive"] and "tools" not in made
    chat = 'USER: a\n\n\nASSISTANT: <functioncall> {"name": "f", "arguments": \'{"q": "it\'s"}\'} <|endoftext|>\n\n\n'
    made, _ = adopted(
        {"system": "SYSTEM: Help.", "chat": chat + "FUNCTION RESPONSE: 1\n\n\nASSISTANT: b <|endoftext|>"}
    )
    assert made["messages"][2:] == [said("", call("f", q="it's")), result("1"), said("b")]
    search = said('<|python_tag|>brave_search.call(query="it\'s \\"so\\"", count=3)<|eom_id|>')
    made, _ = adopted({"messages": [user("a"), search, {"role": "ipython", "content": "x"}, said("b")]})
    assert made["messages"][1] == said("", call("brave_search", query='it\'s "so"', count=3))
    assert "tools" not in made


def test_results_of_parallel_calls_are_put_in_the_order_of_the_calls() -> None:
    row = openai(TWO)
    row["messages"][3:5] = row["messages"][4:2:-1]
    made, account = adopted(row)
    assert made["messages"] == expected(TWO, "openai")
    assert "what tools gave was put in the order of the calls" in str(account)


def test_what_a_tool_gave_and_nobody_answers_is_cut_off() -> None:
    made, account = adopted({"messages": ONE[:3], "tools": TOOLS})
    assert made["messages"] == ONE[:2] and "nobody answers" in str(account)


def test_what_a_tool_gives_may_be_nothing_or_json() -> None:
    made, _ = adopted({"messages": [*ONE[:2], {"role": "tool", "content": {"sky": "grey"}}, ONE[3]]})
    assert made["messages"] == ONE
    made, _ = adopted({"messages": [*ONE[:2], {"role": "tool", "content": None}, ONE[3]]})
    assert made["messages"][2]["content"] == ""


def test_a_system_turn_keeps_what_is_not_a_list_of_tools() -> None:
    extract = (
        "You extract facts.\n<tools>\n" + LISTED + "\n</tools>\nReply so:\n<tool_call>\n{...}\n</tool_call>\nBe kind."
    )
    made, _ = adopted({"messages": [{"role": "system", "content": extract}, user("a"), said("b")]})
    assert made["messages"][0]["content"] == "You extract facts.\n\nBe kind." and made["tools"] == LISTED
    for text in ("Use <tools> well.", "<tools>none</tools> <tool_call></tool_call>", "{} </tool_call>"):
        made, _ = adopted({"messages": [{"role": "system", "content": text}, user("a"), said("b")]})
        assert made["messages"][0]["content"] == text and "tools" not in made


def test_rows_that_are_not_about_tools_are_left_alone() -> None:
    for text in ('<tool_call>\n{"name": "f"}\n</tool_call>', "<tool_call> opens", "<|python_tag|>", '{"name": "Bo"}'):
        talk = [user("How is a call written?"), said(text), user("And <tool_response>?"), said("So.")]
        assert adopted({"messages": talk})[0]["messages"] == talk
        assert adopted({"messages": talk, "tools": "[]"})[0].get("tools") is None
    made, account = adopted({"messages": [user("a"), said("b")], "tools": ["hammer", "saw"]})
    assert made["messages"] == [user("a"), said("b")] and "tools" not in made
    assert "a column 'tools' that lists no tools was left out" in str(account)


def calling(value: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [user("a"), {"role": "assistant", "content": "", **value}, result("x"), said("b")], **more}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": [user("a"), said("b"), result("x"), said("c")]}, "a turn of a tool that nothing called"),
    ({"messages": [user("a"), result("x"), said("c")]}, "a turn of a tool that nothing called"),
    ({"messages": [*ONE[:2], user("b"), said("c")]}, "a call without a tool's turn after it"),
    ({"messages": [*ONE[:3], result("y"), ONE[3]]}, "a turn of a tool that nothing called"),
    ({"messages": [*ONE[:2], result("x", name="clock"), ONE[3]]}, "a turn of a tool that nothing called"),
    (
        {"messages": [user("a"), {**user("b"), "tool_calls": [call("f")]}, said("c")]},
        "a call that is not the assistant's",
    ),
    (calling({"tool_calls": [call("clock")]}, tools=TOOLS), "a call of a tool that is not listed"),
    (calling({"tool_calls": [{}]}), "a call that names no tool"),
    (calling({"tool_calls": [{"name": " ", "arguments": "{}"}]}), "a call that names no tool"),
    (calling({"tool_calls": [{"name": "f", "arguments": "x = 1"}]}), "arguments that are not JSON"),
    (calling({"tool_calls": [{"name": "f", "arguments": "[1]"}]}), "arguments that are no object"),
    (calling({"tool_calls": [{"name": "f", "arguments": 3}]}), "arguments that are no object"),
    (calling({"tool_calls": [{"name": "f", "arguments": '{"a": NaN}'}]}), "arguments that are not JSON"),
    (calling({"tool_calls": [{"name": "f", "arguments": '{"a": "\\ud83d"}'}]}), "arguments that are not JSON"),
    (calling({"tool_calls": [{"name": "f", "arguments": '{"a": 1, "a": 2}'}]}), "arguments that are not JSON"),
    (calling({"tool_calls": "f(1)"}), "a call that is not JSON"),
    (calling({"content": "<tool_call>f(1)</tool_call>"}), "a call that is not JSON"),
    (calling({"content": '<tool_call>{"name": "f"}'}), "a call that is not JSON"),
    (calling({"content": '<tool_call>{"name": "f"}</tool_call> And so.'}), "text after a tool call"),
    (calling({"content": "<|python_tag|>print(1)"}), "a call that is not JSON"),
    (calling({"content": "<|python_tag|>f.call(g(1))"}), "a call that is not JSON"),
    (calling({"content": "I call."}), "a turn of a tool that nothing called"),
    (calling({"tool_calls": [call("weather")]}, tools="weather, time"), "'tools' is no list of tools"),
    (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "no"}]},
        "a call that is not",
    ),
    ({"system": "", "chat": "A: hi"}, "'chat' is no transcript"),
    ({"query": "a", "answers": "[]", "tools": LISTED}, "a call of no tool"),
    ({"messages": ONE[:3], "ground_truth": "4", "dataset": "x"}, "turns of tools, where a problem has"),
    ({"prompt": ONE[:3], "chosen": [said("b")], "rejected": [result("y"), said("c")]}, "chosen and rejected"),
]


@pytest.mark.parametrize(("row", "reason"), REFUSED)
def test_what_is_refused_says_why_and_where(row: dict[str, Any], reason: str) -> None:
    made, account = adopted(row)
    assert isinstance(made, Fault) and made.reason.startswith(reason) and made.where == "a.jsonl, line 3"
    assert account.tally.counts()["rows_dropped"] == 1 and account.tally.kept == 0


def test_ids_that_no_call_has_are_refused() -> None:
    row = openai(ONE)
    row["messages"][2]["tool_call_id"] = "call_9_9"
    assert adopted(row)[0].detail == "tool_call_id 'call_9_9'"
    assert adopted({"messages": ONE}, verifier="math")[0].reason.startswith("turns of tools, where a problem has")


def test_pairs_of_answers_with_tools() -> None:
    better, worse = [*ONE[1:3], said("Grey.")], [said("", call("time")), result("12:00"), said("Noon.")]
    made, _ = adopted({"prompt": ONE[:1], "chosen": better, "rejected": worse, "tools": TOOLS})
    assert (made["prompt"], made["chosen"], made["rejected"], made["tools"]) == (ONE[:1], better, worse, LISTED)
    validate_row(made, "pair", "here")
    made, _ = adopted({"chosen": ONE, "rejected": [*ONE[:3], said("Blue.")]})
    assert (made["prompt"], made["chosen"], made["rejected"]) == (ONE[:3], [said("Grey.")], [said("Blue.")])
    validate_row(made, "pair", "here")
    parallel = [TWO[:3], [result("grey"), result("12:00"), said("a")], [result("grey"), result("13:00"), said("b")]]
    made, _ = adopted({"chosen": [*parallel[0], *parallel[1]], "rejected": [*parallel[0], *parallel[2]]})
    assert made["prompt"] == TWO[:2]  # what a tool gave is no answer: the sides part before the call


def test_rows_of_ours_that_are_wrong_name_the_row_and_the_field() -> None:
    row = {"messages": ONE, "tools": LISTED}
    validate_row(row, "conversation", "a.jsonl, line 3")
    for wrong, complaint in (
        (
            {**row, "tools": TOOLS},
            r"a.jsonl, line 3, field 'tools': found \[\{.* \(list\), expected JSON text of a list",
        ),
        ({**row, "tools": json.dumps(TOOLS[1:])}, "line 3: a call of the tool 'weather', which 'tools' does not list"),
        ({**row, "messages": ONE[2:]}, "line 3, field 'messages', message 1: found a turn of 'tool', expected 'user'"),
    ):
        with pytest.raises(BactrianError, match=complaint):
            validate_row(wrong, "conversation", "a.jsonl, line 3")


def test_written_and_read_again_they_are_the_same(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "messages": [user("a"), said("b")], "source": "s", "license": "MIT"},
        {"id": "2", "messages": expected(TWO, "openai"), "tools": LISTED, "source": "s", "license": "MIT"},
        {"id": "3", "messages": ONE, "source": "s", "license": "MIT"},
    ]
    with RowWriter(tmp_path) as writer:
        for row in rows:
            writer.write(row)
    assert read_rows(tmp_path, "conversation") == rows
    alone = tmp_path / "alone"  # the schema grows when calls come late, and is the same whatever is called
    with RowWriter(alone) as writer:
        for row in rows[1:]:
            writer.write(row)
    assert read_rows(alone, "conversation") == rows[1:]


def test_texts_of_rows_with_tools() -> None:
    row = {"messages": [*ONE[:1], said("", call("mail", to="ann@example.org", n=4)), *ONE[2:]], "tools": LISTED}
    assert prompt_text(row) == "Oslo?" and "weather" not in whole_text(row)
    assert answer_text(row) == 'mail {"to": "ann@example.org", "n": 4}\nGrey.'
    assert '{"to": "ann@example.org", "n": 4}' in texts_of(row, "here", "all") and '{"sky": "grey"}' in whole_text(row)
    masked = map_texts(row, lambda text: text.replace("ann@example.org", '["mail"]').replace("mail", "post"))
    assert masked["messages"][1]["tool_calls"] == [call("mail", to='["post"]', n=4)]
    assert map_texts(row, str) is row
    tokens, without = measure([(row, "a"), ({**row, "tools": None}, "b")], None)
    assert tokens - without == pytest.approx(len(LISTED) / 4, abs=2)

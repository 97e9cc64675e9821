"""Tools: what rows may hold, and how it is rendered: calls trained, results not, hostile text text, as transformers."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from conftest import SPECIAL, byte_bpe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bactrian.chat import ChatTemplate, check_messages, prompt_ids, render, render_answer
from bactrian.chat.named_templates import WITH_TOOLS
from bactrian.errors import BactrianError

# The shape of Qwen2.5's template: schemas in the system turn, results in a user's, a header before the content.
QWEN = """{%- if tools %}{{- '<|im_start|>system\\n' }}
{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- else %}{{- 'You are helpful.' }}{%- endif %}
{{- '\\n\\n# Tools\\n<tools>' }}{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools><|im_end|>\\n' }}
{%- else %}
{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{%- endif %}{%- endif %}
{%- for message in messages %}
{%- if (message.role == 'user') or (message.role == 'assistant' and not message.tool_calls) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- elif message.role == 'assistant' %}{{- '<|im_start|>' + message.role }}
{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
{%- for tool_call in message.tool_calls %}
{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '\\n<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}{{- tool_call.arguments | tojson }}
{{- '}\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != 'tool') %}{{- '<|im_start|>user' }}{%- endif %}
{{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
{%- if loop.last or (messages[loop.index0 + 1].role != 'tool') %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# The shape of Llama 3.1's: schemas in the first user turn, one call as bare JSON, results quoted as JSON, a date.
LLAMA = """{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] | trim %}
{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|im_start|>system\\n\\n' }}{%- if tools is not none %}{{- 'Environment: ipython\\n' }}{%- endif %}
{{- 'Today Date: ' + strftime_now('%d %b %Y') + '\\n\\n' + system + '<|im_end|>' }}
{%- if tools is not none %}{%- set first = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{{- '<|im_start|>user\\n\\nAnswer with a call.\\n\\n' }}{%- for t in tools %}{{- t | tojson(indent=4) }}{{- '\\n\\n' }}
{%- endfor %}{{- first + '<|im_end|>' }}{%- endif %}
{%- for message in messages %}
{%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
{{- '<|im_start|>' + message['role'] + '\\n\\n' + message['content'] | trim + '<|im_end|>' }}
{%- elif 'tool_calls' in message %}
{%- if not message.tool_calls | length == 1 %}{{- raise_exception('one call at a time') }}{%- endif %}
{%- set tool_call = message.tool_calls[0].function %}
{{- '<|im_start|>assistant\\n\\n' }}{{- '{"name": "' + tool_call.name + '", ' }}{{- '"parameters": ' }}
{{- tool_call.arguments | tojson }}{{- '}' }}{{- '<|im_end|>' }}
{%- else %}{{- '<|im_start|>ipython\\n\\n' }}
{%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}
{%- else %}{{- message.content }}{%- endif %}{{- '<|im_end|>' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}"""
OWN = {"qwen": QWEN, "llama": LLAMA}
TEMPLATES = [*WITH_TOOLS, *OWN]

SCHEMA = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TOOLS = json.dumps([SCHEMA])


@cache
def template(name: str) -> ChatTemplate:
    return ChatTemplate.load(byte_bpe(), OWN.get(name, name))


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def said(content: str, *calls: tuple[str, Any]) -> dict[str, Any]:
    made = [{"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)} for name, arguments in calls]
    return {"role": "assistant", "content": content} | ({"tool_calls": made} if made else {})


def result(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


CALL = ("weather", {"city": "Oslo"})
TALK = [user("Oslo?"), said("", CALL), result('{"sky": "grey"}'), said("It is grey.")]
PARALLEL = [
    {"role": "system", "content": "Be brief."},
    user("Oslo, Rome?"),
    said("Let me look.", CALL, ("weather", {"city": "Roma", "days": 2, "exact": True, "at": None, "q": [0.5]})),
    result("grey"),
    result("blue"),
    said("Grey and blue."),
    user("Thanks."),
    said("Sure."),
]

HOSTILE = st.sampled_from(
    [*SPECIAL, "<tool_call>", "</tool_response>", '"', "\\", "\n", "{{ x }}", "turn2content", "é"]
)
TEXTS = st.lists(st.text(max_size=5) | HOSTILE, max_size=4).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def conversations(draw: Callable[..., Any]) -> tuple[list[dict[str, Any]], str | None]:
    turns = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    names = st.sampled_from(["weather", "s", "im_end", "<|im_end|>", "a b"])
    for _ in range(draw(st.integers(1, 2))):
        turns.append(user(draw(TEXTS)))
        for _ in range(draw(st.integers(0, 2))):
            turns.append(said("", (draw(names), draw(st.dictionaries(TEXTS, VALUES, max_size=3)))))
            turns.append(result(draw(TEXTS)))
        turns.append(said(draw(TEXTS.filter(str.strip))))
    schema = {"type": "function", "function": {"name": draw(names), "description": draw(TEXTS), "x": draw(VALUES)}}
    return turns, draw(st.none() | st.just(json.dumps([SCHEMA, schema])))


def runs(ids: list[int], weights: list[float]) -> list[list[int]]:
    """The runs of trained ids."""
    found: list[list[int]] = []
    for place, (id, weight) in enumerate(zip(ids, weights, strict=True)):
        if weight and (not place or not weights[place - 1]):
            found.append([])
        if weight:
            found[-1].append(id)
    return found


@pytest.mark.parametrize("name", ["tulu", "think", "s1", *OWN])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=conversations())
def test_calls_are_trained_results_are_not_and_control_tokens_are_the_template_s(
    name: str, drawn: tuple[list[dict[str, Any]], str | None]
) -> None:
    messages, tools = drawn
    form = template(name)
    rendered = render(messages, form, tools=tools)
    answers = [k for k, message in enumerate(messages) if message["role"] == "assistant"]
    trained = runs(rendered.ids, rendered.weights)
    assert len(trained) == len(answers)
    for k, run in zip(answers, trained, strict=True):
        prompt = prompt_ids(messages[:k], form, tools=tools)
        assert rendered.ids[: len(prompt) + len(run)] == prompt + run
        so_far = render(messages[: k + 1], form, tools=tools)
        assert so_far.ids == prompt + run and sum(so_far.weights[: len(prompt)]) <= sum(map(len, trained[:-1]))
        text = form.tokenizer.decode(run)
        for call in messages[k].get("tool_calls", []):
            assert call["name"] in text and json.dumps(json.loads(call["arguments"]), ensure_ascii=False) in text
        assert run[-1] == form.end_ids[0]

    # whatever is said, there are as many control tokens as when nothing but "x" is said
    mild = [{**m, "content": m["content"] and "x"} for m in messages]
    mild = [{**m, **said("", ("x", {}))} if "tool_calls" in m else m for m in mild]
    plain = render(mild, form, tools=None if tools is None else json.dumps([SCHEMA, SCHEMA]))
    controls = {control.id for control in form.encoder.controls.values()}
    assert [id for id in rendered.ids if id in controls] == [id for id in plain.ids if id in controls]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_the_same_ids_as_transformers(name: str, tools: str | None) -> None:
    form = template(name)
    talk = TALK if name == "llama" else PARALLEL
    theirs_talk = [
        {key: value for key, value in message.items() if key != "tool_calls"}
        | (
            {
                "tool_calls": [
                    {"type": "function", "function": {**call, "arguments": json.loads(call["arguments"])}}
                    for call in message["tool_calls"]
                ]
            }
            if "tool_calls" in message
            else {}
        )
        for message in talk
    ]
    theirs = form.tokenizer.apply_chat_template(
        theirs_talk, tools=tools and json.loads(tools), chat_template=form.text, return_dict=False
    )
    ours = render(talk, form, tools=tools).ids
    assert theirs[: len(ours)] == ours and form.tokenizer.decode(theirs[len(ours) :]) in ("", "\n")
    assert ("Tells the weather." in form.tokenizer.decode(ours)) == (tools is not None)


def test_by_hand() -> None:
    decode = template("chatml").tokenizer.decode
    assert decode(render(PARALLEL[:6], template("chatml")).ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOslo, Rome?<|im_end|>\n<|im_start|>assistant\n"
        'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Roma", "days": 2, "exact": true, "at": null, '
        '"q": [0.5]}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\ngrey\n</tool_response>\n<tool_response>\nblue\n</tool_response>\n<|im_end|>\n"
        "<|im_start|>assistant\nGrey and blue.<|im_end|>"
    )
    rendered = render(TALK, template("tulu"), tools=TOOLS)
    assert decode(rendered.ids).startswith("<|system|>\n# Tools\n") and json.dumps(SCHEMA) in decode(rendered.ids)
    assert [decode(run) for run in runs(rendered.ids, rendered.weights)] == [
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call></s>',
        "It is grey.</s>",
    ]
    llama = decode(render(TALK, template("llama"), tools=TOOLS).ids)
    assert r"ipython" + "\n\n" + r'"{\"sky\": \"grey\"}"<|im_end|>' in llama and "Today Date: 01 Jan 2025" in llama


def test_reasoning_stands_before_a_call() -> None:
    talk = [TALK[0], {**TALK[1], "reasoning_content": "I must look."}, *TALK[2:]]
    shown = {name: template(name).tokenizer.decode(render(talk, template(name)).ids) for name in ("think", "s1")}
    assert "<|assistant|>\n<think>I must look.</think>\n<tool_call>" in shown["think"]
    assert "<|im_start|>think\nI must look.\n<|im_start|>answer\n<tool_call>" in shown["s1"]


def test_one_side_of_a_pair_trains_its_calls_and_not_what_they_give() -> None:
    form = template("chatml")
    rendered = render_answer(TALK[:1], TALK[1:], form, tools=TOOLS)
    assert rendered == render(TALK, form, tools=TOOLS)
    after = render_answer(TALK[:3], TALK[3:], form)
    assert [form.tokenizer.decode(run) for run in runs(after.ids, after.weights)] == ["It is grey.<|im_end|>"]


REFUSING = {
    "raw": "it leaves out a tool call of turn 2",
    # ChatML as SmolLM2 has it: a role is a role, and what it does not know it leaves out
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}": "it leaves out a tool call of turn 2",
    # calls without schemas
    QWEN.replace("{{- tool | tojson }}", ""): "the name of a listed tool and its description and its para",
    # a call's name alone
    QWEN.replace(
        "{{- tool_call.arguments | tojson }}", "{}"
    ): "it leaves out the names of its arguments and its arguments",
    # a result cut
    QWEN.replace("{{- message.content }}", "{{- message.content[:4] }}"): "it leaves out the content of turn 3 .tool.",
    # a call that never ends: the next turn would be trained as its end
    QWEN.replace("{%- endfor %}{{- '<|im_end|>\\n' }}", "{%- endfor %}{{- '\\n' }}"): "does not end in a special token",
    # calls taken out once they are answered
    QWEN.replace("for tool_call in message.tool_calls", "for tool_call in message.tool_calls if loop.last"): (
        "turn 2 .assistant. is written differently once other turns follow it"
    ),
}


@pytest.mark.parametrize("jinja", REFUSING, ids=range(len(REFUSING)))
def test_a_template_without_a_place_for_tools_says_so_and_which_has_one(jinja: str) -> None:
    form = ChatTemplate.load(byte_bpe(), jinja)
    render(PARALLEL[-2:], form)  # all else it can
    for talk, tools in ((TALK, None), (PARALLEL[-2:], TOOLS)):
        with pytest.raises(BactrianError, match=REFUSING[jinja]) as caught:
            render(talk, form, "row 3", tools)
        assert str(caught.value).startswith("row 3: chat template")
        assert "templates that do (setting `template`): tulu, think, tulu-think, chatml, s1" in str(caught.value)


def test_what_a_template_refuses_of_one_row_is_said_of_that_row() -> None:
    with pytest.raises(BactrianError, match=r"row 3: chat template 'jinja': .*one call at a time"):
        render(PARALLEL, template("llama"), "row 3")
    with pytest.raises(BactrianError, match="row 4: chat template 'jinja': it leaves out the content of turn 2"):
        render([user("a"), said("I look.", CALL)], template("llama"), "row 4")


def test_templates_that_want_ids_get_them() -> None:
    mistral = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content }}{% elif m.role == 'tool' %}"
        "{% if m.tool_call_id | length != 9 %}{{ raise_exception('an id has 9 characters') }}{% endif %}"
        "{{ '[RESULT] ' + m.name + m.tool_call_id + m.content }}{% else %}{% if m.tool_calls %}"
        "{% for c in m.tool_calls %}{{ ' [CALL] ' + c.id + c.function | tojson }}{% endfor %}{{ tools | tojson }}"
        "{% else %}{{ ' ' + m.content }}{% endif %}{{ '</s>' }}{% endif %}{% endfor %}"
    )
    form = ChatTemplate.load(byte_bpe(), mistral)
    talk = [PARALLEL[1], {**PARALLEL[2], "content": ""}, *PARALLEL[3:6]]
    text = form.tokenizer.decode(render(talk, form, tools=TOOLS).ids)
    assert "[RESULT] weather000010000grey" in text and "[RESULT] weather000010001blue" in text
    assert text.index("[CALL] 000010001") < text.index("[RESULT]")


BAD: list[tuple[list[Any], str]] = [
    ([user("a"), result("x"), said("b")], "message 2: found a turn of 'tool', expected 'assistant'"),
    ([user("a"), said("b"), result("x"), said("c")], "message 3: found a turn of 'tool', expected 'user'"),
    ([user("a"), said("", CALL), user("b"), said("c")], "message 3: found a turn of 'user', expected 'tool'"),
    ([user("a"), said("", CALL), said("c")], "message 3: found a turn of 'assistant', expected 'tool'"),
    (
        [user("a"), said("", CALL), result("x"), result("y"), said("c")],
        "message 4: found a turn of 'tool', expected 'a",
    ),
    ([user("a"), said("", CALL), result("x"), user("b")], "message 4: found a turn of 'user', expected 'assistant'"),
    ([result("x"), user("a"), said("b")], "message 1: found a turn of 'tool', expected 'user'"),
    ([{**user("a"), "tool_calls": said("", CALL)["tool_calls"]}, said("b")], "calls no tools"),
    ([user("a"), said("", CALL), result("x", name="time"), said("c")], "field 'name': found 'time', expected a tool"),
    ([{**user("a"), "name": "Ann"}, said("b")], "field 'name' of the user turn: found 'Ann'"),
    ([user("a"), {"role": "assistant", "content": "", "tool_calls": []}], "found [], expected a list of {name, arg"),
    ([user("a"), {"role": "assistant", "content": "", "tool_calls": "f()"}], "field 'tool_calls': found 'f()'"),
    ([user("a"), {"role": "assistant", "tool_calls": [{"name": "f"}]}], "call 1: found {'name': 'f'}, expected {name"),
    ([user("a"), {"role": "assistant", "tool_calls": [{"name": " ", "arguments": "{}"}]}], "'name': found ' '"),
] + [
    ([user("a"), {"role": "assistant", "tool_calls": [{"name": "f", "arguments": arguments}]}], complaint)
    for arguments, complaint in [
        ({"a": 1}, "call 1, 'arguments': found {'a': 1} (dict), expected JSON text of an object"),
        ("", "'arguments': found '', expected JSON text of an object"),
        ("[1]", "'arguments': found '[1]', expected JSON text of an object"),
        ("{'a': 1}", "expected JSON text of an object: Expecting property name"),
        ('{"a": NaN}', "expected JSON text of an object"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"a": "\\ud83d"}', "expected JSON text of an object"),
        ('{"a":' * 20000 + "1" + "}" * 20000, "nested too deeply"),
    ]
]


@pytest.mark.parametrize(("messages", "complaint"), BAD, ids=range(len(BAD)))
def test_what_is_no_conversation_with_tools_is_refused(messages: list[Any], complaint: str) -> None:
    with pytest.raises(BactrianError) as caught:
        check_messages(messages, "rows.jsonl, line 3")
    assert str(caught.value).startswith("rows.jsonl, line 3, message") and complaint in str(caught.value)


BAD_TOOLS = [
    ("weather", "found 'weather', expected JSON text of a list of tools"),
    ("{}", "found '{}', expected JSON text of a list"),
    ("[]", "found no tool"),
    ("[1]", "tool 1: found 1, expected {type: function, function: {name, …}}"),
    ('[{"name": "weather"}]', "tool 1: found {'name': 'weather'}"),
]


@pytest.mark.parametrize(("tools", "complaint"), BAD_TOOLS)
def test_tools_that_are_no_list_of_schemas_are_refused(tools: str, complaint: str) -> None:
    with pytest.raises(BactrianError) as caught:
        render(TALK, template("chatml"), "row 3", tools)
    assert str(caught.value).startswith("row 3, field 'tools'") and complaint in str(caught.value)


def test_a_conversation_may_end_with_a_call_and_a_prompt_with_a_result() -> None:
    form = template("chatml")
    call = render(TALK[:2], form)
    assert call.trained and form.tokenizer.decode(call.ids).endswith("</tool_call><|im_end|>")
    assert form.tokenizer.decode(prompt_ids(TALK[:3], form)).endswith("<|im_start|>assistant\n")
    with pytest.raises(BactrianError, match="a prompt ends with a user turn; found 'assistant'"):
        prompt_ids(TALK[:2], form)
    given = check_messages([*TALK[:1], {**TALK[1], "content": None}])  # as OpenAI writes a mere call
    assert given[1]["content"] == ""


class Nowhere:
    """A workspace that keeps what a stage counts."""

    def __init__(self) -> None:
        self.metrics: dict[str, Any] = {}


def test_stages_train_calls_and_not_what_they_give() -> None:
    from bactrian.data.io.tally import Tally
    from bactrian.stages.tune.pairs import token_pairs
    from bactrian.stages.tune.sft import SFT

    form = template("chatml")
    decode = form.tokenizer.decode
    (piece,) = SFT(model="m", data="d")._render({"messages": TALK, "tools": TOOLS}, "row 1", form, Tally())
    assert piece == render(TALK, form, tools=TOOLS) and "# Tools" in decode(piece.ids)

    worse = [said("", ("weather", {"city": "Rome"})), *TALK[2:]]
    row = {"prompt": TALK[:1], "chosen": TALK[1:], "rejected": worse, "tools": TOOLS}
    single = {"prompt": TALK[:3], "chosen": TALK[3:], "rejected": [said("Blue.")]}
    workspace: Any = Nowhere()
    (pair, plain), _ = token_pairs("dpo", [row, single], "rows", form, 4096, workspace)
    assert (*pair.prompt, *pair.chosen) == tuple(render(TALK, form, tools=TOOLS).ids) and plain.trained is None
    counted = [
        decode([id for id, counts in zip(side, marks, strict=True) if counts])
        for side, marks in zip((pair.chosen, pair.rejected), pair.counted, strict=True)
    ]
    assert counted[0] == (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>It is grey.<|im_end|>'
    )
    assert "Rome" in counted[1] and not any("sky" in text or "tool_response" in text for text in counted)
    assert "sky" in decode(pair.chosen) and workspace.metrics["rows_kept"] == 2

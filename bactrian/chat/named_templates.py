"""The named chat templates, written in the Jinja that `tokenizer.apply_chat_template` reads.

A model trained with one of them carries the same text in its `chat_template.jinja`, so any other tool that loads the
model renders the same prompts. None of them writes the beginning-of-sequence token: `ChatTemplate.load` adds it where
the tokenizer uses one.

Tools are written as the Hermes and Qwen models were taught, which servers read: schemas between <tools> in the system
turn, each call as JSON between <tool_call> in the assistant's, what it gives between <tool_response> in a user's.
"""

# Put before a template's text. Jinja drops the line break after a comment or block: the template has its own line.
BOS_FIRST = "{{ bos_token }}{# once #}\n"
_DATE = {"%Y": "2025", "%y": "25", "%m": "01", "%d": "01", "%B": "January", "%b": "Jan", "%A": "Wednesday", "%a": "Wed"}
_DATE |= {"%H": "12", "%I": "12", "%M": "00", "%S": "00", "%p": "PM"}
PINNED_DATE = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f".replace('{code}', '{value}')" for code, value in _DATE.items())
    + " }}{% endmacro %}\n"
)

_THINK = (
    "A conversation between a user and an assistant. The user asks a question and the assistant solves it. "
    "The assistant first thinks about the reasoning process and then gives the answer. The reasoning process and the "
    "answer are enclosed in <think> </think> and <answer> </answer> tags: "
    "<think> reasoning process here </think> <answer> answer here </answer>."
)


_BEFORE = "# Tools\nThese tools are there, each as a JSON schema:\n<tools>\n"
_AFTER = (
    "</tools>\nTo call one, write its name and arguments as JSON:\n"
    '<tool_call>\n{"name": "...", "arguments": {...}}\n</tool_call>'
)
_TOOLS = f"{{{{ '{_BEFORE}' }}}}{{% for t in tools %}}{{{{ t | tojson + '\n' }}}}{{% endfor %}}{{{{ '{_AFTER}' }}}}"
_CALLS = (
    "{% for c in m.tool_calls or [] %}{% set f = c.function or c %}"
    "{% if m.content or not loop.first %}{{ '\n' }}{% endif %}"
    "{{ '<tool_call>\n{\"name\": ' + f.name | tojson + ', \"arguments\": ' }}"
    "{{ (f.arguments if f.arguments is string else f.arguments | tojson) + '}\n</tool_call>' }}{% endfor %}"
)
_SCHEMA = '{"type": "function", "function": {"name": "", "description": "", "parameters": {"type": "object", '
_SCHEMA += '"properties": {"": {"type": "string"}}}}}'
TOOL_TEXT = f"{_BEFORE}{_SCHEMA}{_AFTER}<tool_response></tool_response>"
"""All words that are written around tools, calls and what they give."""
_RESPONSE = "{{ '<tool_response>\n' + m.content + '\n</tool_response>\n' }}"
_FIRST_RESPONSE = "{% if loop.first or loop.previtem.role != 'tool' %}"
_LAST_RESPONSE = "{% if loop.last or loop.nextitem.role != 'tool' %}"


def _tulu(system: str, answer: str) -> str:
    """Role markers in plain text; only the end of an answer is a token of its own."""
    return (
        f"{system}{{% for m in messages %}}"
        "{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + '\n' }}"
        f"{{% elif m.role == 'tool' %}}{_FIRST_RESPONSE}{{{{ '<|user|>\n' }}}}{{% endif %}}{_RESPONSE}"
        "{% elif m.role == 'assistant' %}{{ '<|assistant|>\n' }}"
        f"{answer}{_CALLS}"
        "{{ eos_token }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )


def _chatml(answer: str) -> str:
    system = (
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% if tools %}{{ '\n\n' }}{% endif %}{% endif %}"
    )
    return (
        "{% if messages[0].role == 'system' or tools %}{{ '<|im_start|>system\n' }}"
        f"{system}{{% if tools %}}{_TOOLS}{{% endif %}}{{{{ '<|im_end|>\n' }}}}{{% endif %}}"
        "{% for m in messages %}"
        f"{{% if m.role == 'tool' %}}{_FIRST_RESPONSE}{{{{ '<|im_start|>user\n' }}}}{{% endif %}}{_RESPONSE}"
        f"{_LAST_RESPONSE}{{{{ '<|im_end|>\n' }}}}{{% endif %}}"
        "{% elif m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' }}"
        f"{answer}{_CALLS}"
        "{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


_ANSWER = "{% if m.reasoning_content is defined %}{{ REASONED }}{% else %}{{ m.content }}{% endif %}"
_SYSTEM = (
    "{% if messages[0].role == 'system' or tools %}{{ '<|system|>\n' }}{% endif %}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% if tools %}{{ '\n\n' }}{% endif %}{% endif %}"
    f"{{% if tools %}}{_TOOLS}{{% endif %}}"
    "{% if messages[0].role == 'system' or tools %}{{ '\n' }}{% endif %}"
)

NAMED: dict[str, str] = {
    # Tülu 3: <|system|>, <|user|>, <|assistant|>; an end token, and a newline after it unless it is the last.
    "tulu": _tulu(_SYSTEM, "{{ m.content }}"),
    # The texts one after another, no roles, an end token after each answer: base models and plain documents
    # (an empty user turn, the document as the answer).
    "raw": "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}",
    # Tülu's markers, with a system text that asks for <think>…</think> <answer>…</answer>. The answer opens <think>
    # itself, so that a completion is whole on its own. `reasoning_content`, where there is one, goes between the tags.
    "think": _tulu(
        f"{{{{ '<|system|>\n{_THINK}' }}}}{{% if messages[0].role == 'system' %}}{{{{ '\n\n' + messages[0].content }}}}"
        f"{{% endif %}}{{% if tools %}}{{{{ '\n\n' }}}}{_TOOLS}{{% endif %}}{{{{ '\n' }}}}",
        _ANSWER.replace(
            "REASONED",
            "'<think>' + m.reasoning_content + '</think>\n' "
            "+ ('<answer>' + m.content + '</answer>' if m.content or not m.tool_calls else '')",
        ),
    ),
    # Tülu's markers; `reasoning_content`, where there is one, between <think> tags before the answer. No system text.
    "tulu-think": _tulu(
        _SYSTEM, _ANSWER.replace("REASONED", "'<think>' + m.reasoning_content + '</think>\n' + m.content")
    ),
    "chatml": _chatml("{{ m.content }}"),
    # s1: ChatML in which `reasoning_content` becomes <|im_start|>think … <|im_start|>answer …: <|im_start|> ends it.
    "s1": _chatml(
        _ANSWER.replace(
            "REASONED", "'<|im_start|>think\n' + m.reasoning_content + '\n<|im_start|>answer\n' + m.content"
        )
    ),
}
WITH_TOOLS = tuple(name for name in NAMED if name != "raw")  # `raw` has no place for them: it has no roles

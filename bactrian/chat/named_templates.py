"""The named chat templates, written in the Jinja that `tokenizer.apply_chat_template` reads.

A model trained with one of them carries the same text in its `chat_template.jinja`, so any other tool that loads the
model renders the same prompts. None of them writes the beginning-of-sequence token: `ChatTemplate.load` adds it where
the tokenizer uses one.
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


def _tulu(system: str, answer: str) -> str:
    """Role markers in plain text; only the end of an answer is a token of its own."""
    return (
        f"{system}{{% for m in messages %}}"
        "{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + '\n' }}"
        "{% elif m.role == 'assistant' %}{{ '<|assistant|>\n' }}"
        f"{answer}"
        "{{ eos_token }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )


def _chatml(answer: str) -> str:
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        f"{answer}"
        "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


NAMED: dict[str, str] = {
    # Tülu 3: <|system|>, <|user|>, <|assistant|>; an end token, and a newline after it unless it is the last.
    "tulu": _tulu(
        "{% if messages[0].role == 'system' %}{{ '<|system|>\n' + messages[0].content + '\n' }}{% endif %}",
        "{{ m.content }}",
    ),
    # The texts one after another, no roles, an end token after each answer: base models and plain documents
    # (an empty user turn, the document as the answer).
    "raw": "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}",
    # Tülu's markers, with a system text that asks for <think>…</think> <answer>…</answer>. The answer opens <think>
    # itself, so that a completion is whole on its own. `reasoning_content`, where there is one, goes between the tags.
    "think": _tulu(
        f"{{{{ '<|system|>\n{_THINK}\n' }}}}"
        "{% if messages[0].role == 'system' %}{{ '\n' + messages[0].content + '\n' }}{% endif %}",
        "{% if m.reasoning_content is defined %}"
        "{{ '<think>' + m.reasoning_content + '</think>\n<answer>' + m.content + '</answer>' }}"
        "{% else %}{{ m.content }}{% endif %}",
    ),
    # Tülu's markers; `reasoning_content`, where there is one, between <think> tags before the answer. No system text.
    "tulu-think": _tulu(
        "{% if messages[0].role == 'system' %}{{ '<|system|>\n' + messages[0].content + '\n' }}{% endif %}",
        "{% if m.reasoning_content is defined %}"
        "{{ '<think>' + m.reasoning_content + '</think>\n' + m.content }}{% else %}{{ m.content }}{% endif %}",
    ),
    "chatml": _chatml("{{ m.content }}"),
    # s1: ChatML in which `reasoning_content` becomes <|im_start|>think … <|im_start|>answer …: <|im_start|> ends it.
    "s1": _chatml(
        "{% if m.reasoning_content is defined %}"
        "{{ '<|im_start|>think\n' + m.reasoning_content + '\n<|im_start|>answer\n' + m.content }}"
        "{% else %}{{ m.content }}{% endif %}"
    ),
}

"""How many tokens a row has."""

from functools import cache
from pathlib import Path
from typing import Any

from bactrian.chat.tool_calls import calls_within
from bactrian.data.io.rows import Row
from bactrian.data.io.texts import estimated_tokens, token_text


def measure(located: list[tuple[Row, str]], model: Path | None) -> list[int]:
    """Tokens of each row; without a model, a quarter of the bytes of its text.

    Of a conversation or problem the tokens that its template makes of the messages, of other rows those of their text,
    as of those with tools where the template has no place for these.
    """
    return [_tokens(row, where, model) for row, where in located]


def _tokens(row: Row, where: str, model: Path | None) -> int:
    if model is None:
        return estimated_tokens(token_text(row))
    template = _template(model)
    if "messages" in row:
        from bactrian.chat import render

        tools = row.get("tools")
        if not (template.without_tools and (tools or calls_within(row["messages"]))):
            return len(render(row["messages"], template, where, tools).ids)
    return len(template.tokenizer(token_text(row), add_special_tokens=False)["input_ids"])


@cache
def _template(model: Path) -> Any:
    from transformers import AutoTokenizer

    from bactrian.chat import ChatTemplate, template_for

    tokenizer = AutoTokenizer.from_pretrained(model)
    return ChatTemplate.load(tokenizer, template_for(tokenizer))

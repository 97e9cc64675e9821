"""Messages to token ids and loss weights; chat templates."""

from bactrian.chat.messages import Message, Messages, check_messages
from bactrian.chat.named_templates import NAMED
from bactrian.chat.render import Rendered, prompt_ids, render, render_answer, split, truncate
from bactrian.chat.template import ChatTemplate, template_for, template_names
from bactrian.chat.thinking import (
    FORMATS,
    TAGS,
    Parts,
    ThinkingFormat,
    ThinkingReader,
    literal_ids,
    of_template,
    thinking_format,
)
from bactrian.chat.user_turn import UserTurn, user_turn

__all__ = [
    "FORMATS",
    "NAMED",
    "TAGS",
    "ChatTemplate",
    "Message",
    "Messages",
    "Parts",
    "Rendered",
    "ThinkingFormat",
    "ThinkingReader",
    "UserTurn",
    "check_messages",
    "literal_ids",
    "of_template",
    "prompt_ids",
    "render",
    "render_answer",
    "split",
    "template_for",
    "template_names",
    "thinking_format",
    "truncate",
    "user_turn",
]

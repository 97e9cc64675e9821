"""Messages to token ids and loss weights; chat templates."""

from bactrian.chat.messages import Message, Messages, check_messages
from bactrian.chat.render import Rendered, prompt_ids, render, render_answer, truncate
from bactrian.chat.template import ChatTemplate, template_for
from bactrian.chat.templates import NAMED

__all__ = [
    "NAMED",
    "ChatTemplate",
    "Message",
    "Messages",
    "Rendered",
    "check_messages",
    "prompt_ids",
    "render",
    "render_answer",
    "template_for",
    "truncate",
]

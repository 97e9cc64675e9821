"""The one way in which judges are asked in words: a question's text, a greedy reply, or the reason why there is none.

Readings of replies are in reading.py.
"""

from collections.abc import Sequence

from bactrian.generate.chat_request import ChatReply, ChatRequest, Responder


def judge_request(text: str, name: str, max_new_tokens: int) -> ChatRequest:
    """A question to a judge, answered greedily; `name` is for messages to people."""
    return ChatRequest(({"role": "user", "content": text},), name, 0, max_new_tokens, 0.0)


def replies_to(responder: Responder, questions: Sequence[str], name: str, max_new_tokens: int) -> list[ChatReply]:
    """The reply to each question, in order."""
    replies: dict[int, ChatReply] = {}
    responder.answer([judge_request(text, name, max_new_tokens) for text in questions], replies.__setitem__)
    return [replies[place] for place in range(len(questions))]

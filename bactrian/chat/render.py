"""Messages to token ids and loss weights."""

from dataclasses import dataclass

from bactrian.chat.messages import Message, Messages, check_messages
from bactrian.chat.skeleton import TemplateSegment, shape_of
from bactrian.chat.template import ChatTemplate
from bactrian.chat.tool_calls import check_tools
from bactrian.errors import BactrianError


@dataclass(frozen=True, slots=True)
class Rendered:
    """A tokenised conversation, T tokens long.

    ids      [T] token ids
    weights  [T] 1.0 where the token is trained (an assistant's text and its end token), else 0.0

    Under `tulu`, a user's "Hi" and an assistant's "Yes" are, with the trained tokens in brackets:
    <|user|>⏎Hi⏎<|assistant|>⏎[Yes<eos>]
    """

    ids: list[int]
    weights: list[float]

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return sum(weight > 0 for weight in self.weights)


def render(
    messages: Messages, template: ChatTemplate, where: str = "conversation", tools: str | None = None
) -> Rendered:
    """Ids of the whole conversation and weights that train every assistant turn with its end token.

    An assistant's tool calls are part of its turn, and trained; what a tool gives is not. Turns
    with `"weight": 0` are not trained. Each answer is tokenised on its own, so the ids begin with
    `prompt_ids(messages[:k])` for each assistant turn k. Nothing follows the last end token.
    `where` names the row in errors; `tools` is the row's column of that name: JSON text.

    Raises:
        BactrianError: for messages that are no conversation, for tools where the template has no
            place for them, and when no token would be trained.
    """
    checked = check_messages(messages, where)
    ids: list[int] = []
    weights: list[float] = []
    for segment, segment_ids in _tokenise(checked, template, where, tools):
        trained = segment.turn is not None and checked[segment.turn].get("weight", 1) > 0
        ids += segment_ids
        weights += [float(trained)] * len(segment_ids)
    if not any(weights):
        raise BactrianError(f"{where}: 0 trained tokens: expected an assistant turn whose weight is not 0")
    return Rendered(ids, weights)


def render_answer(
    prompt: Messages,
    answer: Messages,
    template: ChatTemplate,
    where: str = "conversation",
    tools: str | None = None,
) -> Rendered:
    """`render(prompt + answer)` with only the turns of `answer` trained: one side of a preference pair."""
    context = [{**message, "weight": 0} for message in prompt]
    return render([*context, *answer], template, where, tools)


def prompt_ids(
    messages: Messages, template: ChatTemplate, where: str = "conversation", tools: str | None = None
) -> list[int]:
    """Ids up to where the assistant begins: what a model is given to answer the last turn, a user's or a tool's.

    None at all for an empty user turn under `raw` with a tokenizer that has no beginning-of-sequence token.
    """
    checked = check_messages(messages, where)
    if checked[-1]["role"] == "assistant":
        raise BactrianError(f"{where}: a prompt ends with a user turn; found 'assistant'")
    return [id for _, ids in _tokenise(checked, template, where, tools) for id in ids]


def truncate(rendered: Rendered, max_length: int) -> Rendered | None:
    """The first `max_length` tokens, or None when none of them is trained: such a row is to be dropped, and counted."""
    if len(rendered.ids) <= max_length:
        return rendered
    cut = Rendered(rendered.ids[:max_length], rendered.weights[:max_length])
    return cut if cut.trained else None


def split(rendered: Rendered, max_length: int) -> list[Rendered]:
    """Pieces of at most `max_length` tokens, those without a trained one left out.

    A piece begins with the last token of the one before, for context alone: each trained token is trained once, and is
    predicted from something.
    """
    ids, weights = rendered.ids, rendered.weights
    starts = range(0, max(1, len(ids) - 1), max_length - 1)
    pieces = [Rendered(ids[at : at + max_length], weights[at : at + max_length]) for at in starts]
    for piece in pieces[1:]:
        piece.weights[0] = 0.0
    return [piece for piece in pieces if piece.trained]


def _tokenise(
    messages: list[Message], template: ChatTemplate, where: str, tools: str | None
) -> list[tuple[TemplateSegment, list[int]]]:
    if tools:
        check_tools(tools, f"{where}, field 'tools'")
    shape = shape_of(messages, tools)
    try:
        if shape.has_tools and template.without_tools:
            raise BactrianError(template.without_tools)
        segments = template.segments(shape)
        template.check_text(messages, tools)
    except BactrianError as error:
        raise BactrianError(f"{where}: chat template '{template.name}': {error}") from None
    texts = template.texts(messages)
    encoder = template.encoder
    tokenised: list[tuple[TemplateSegment, list[int]]] = []
    for segment in segments:
        after_answer = segment.turn is None and tokenised
        swallowed = bool(after_answer) and tokenised[-1][1][-1] in encoder.swallowing
        tokenised.append((segment, encoder.parts(segment.fill(texts), strip_start=swallowed)))
    return tokenised

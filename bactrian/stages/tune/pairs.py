"""What stages that learn from judged answers have in common: pairs as tokens, and reference sums kept by content."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bactrian.errors import BactrianError

if TYPE_CHECKING:
    import torch

    from bactrian.chat import ChatTemplate, Rendered
    from bactrian.chat.plain_text import PlainText
    from bactrian.data.io.journal import Journal
    from bactrian.store.artifact import Workspace
    from bactrian.train.preference import PreferencePair

Row = dict[str, Any]


def token_pairs(
    stage: str, rows: list[Row], path: str, template: "ChatTemplate", max_length: int, workspace: "Workspace"
) -> "tuple[list[PreferencePair], list[Row]]":
    """Each row's prompt and answers as token ids, and the rows that they are of.

    A row of plain texts has no chat template: its prompt is the token that begins a document, with its `prefix` if it
    has one, and all of each text is trained. No end token follows, as a text may be a part of a longer one.

    Rows with a side that is too long, or with two equal sides, are dropped and counted.

    Raises:
        BactrianError: no pair is left.
    """
    from bactrian.chat.plain_text import PlainText
    from bactrian.data.io.rows import is_raw_pair
    from bactrian.data.io.tally import Tally
    from bactrian.progress import say
    from bactrian.train.preference import PreferencePair

    pairs, kept, tally, plain = [], [], Tally(), PlainText(template.tokenizer)
    for i, row in enumerate(rows, 1):
        where = f"{path}, row {i}"
        raw = is_raw_pair(row)
        sides = _raw_sides(row, plain, template, where) if raw else _turn_sides(row, template, where)
        prompt, chosen, rejected = sides
        if max(len(chosen.ids), len(rejected.ids)) > max_length:
            tally.drop(f"a side is longer than {max_length} tokens", where)
        elif chosen.ids == rejected.ids:
            tally.drop("chosen and rejected are the same text", where)
        else:
            tally.keep()
            ids = tuple(chosen.ids[len(prompt) :]), tuple(rejected.ids[len(prompt) :])
            marks = _trained(chosen, len(prompt)), _trained(rejected, len(prompt))
            pairs.append(PreferencePair(tuple(prompt), *ids, None if all(map(all, marks)) else marks))
            kept.append(row)
    say(f"{stage}: {tally}")
    workspace.metrics.update(tally.counts())
    if not pairs:
        raise BactrianError(f"{path}: no pair is left to train on\n{tally}")
    return pairs, kept


Sides = tuple[tuple[int, ...], "Rendered", "Rendered"]
"""A prompt's ids, and both answers with the prompt before them."""


def _turn_sides(row: Row, template: "ChatTemplate", where: str) -> Sides:
    from bactrian.chat import prompt_ids, render_answer

    chosen, rejected = (
        render_answer(row["prompt"], row[side], template, where, row.get("tools")) for side in ("chosen", "rejected")
    )
    return tuple(prompt_ids(row["prompt"], template, where, row.get("tools"))), chosen, rejected


def _raw_sides(row: Row, plain: "PlainText", template: "ChatTemplate", where: str) -> Sides:
    """
    Raises:
        BactrianError: the tokenizer has no token that could begin a document.
    """
    from bactrian.chat import Rendered
    from bactrian.data.io.rows import RAW_SIDES

    before = str(row.get("prefix") or "")
    prompt = plain.opened(before)
    if not prompt:
        raise BactrianError(f"{where}: a plain text needs a token before it; the tokenizer has neither bos nor eos")
    sides = []
    for side in RAW_SIDES:
        ids = template.encoder.text(row[side]) if before else list(plain.opened(row[side])[len(prompt) :])
        sides.append(Rendered([*prompt, *ids], [0.0] * len(prompt) + [1.0] * len(ids)))
    return prompt, sides[0], sides[1]


def _trained(answer: "Rendered", start: int) -> tuple[bool, ...]:
    """Which tokens from `start` on are the assistant's."""
    return tuple(weight > 0 for weight in answer.weights[start:])


def remembered(
    workspace: "Workspace",
    compute: "Callable[[Journal], torch.Tensor]",
    *,
    model: str,
    tokens: object,
    micro_tokens: int,
) -> "torch.Tensor":
    """The reference's log-probabilities; from the memo if they were computed before. Several processes share the work.

    Args:
        compute: is given a journal of its own, to keep parts of them over a kill.
        model: the content hash of the reference.
        tokens: all token ids that they are of.
    """
    import hashlib

    from safetensors.torch import load_file, save_file

    from bactrian.data.io.journal import Journal
    from bactrian.store import processes

    digest = hashlib.sha256(repr(tokens).encode()).hexdigest()
    memo = workspace.memo(what="reference log-probs", model=model, pairs=digest, micro_tokens=micro_tokens)
    group = processes.present()
    if not group.told(group.leader and memo.exists):
        folder, kept = memo.begin() if group.leader else None, workspace.scratch / f"{memo.path.name}.jsonl"
        with Journal(kept) as journal:
            found = compute(journal)
        if folder is not None:
            save_file({"sums": found}, folder / "reference.safetensors")
            memo.commit()
        kept.unlink()
        group.barrier()
    sums: torch.Tensor = load_file(memo.path / "reference.safetensors")["sums"]
    return sums

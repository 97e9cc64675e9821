"""The command `bactrian think`: one question, thought about within a budget."""

from pathlib import Path

import click

from bactrian.errors import BactrianError


@click.command()
@click.argument("model")
@click.argument("question")
@click.option("--run", "run_name", help="The run (recipe name) in which MODEL is a step.")
@click.option("--budget", type=click.IntRange(min=0), help="Most tokens of thinking.  [default: all that fit]")
@click.option("--wait", "waits", type=click.IntRange(min=0), default=0, show_default=True,
              help="How many times its ending is taken back and the extension appended instead.")
@click.option("--extension", default="Wait", show_default=True, help="What is appended then; may be empty.")
@click.option("--final", default="Final Answer:", show_default=True, help="What begins an answer after a cut.")
@click.option("--answer", type=click.IntRange(min=1), default=256, show_default=True, help="Most tokens of the answer.")
@click.option("--format", "form", default="auto", show_default=True,
              help="How thinking is told from answer: auto (the chat template's way), tags, think, s1.")
@click.option("--template", help="Chat template, where not the model's own.")
@click.option("--system", default="", help="A system turn.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--store", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
              help="Folder of artifacts and runs.  [default: runs]")
def think(
    model: str, question: str, run_name: str | None, budget: int | None, waits: int, extension: str, final: str,
    answer: int, form: str, template: str | None, system: str, temperature: float, seed: int, store: Path,
) -> None:  # fmt: skip
    """Let a model think within a budget and answer, shown as it comes; what was forced stands in ⟦ ⟧.

    MODEL is an artifact (as in `show`), embedded:NAME, a folder or a Hub id.
    """
    from bactrian.chat import thinking_format
    from bactrian.generate.local import LocalEngine
    from bactrian.model_argument import model_folder
    from bactrian.think.console import think_aloud
    from bactrian.think.thought import Budget

    if not question.strip():
        raise BactrianError("QUESTION: found nothing, expected text")
    engine = LocalEngine.load(model_folder(model, run_name, store), template=template, rows=1)
    messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": question}]
    limits = Budget(budget, waits, extension, final, answer, greedy_answer=temperature == 0)
    think_aloud(engine, messages, thinking_format(engine.template, form), limits, temperature=temperature, seed=seed)

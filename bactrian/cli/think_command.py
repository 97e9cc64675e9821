"""The command `bactrian think`: one question, thought about within a budget."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bactrian.cli.shared_options import FiniteRange
from bactrian.errors import BactrianError

if TYPE_CHECKING:
    from bactrian.generate.chat_server import Endpoint
    from bactrian.generate.completions_server import CompletionEngine

TRIES = 2
"""Times that a server is asked before it counts as gone: somebody waits at the terminal."""


@click.command()
@click.argument("model")
@click.argument("question")
@click.option("--run", "run_name", help="The run (recipe name) in which MODEL is a step.")
@click.option("--budget", type=click.IntRange(min=0), help="Most tokens of thinking.  [default: all that fit]")
@click.option(
    "--wait",
    "waits",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How many times its ending is taken back and the extension appended instead.",
)
@click.option("--extension", default="Wait", show_default=True, help="What is appended then; may be empty.")
@click.option("--final", default="Final Answer:", show_default=True, help="What begins an answer after a cut.")
@click.option("--answer", type=click.IntRange(min=1), default=256, show_default=True, help="Most tokens of the answer.")
@click.option(
    "--format",
    "form",
    default="auto",
    show_default=True,
    help="How thinking and answer are separated: auto (the chat template's way), tags, think, s1.",
)
@click.option("--template", help="Chat template, where not the model's own.")
@click.option("--system", default="", help="A system turn.")
@click.option("--temperature", type=FiniteRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--server",
    metavar="URL",
    help="Think on a server of OpenAI's completions, up to and with /v1; MODEL is then its tokenizer and template.",
)
@click.option("--served-as", help="The model's name on the server.  [default: MODEL]")
@click.option("--key-name", metavar="VARIABLE", help="Environment variable that holds the server's key.")
@click.option(
    "--timeout",
    type=FiniteRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds without a word from the server, twice, after which it counts as gone.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    help="Folder of artifacts and runs.  [default: runs]",
)
def think(
    model: str,
    question: str,
    run_name: str | None,
    budget: int | None,
    waits: int,
    extension: str,
    final: str,
    answer: int,
    form: str,
    template: str | None,
    system: str,
    temperature: float,
    seed: int,
    server: str | None,
    served_as: str | None,
    key_name: str | None,
    timeout: float,
    store: Path,
) -> None:
    """Let a model think within a budget and answer, shown as it comes; what was forced stands in ⟦ ⟧.

    MODEL is an artifact (as in `show`), embedded:NAME, a folder or a Hub id.
    """
    from bactrian.chat import thinking_format
    from bactrian.cli.think_console import think_afar, think_aloud
    from bactrian.generate.chat_server import Endpoint
    from bactrian.generate.local import LocalEngine
    from bactrian.think.thought import Budget

    if not question.strip():
        raise BactrianError("QUESTION: found nothing, expected text")
    folder = model_folder(model, run_name, store)
    messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": question}]
    limits = Budget(budget, waits, extension, final, answer, greedy_answer=temperature == 0)
    if server is not None:
        remote = _remote(folder, template, Endpoint(server, served_as or model, key_name, timeout=timeout, tries=TRIES))
        think_afar(remote, messages, thinking_format(remote.template, form), limits, temperature=temperature, seed=seed)
        return
    engine = LocalEngine.load(folder, template=template, rows=1)
    think_aloud(engine, messages, thinking_format(engine.template, form), limits, temperature=temperature, seed=seed)


def _remote(folder: Path, template: str | None, server: "Endpoint") -> "CompletionEngine":
    """The engine behind a server, with the tokenizer, template and context of the model in the folder."""
    from bactrian.chat import ChatTemplate, template_for
    from bactrian.generate.completions_server import CompletionEngine
    from bactrian.model.language_model import context_of, load_tokenizer

    tokenizer = load_tokenizer(folder)
    chat = ChatTemplate.load(tokenizer, template or template_for(tokenizer))
    return CompletionEngine(server, chat, context_of(folder) or 2**30)


def model_folder(model: str, run_name: str | None, store: Path) -> Path:
    """The folder of a MODEL: an artifact (as in `show`), embedded:NAME, a folder or a Hub id.

    Raises:
        BactrianError: for what is none of these.
    """
    from bactrian.recipe.references import problem_with, resolve
    from bactrian.store.artifact import Store
    from bactrian.store.manifest import Kind

    if run_name is None and problem_with(model, Kind.MODEL, Path(), ()) is None:
        return resolve(model, Kind.MODEL, Path()).input().path
    return Store(store).locate(model, run_name)

"""Each package of examples/ is installed by pip into a folder of its own and then used by the command line."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

from bactrian.data.io.files import read_rows
from tests.model import tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
HARDWARE = "hardware: {dtype: float32, threads: 1, device: cpu}"
LISTED = re.compile(r'"bactrian\.(\w+)"\]\n([\w-]+) =')


def pip_install(sources: Sequence[Path], target: Path) -> None:
    """As a user would, but without a network: the packages need nothing besides Bactrian."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target)]
    subprocess.run([*command, *map(str, sources)], check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of examples/ installed in it. A build leaves files in its source: a copy is built."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copytree(ROOT / "examples", folder / "sources")
    pip_install(sorted(path.parent for path in (folder / "sources").glob("*/pyproject.toml")), folder / "installed")
    return folder / "installed"


def environment(plugins: Path | None) -> dict[str, str]:
    paths = [str(plugins)] if plugins else []
    return os.environ | {"PYTHONPATH": os.pathsep.join([*paths, str(ROOT)]), "BACTRIAN_NO_REEXEC": "1"}


class Commands:
    """Runs `bactrian` with the packages in a folder, or with none, in forks of a process that has imported torch."""

    def __init__(self, folder: Path) -> None:
        self.said, self.errors = folder / "said", folder / "errors"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "stages" / "zygote.py"), str(self.said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(None) | {"TOKENIZERS_PARALLELISM": "false"},
        )

    def __call__(self, folder: Path, plugins: Path | None, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Its output and its errors."""
        return self.asked(folder, plugins, status, arguments=arguments)

    def asked(self, folder: Path, plugins: Path | None, status: int = 0, **what: object) -> tuple[str, str]:
        assert self.process.stdin is not None and self.process.stdout is not None
        for path in (self.said, self.errors):
            path.write_text("")
        where: dict[str, object] = {"folder": str(folder), "errors": str(self.errors)}
        if plugins is not None:  # PYTHONPATH is for its workers
            where |= {"paths": [str(plugins)], "environment": environment(plugins)}
        self.process.stdin.write(json.dumps(where | what) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()  # its process id
        found = int(self.process.stdout.readline())
        said, errors = self.said.read_text(), self.errors.read_text()
        assert found == status, errors
        return said, errors


@pytest.fixture(scope="module")
def bactrian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    assert commands.process.stdin is not None
    commands.process.stdin.close()
    commands.process.wait(30)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def record(folder: Path, run: str) -> dict[str, Any]:
    """The last step of a run, from run.json."""
    return dict(json.loads((folder / "runs" / run / "run.json").read_text())["steps"][-1])


def change_version(plugins: Path, kind: str) -> None:
    """Another version of a package, with the same code."""
    (metadata,) = plugins.glob(f"bactrian_example_{kind}-*/METADATA")
    text = metadata.read_text()
    assert "\nVersion: 1.0\n" in text
    metadata.write_text(text.replace("\nVersion: 1.0\n", "\nVersion: 1.1\n"))


def test_there_is_an_example_of_every_kind() -> None:
    """CONTRIBUTING.md has a paragraph "How to add" for each, which names it."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    kinds = re.findall(r"^\*\*An? ([a-z ]+):\*\*", text, re.MULTILINE)
    assert sorted(kind.split()[-1] for kind in kinds) == sorted(path.name for path in EXAMPLES)
    for path in EXAMPLES:
        (group, name) = LISTED.findall((path / "pyproject.toml").read_text())[0]
        assert f"`bactrian.{group}`" in text and f"examples/{path.name}/" in text and name


LOADED = """
from bactrian.chat.template import PLUGINS as templates
from bactrian.evaluate.catalogue import PLUGINS as tasks
from bactrian.generate.decoder import PLUGINS as architectures
from bactrian.generate.engines import PLUGINS as engines
from bactrian.stages import PLUGINS as stages
from bactrian.train.registry import PLUGINS as losses
from bactrian.verify.registry import PLUGINS as verifiers

for plugins in (architectures, engines, losses, stages, tasks, templates, verifiers):
    print(plugins.group, *(name for name in plugins.names() if plugins.get(name) is not None))
"""


def test_every_part_is_found_and_loaded(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=tmp_path, env=environment(installed), capture_output=True, text=True
    )
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    listed = [LISTED.findall((path / "pyproject.toml").read_text())[0] for path in EXAMPLES]
    assert found == {f"bactrian.{group}": name for group, name in listed}, done.stderr


STAGE = f"""\
name: rows
{HARDWARE}
steps:
  few: {{stage: head, data: rows.jsonl, count: 2}}
"""


def test_a_stage_runs_in_a_recipe_and_as_a_command(bactrian: Commands, installed: Path, tmp_path: Path) -> None:
    plugins = shutil.copytree(installed, tmp_path / "plugins")
    rows = [{"text": f"row {number}"} for number in range(5)]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "recipe.yaml").write_text(STAGE)
    _, refused = bactrian(tmp_path, None, "run", "recipe.yaml", status=2)
    assert "head" in refused
    bactrian(tmp_path, plugins, "run", "recipe.yaml")
    first = record(tmp_path, "rows")
    assert read_rows(tmp_path / "runs" / first["path"]) == rows[:2]
    assert "The first rows of a data set" in bactrian(tmp_path, plugins, "head", "--help")[0]
    assert "nothing to make" in bactrian(tmp_path, plugins, "run", "recipe.yaml")[1]
    change_version(plugins, "stage")
    bactrian(tmp_path, plugins, "run", "recipe.yaml")
    assert record(tmp_path, "rows")["key"] != first["key"]


def test_a_verifier_gives_verdicts(bactrian: Commands, installed: Path, tmp_path: Path) -> None:
    answers = ("AYE", "no", "")
    rows = [{"completion": text, "ground_truth": "-", "dataset": "shout"} for text in answers]
    write_rows(tmp_path / "said.jsonl", rows)
    said, _ = bactrian(tmp_path, installed, "verify", "score", "said.jsonl", "--json")
    found = json.loads(said)
    assert found["score"] == pytest.approx(1 / 3)
    bactrian(tmp_path, None, "verify", "score", "said.jsonl", "--json", status=2)


def test_a_task_is_evaluated(bactrian: Commands, installed: Path, tmp_path: Path) -> None:
    tiny.write_tiny(tmp_path / "model")
    answers = ("cat", "mat", "12")
    write_rows(tmp_path / "riddles.jsonl", [{"riddle": f"what is {each} ?", "answer": each} for each in answers])
    gold, _ = bactrian(tmp_path, installed, "eval", "--gold", "riddles", "--data", ".", "--json")
    assert "riddles" in gold
    bactrian(tmp_path, installed, "eval", "model", "--tasks", "riddles", "--data", ".", "--max-new-tokens", "4")
    made = tmp_path / "runs" / record(tmp_path, "eval")["path"]
    (score,) = json.loads((made / "results.json").read_text())["scores"]
    assert (score["task"], score["questions"]) == ("riddles", 3)
    parts = json.loads((made / "manifest.json").read_text())["parts"]
    assert parts["task riddles"]["module"] == "riddles_task"
    _, refused = bactrian(tmp_path, None, "eval", "model", "--tasks", "riddles", "--data", ".", status=2)
    assert "no task is called 'riddles'" in refused


SFT = f"""\
name: chats
{HARDWARE}
steps:
  tuned: {{stage: sft, model: model, data: chats.jsonl, template: arrows, batch_size: 2, epochs: 1, max_length: 64}}
"""


def test_a_template_renders_and_trains(bactrian: Commands, installed: Path, tmp_path: Path) -> None:
    plugins = shutil.copytree(installed, tmp_path / "plugins")
    tiny.write_tiny(tmp_path / "model")
    turns = [("what is 12 ?", "12 = 12"), ("the cat", "sat on a mat")]
    chats = [[{"role": "user", "content": asked}, {"role": "assistant", "content": said}] for asked, said in turns]
    write_rows(tmp_path / "chats.jsonl", [{"messages": messages} for messages in chats])
    (tmp_path / "recipe.yaml").write_text(SFT)
    assert "arrows" in bactrian(tmp_path, None, "run", "recipe.yaml", status=2)[1]
    bactrian(tmp_path, plugins, "run", "recipe.yaml")
    first = record(tmp_path, "chats")
    made = tmp_path / "runs" / first["path"]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made)
    assert tokenizer.apply_chat_template(chats[0], tokenize=False).endswith("> what is 12 ?\n< 12 = 12</s>\n")
    assert not torch.equal(weights(made), weights(tmp_path / "model"))
    assert "nothing to make" in bactrian(tmp_path, plugins, "run", "recipe.yaml")[1]
    change_version(plugins, "template")
    bactrian(tmp_path, plugins, "run", "recipe.yaml")
    assert record(tmp_path, "chats")["status"] == "made"


DPO = f"""\
name: pairs
{HARDWARE}
steps:
  tuned:
    {{stage: dpo, model: model, data: pairs.jsonl, loss: hinge, beta: 0.1, batch_size: 2, learning_rate: 0.01}}
"""


def test_a_loss_trains(bactrian: Commands, installed: Path, tmp_path: Path) -> None:
    tiny.write_tiny(tmp_path / "model")
    question = [{"role": "user", "content": "what is 12 ?"}]
    answers = [("12 = 12", "the cat"), ("12", "sat on a mat")]
    said = [[[{"role": "assistant", "content": text}] for text in pair] for pair in answers]
    rows = [{"prompt": question, "chosen": good, "rejected": bad} for good, bad in said]
    write_rows(tmp_path / "pairs.jsonl", rows)
    (tmp_path / "recipe.yaml").write_text(DPO)
    assert "hinge" in bactrian(tmp_path, None, "run", "recipe.yaml", status=2)[1]
    bactrian(tmp_path, installed, "run", "recipe.yaml")
    made = tmp_path / "runs" / record(tmp_path, "pairs")["path"]
    assert not torch.equal(weights(made), weights(tmp_path / "model"))
    (first, *_) = (json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines())
    assert first["loss"] == pytest.approx(1.0, abs=1e-4)  # the policy is the reference: no margin yet
    parts = json.loads((made / "manifest.json").read_text())["parts"]
    assert parts["preference loss hinge"]["module"] == "hinge_loss"


def weights(folder: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    return torch.cat([each.flatten() for _, each in sorted(load_file(folder / "model.safetensors").items())])


ECHO = """\
name: echoes
hardware: {dtype: float32, threads: 1, device: cpu, engine: ENGINE}
steps:
  answers: {stage: respond, prompts: problems.jsonl, pool: [model], max_new_tokens: 40, temperature: 0}
"""


def test_an_engine_answers(bactrian: Commands, installed: Path, tmp_path: Path) -> None:
    tiny.write_tiny(tmp_path / "model")
    asked = ["what is 12 + 34 ?", "is the cat on a mat ?"]
    write_rows(tmp_path / "problems.jsonl", [{"messages": [{"role": "user", "content": text}]} for text in asked])
    (tmp_path / "recipe.yaml").write_text(ECHO.replace("ENGINE", "echo"))
    _, refused = bactrian(tmp_path, None, "run", "recipe.yaml", status=2)
    assert "found 'echo', expected 'local'" in refused
    bactrian(tmp_path, installed, "run", "recipe.yaml")
    echoed = record(tmp_path, "echoes")
    answers = [row["answers"][0]["text"] for row in read_rows(tmp_path / "runs" / echoed["path"])]
    assert len(answers) == 2 and all(text in answer for text, answer in zip(asked, answers, strict=True))
    manifest = json.loads((tmp_path / "runs" / echoed["path"] / "manifest.json").read_text())
    assert manifest["parts"]["engine echo"]["module"] == "echo_engine"
    (tmp_path / "recipe.yaml").write_text(ECHO.replace("ENGINE", "local"))
    bactrian(tmp_path, installed, "run", "recipe.yaml")
    assert record(tmp_path, "echoes")["key"] != echoed["key"]


ANSWERS = """
import sys
from bactrian.generate.decoder import FastDecoder
from bactrian.generate.engine import Request
from bactrian.generate.local import LocalEngine
from bactrian.model.language_model import LanguageModel

model = LanguageModel.load(__import__("pathlib").Path("model"))
asked = [Request(tuple(range(5, 9 + n)), max_new_tokens=24, temperature=0) for n in range(4)]
engines = [LocalEngine(model), LocalEngine(model, native=False)]
fast, plain = ([list(c.ids) for (c,) in engine.generate(asked)] for engine in engines)
assert fast == plain and len({tuple(ids) for ids in fast}) > 1, (fast, plain)
print(type(engines[0].decoder).__name__)
"""


def test_an_architecture_s_decoder_samples_what_the_plain_path_samples(
    bactrian: Commands, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bactrian.generate.decode_kernels import kernels

    if kernels() is None:
        pytest.skip("no C compiler on this machine")
    monkeypatch.setitem(tiny.ARCHITECTURES, "phi3", (Phi3Config, Phi3ForCausalLM, {}))
    tiny.write_tiny(tmp_path / "model", "phi3")
    (tmp_path / "answers.py").write_text(ANSWERS)

    def decoder(plugins: Path | None) -> tuple[str, str]:
        name, said = bactrian.asked(tmp_path, plugins, script="answers.py")
        return name.strip(), said

    name, said = decoder(installed)
    assert name == "Phi3Decoder" and "no fast decoder" not in said
    name, said = decoder(None)
    assert name == "NoneType" and said.count("phi3: no fast decoder") == 1 and "Phi3Attention has no q_proj" in said

"""Some forty first mistakes: what was typed, in a folder with these files, and what the answer must contain: its fix.

`python -m tests.first_hour.mistakes` writes docs/errors.md from what the commands really say.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "errors.md"

CHATS = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'
PAIRS = '{"prompt": "hi", "chosen": "hello", "rejected": "no"}\n'
PROBLEMS = '{"question": "what is 1 + 1", "answer": "2"}\n'
FILES = {
    "chats.jsonl": CHATS * 3,
    "pairs.jsonl": PAIRS * 3,
    "problems.jsonl": PROBLEMS * 3,
    "prompts.jsonl": '{"prompt": "say yes"}\n' * 3,
    "odd.csv": "frage,erwiderung\nwhat is 1 + 1,2\n",
    "empty.jsonl": "",
    "broken.jsonl": CHATS + '{"messages": [{"role": "user"\n',
    "reward.py": (
        "def polite(completion: str, row: dict) -> float:\n    return 1.0\n\n\ndef three(a, b, c):\n    return 1.0\n"
    ),
    "recipe.yaml": "steps:\n  sft:\n    stage: sft\n    model: embedded:smollm2-135m\n    data: chats.jsonl\n",
    "typo.yaml": "steps:\n  tuned: {stage: stf, model: embedded:smollm2-135m, data: chats.jsonl}\n",
    "setting.yaml": (
        "steps:\n  sft: {stage: sft, model: embedded:smollm2-135m, data: chats.jsonl, num_train_epochs: 3}\n"
    ),
    "tab.yaml": "steps:\n\tsft: {stage: sft}\n",
    "twice.yaml": "steps:\n  sft:\n    stage: sft\n    stage: dpo\n",
    "cycle.yaml": (
        "steps:\n  a: {stage: sft, model: b, data: chats.jsonl}\n  b: {stage: sft, model: a, data: chats.jsonl}\n"
    ),
    "reference.yaml": (
        "steps:\n"
        "  demonstrations: {stage: problems, tasks: [{source: sums, count: 9}]}\n"
        "  sft: {stage: sft, model: embedded:smollm2-135m, data: demonstrationz}\n"
    ),
    "kind.yaml": (
        "steps:\n"
        "  rows: {stage: problems, tasks: [{source: sums, count: 9}]}\n"
        "  sft: {stage: sft, model: rows, data: rows}\n"
    ),
    "strict.yaml": "licences: strict\nsteps:\n  sft: {stage: sft, model: embedded:smollm2-135m, data: chats.jsonl}\n",
    "pickled/config.json": json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}),
    "pickled/pytorch_model.bin": "",
    "nothing/notes.txt": "",
    "ties.jsonl": "".join(
        json.dumps({"prompt": f"question {n}", "first": "yes", "second": "no", "label": "tie"}) + "\n"
        for n in range(40)
    ),
    "answers.jsonl": "".join(
        json.dumps({"prompt": "say yes", "completion": text, "model": text}) + "\n" for text in ("yes", "no")
    ),
}
CALIBRATE = "bactrian judge calibrate --judges '[{recorded: mine}]'"
SFT = "bactrian sft --model embedded:smollm2-135m --data chats.jsonl"


@dataclass(frozen=True)
class Mistake:
    """title: in the document. command: as typed. fix: what the message must contain.

    late: the rows themselves have to be read, so the step has begun when it is found; still no model is loaded.
    """

    title: str
    command: str
    fix: str
    late: bool = False


MISTAKES = (
    Mistake("A misspelt command", "bactrian rnu recipe.yaml", 'did you mean "run"?'),
    Mistake("A misspelt option", f"{SFT} --epoch 3", "--epochs"),
    Mistake("A recipe that is not there", "bactrian run quikstart", 'did you mean "quickstart"?'),
    Mistake("A tab in YAML", "bactrian plan tab.yaml", "line 2"),
    Mistake("A key twice", "bactrian plan twice.yaml", "line 4"),
    Mistake("A misspelt stage", "bactrian plan typo.yaml", 'did you mean "sft"?'),
    Mistake("A setting by the name that another trainer gives it", "bactrian plan setting.yaml", "expected epochs"),
    Mistake("A value of the wrong kind", f"{SFT} --epochs two", "expected a number"),
    Mistake("A value out of range", f"{SFT} --batch-size 0", "expected a number >= 1"),
    Mistake("A value that is none of the choices", f"{SFT} --schedule cosin", "cosine"),
    Mistake(
        "A setting that belongs into a group",
        "bactrian run recipe.yaml --set sft.recompute=layer",
        "memory: {recompute",
    ),
    Mistake(
        "A change without an equals sign", "bactrian run recipe.yaml --set sft.epochs", "expected step.field=value"
    ),
    Mistake(
        "A change of a step that is not there", "bactrian run recipe.yaml --set stf.epochs=1", 'did you mean "sft"?'
    ),
    Mistake("A misspelt step", "bactrian plan reference.yaml", "demonstrations"),
    Mistake("Data where a model belongs", "bactrian plan kind.yaml", "expected one that makes a model"),
    Mistake("Steps in a circle", "bactrian plan cycle.yaml", "a reads b reads a"),
    Mistake("A file that is not there", SFT.replace("chats", "chat"), "chat.jsonl"),
    Mistake("A file without rows", SFT.replace("chats", "empty"), "empty.jsonl"),
    Mistake("A line that is no JSON", SFT.replace("chats", "broken"), "line 2"),
    Mistake("Columns with other names", SFT.replace("chats.jsonl", "odd.csv"), "--columns"),
    Mistake("Pairs given to SFT", SFT.replace("chats", "pairs"), "stage dpo"),
    Mistake("Conversations given to DPO", SFT.replace(" sft ", " dpo "), "expected pairs"),
    Mistake(
        "Prompts without answers given to RL",
        "bactrian rlvr --model embedded:smollm2-135m --data prompts.jsonl",
        "reward",
    ),
    Mistake("Data without a licence where licences are asked for", "bactrian run strict.yaml", "license"),
    Mistake("A misspelt embedded model", SFT.replace("smollm2-135m", "smollm2"), "smollm2-135m"),
    Mistake("A folder without a model", SFT.replace("embedded:smollm2-135m", "nothing"), "config.json"),
    Mistake("A model that is pickled", SFT.replace("embedded:smollm2-135m", "pickled"), "safetensors"),
    Mistake(
        "A misspelt function of a reward",
        "bactrian rlvr --model embedded:smollm2-135m --data prompts.jsonl --reward reward.py:polit",
        "polite",
    ),
    Mistake(
        "A reward with the wrong parameters",
        "bactrian rlvr --model embedded:smollm2-135m --data prompts.jsonl --reward reward.py:three",
        "completion",
    ),
    Mistake("A misspelt chat template", f"{SFT} --template chatmml", "chatml"),
    Mistake("A misspelt public task", "bactrian eval embedded:smollm2-135m --tasks gsm9k", "gsm8k"),
    Mistake(
        "An unseen task without a reason", "bactrian eval embedded:smollm2-135m --suite unseen --data .", "--final"
    ),
    Mistake("A GPU that is not there", "bactrian run recipe.yaml --set hardware.device=cuda", "cpu"),
    Mistake("A run that there is not", "bactrian show sft --run mine", "mine"),
    Mistake(
        "A misspelt rubric", f"{CALIBRATE} --labels pairs.jsonl --rubric helpfullness", 'did you mean "helpfulness"?'
    ),
    Mistake(
        "A judge that is two things",
        """bactrian judge calibrate --labels pairs.jsonl --judges '[{recorded: mine, reward_model: base}]'""",
        "expected one of model, server",
    ),
    Mistake("Too few labels to trust a judge by", f"{CALIBRATE} --labels pairs.jsonl", "expected 30 or more", True),
    Mistake("Labels that are all ties", f"{CALIBRATE} --labels ties.jsonl", "no row says which answer", True),
    Mistake(
        "Data that are no calibration",
        "bactrian judge verdicts --data ties.jsonl --calibration pairs.jsonl",
        "expected what the stage calibrate leaves",
        True,
    ),
    Mistake("Answers, and nobody to judge them", "bactrian winrate answers.jsonl", "judge or calibration", True),
)

HEAD = """\
# First mistakes

What people get wrong in the first hour, and what Bactrian answers: before any model is loaded, in under three
seconds of processor time, with what to write instead; the last ones when a step has begun to read its rows. This page
is made by running the commands (`python -m tests.first_hour.mistakes`), and a test keeps it true.
"""


def write_files(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@dataclass(frozen=True)
class Answer:
    """What a command printed, its status, the processor seconds that it took, and whether torch was loaded."""

    said: str
    status: int
    seconds: float
    torch: bool


def answers(folder: Path) -> list[Answer]:
    """What each mistake is answered, in a folder with the files: in one process, so that imports are paid once."""
    write_files(folder)
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.first_hour import mistakes; mistakes.ask_all()"
    hidden = ("BACTRIAN_EVAL_DATA", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HF_HUB_OFFLINE": "1", "BACTRIAN_NO_REEXEC": "1", "COLUMNS": "110"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*each) for each in json.loads(done.stdout.splitlines()[-1])]


def ask_all() -> None:
    """Type every command in this process; prints one line of JSON."""
    import contextlib
    import io

    from bactrian.cli.main import invoke

    found = []
    for mistake in MISTAKES:
        words = shlex.split(mistake.command)[1:]
        said = io.StringIO()
        begin = time.process_time()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = invoke(words)
        found.append((said.getvalue(), status, time.process_time() - begin, "torch" in sys.modules))
    print(json.dumps(found))


def document(given: list[Answer]) -> str:
    parts = [HEAD]
    for number, (mistake, answer) in enumerate(zip(MISTAKES, given, strict=True), 1):
        said = answer.said.replace(str(ROOT), "…").rstrip()
        parts.append(f"\n## {number}. {mistake.title}\n\n```text\n$ {mistake.command}\n{said}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        DOCUMENT.write_text(document(answers(Path(place))), encoding="utf-8")

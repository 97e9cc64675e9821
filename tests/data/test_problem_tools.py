"""Problems that list tools keep them, and a model is asked with them."""

import json
from typing import Any

from bactrian.chat import ChatTemplate
from bactrian.data.io.adoption import Account, Adoption, adopt
from bactrian.data.io.formats import Fault
from bactrian.evaluate.problem_task import Asking, problem_tasks, rows_digest
from bactrian.evaluate.prompting import Writer
from tests.model.gguf_models import byte_tokenizer

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
ASKED = [{"role": "user", "content": "What is 1 + 1?"}]


def adopted(row: dict[str, Any], verifier: str = "") -> dict[str, Any]:
    (found,) = adopt([(row, "f, line 1")], Adoption(source="f", license="MIT", verifier=verifier), Account())
    assert not isinstance(found, Fault), found
    return found


def test_they_are_kept_whether_the_row_is_a_problem_or_becomes_one() -> None:
    ours = adopted({"messages": ASKED, "ground_truth": "2", "dataset": "gsm8k", "tools": TOOLS})
    chat = {"messages": [*ASKED, {"role": "assistant", "content": "It is\n#### 2"}], "tools": TOOLS}
    for row in (ours, adopted(chat, "gsm8k")):
        assert json.loads(row["tools"]) == TOOLS and row["ground_truth"] == "2" and row["messages"] == ASKED


def test_a_question_is_asked_with_them_and_they_count() -> None:
    row = {**adopted({"messages": ASKED, "ground_truth": "2", "dataset": "gsm8k", "tools": TOOLS}), "id": "q"}
    bare = {name: value for name, value in row.items() if name != "tools"}
    template = ChatTemplate.load(byte_tokenizer(), "chatml")
    texts = []
    for each in (row, bare):
        (loaded,) = problem_tasks("t", [each], "f", Asking())
        writer = Writer(loaded, template, "multiturn", 4096)
        texts.append(writer.ask(loaded.questions[0], 8).text)
    assert '"name": "add"' in texts[0] and "<tools>" in texts[0] and "<tools>" not in texts[1]
    assert texts[0].endswith(texts[1].partition("<|im_start|>user")[2])
    assert rows_digest([row]) != rows_digest([bare])

"""Task `riddles`: a riddle a row, with `riddle` and `answer`, from files whose names begin with "riddles"."""

from collections.abc import Sequence

from bactrian.evaluate.task import Question, Row, Task, TaskSource


def riddles(row: Row) -> Sequence[Question]:
    """One question to a row."""
    return [Question(f"Question: {row['riddle'].strip()}", row["answer"])]


RIDDLES = Task(
    name="riddles",
    suites=(),
    skill="knowledge",
    source=TaskSource(files=("riddles",)),
    build=riddles,
    verifier="contains",
    cue="\nAnswer:",
    max_new_tokens=32,
    stop=("\n",),
)

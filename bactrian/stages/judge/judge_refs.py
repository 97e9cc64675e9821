"""Settings that name who answers and who judges, and the way from them to models that are ready.

A stage whose rows may name any verifier has the settings of `JudgeRefs`, flat or in a record, and calls the functions.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field

from bactrian.errors import BactrianError
from bactrian.stages.stage import ModelRef, Need, Settings, VerifierName
from bactrian.store.own_files import OwnCode

if TYPE_CHECKING:
    from pathlib import Path

    from bactrian.generate.chat_request import Responder
    from bactrian.generate.chat_server import Endpoint
    from bactrian.store.artifact import Workspace
    from bactrian.verify import Judge


class ModelServer(Settings):
    """A model behind a server that speaks OpenAI's chat completions."""

    url: str = Field(
        pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$", description="up to and with /v1; no key or password in it"
    )
    model: str = Field(min_length=1, description="the model's name there")
    name: str | None = Field(None, description="what rows call it; by default `model`")
    key: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", description="name of the environment variable with the key"
    )
    licence: str = Field("", description="terms of what it writes; without, rows are marked unclear")
    revision: str = Field("", description="anything; change it to ask again, as a server's model may have changed")
    concurrency: int = Field(8, ge=1, le=256, description="requests at a time")
    timeout: float = Field(120.0, gt=0, description="seconds without a byte after which a request is tried again")
    tries: int = Field(7, ge=1, le=20, description="of a request, before its row is given up")
    backoff: float = Field(
        1.0, ge=0, description="tries come after 0, 2, 4, 8, … times as many seconds, each at most a minute"
    )

    def needs(self) -> Iterable[Need]:
        """Requests are sent by urllib3."""
        return [Need("a model behind a server", "servers")]

    @property
    def label(self) -> str:
        return self.name or self.model

    def endpoint(self) -> "Endpoint":
        from bactrian.generate.chat_server import Endpoint

        return Endpoint(self.url, self.model, self.key, self.concurrency, self.timeout, self.tries, self.backoff)


JudgeField = Annotated[
    ModelRef | None, Field(description="language model that rates the answers to rows of dataset judge")
]
JudgeServerField = Annotated[ModelServer | None, Field(description="a judge behind a server, in place of `judge`")]
RewardModelField = Annotated[ModelRef | None, Field(description="scores the answers to rows of dataset reward_model")]


RubricText = Annotated[str, OwnCode("rubric")]
"""A rubric by its name, as text, or in a file beside the recipe (FILE.txt or FILE.md)."""


def rubric_text(rubric: str) -> str:
    """What a setting says of a rubric; of one in a file the file's text. For `Stage.resolved`: the key has the text.

    Raises:
        BactrianError: the file cannot be read, or is empty.
    """
    from bactrian.store.own_files import names_file, parted

    if not names_file(rubric, "rubric"):
        return rubric
    path, _ = parted(rubric)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise BactrianError(f"rubric: {path}: cannot be read ({error})") from None
    if len(text.split()) < 2:
        raise BactrianError(f"rubric: {path}: found {text!r}, expected a text that says what counts")
    return text + "\n"  # the end of a line says that this is no file's name, whoever asks again


def pair_rubric_text(rubric: str) -> str:
    """`rubric_text` of a rubric for comparing two answers.

    Raises:
        BactrianError: also for one word that names no such rubric.
    """
    from bactrian.judge.rubrics import pair_rubric

    text = rubric_text(rubric)
    pair_rubric(text)
    return text


VerifierField = Annotated[
    VerifierName,
    Field(description="judges every answer, in place of the rows' own: FILE.py:FUNCTION, or a verifier's name"),
]


def known_verifier(name: str | None) -> str | None:
    """The verifier that a setting names; one in a user's own file may from now on be named by rows too."""
    from bactrian.store.own_files import is_own
    from bactrian.verify import use_own

    return use_own(name) if name is not None and is_own(name) else name


class JudgeRefs(Protocol):
    """The models behind the verifiers `judge` and `reward_model`, as settings name them.

    Which verifier scores an answer is its row's to say. All answers to one prompt are scored by the same one, so
    whatever compares them (a pair, a group's advantages) never compares two scales.
    """

    @property
    def judge(self) -> str | None: ...
    @property
    def judge_server(self) -> ModelServer | None: ...
    @property
    def reward_model(self) -> str | None: ...


def check_one_judge(given: JudgeRefs) -> None:
    """For validators of settings.

    Raises:
        ValueError: both `judge` and `judge_server` are given.
    """
    if given.judge is not None and given.judge_server is not None:
        raise ValueError("found judge and judge_server, expected one of them")


def check_judges(rows: Iterable[Mapping[str, Any]], given: JudgeRefs, stage: str = "") -> set[str]:
    """Which of the verifiers `judge` and `reward_model` these rows name.

    Args:
        rows: problem rows.
        given: the models that are there.
        stage: begins the message.

    Raises:
        BactrianError: rows name one whose model is not given.
    """
    needed = {row["dataset"] for row in rows} & {"judge", "reward_model"}
    there = {"judge": given.judge or given.judge_server, "reward_model": given.reward_model}
    for name in sorted(needed):
        if there[name] is None:
            prefix = f"{stage}: " if stage else ""
            raise BactrianError(f"{prefix}rows of dataset {name!r} need a model: give the setting {name}")
    return needed


def judges(
    workspace: "Workspace", given: JudgeRefs, rows: Iterable[Mapping[str, Any]], stage: str = ""
) -> "dict[str, Judge]":
    """The models that these rows' verifiers need, for `Pool(judges=…)`; those that none needs are not loaded.

    Raises:
        BactrianError: rows name one that is not given, or it cannot be loaded.
    """
    from bactrian.judge.panel import open_judges

    where = judge_models(workspace, given)
    return open_judges({name: where[name] for name in sorted(check_judges(rows, given, stage))}, workspace.hardware)


def judge_models(workspace: "Workspace", given: JudgeRefs) -> "dict[str, Path | Endpoint]":
    """Verifier → where its model is, of those that are given."""
    found: dict[str, Path | Endpoint] = {}
    if given.judge is not None or given.judge_server is not None:
        found["judge"] = model_or_server(workspace, given.judge, given.judge_server)
    if given.reward_model is not None:
        found["reward_model"] = workspace.input(given.reward_model).path
    return found


def judges_known_as(workspace: "Workspace", given: JudgeRefs) -> list[str]:
    """What a verdict by these models depends on; of a server all that is known."""
    found = [workspace.input(ref).content_hash for ref in (given.judge, given.reward_model) if ref]
    server = given.judge_server
    return [*found, *([f"{server.url} {server.model} {server.revision}"] if server else [])]


def responder(
    workspace: "Workspace", model: str | None, server: ModelServer | None = None, rows: int = 64
) -> "Responder":
    """Whoever answers messages: the server if there is one, else the model of this run, `rows` answers side by side.

    Raises:
        BactrianError: the model cannot be loaded, or the server's key is not in the environment.
    """
    from bactrian.generate.responders import open_responder

    found = model_or_server(workspace, model, server)
    return open_responder(found, workspace.hardware, rows=rows, elastic=True)


def model_or_server(workspace: "Workspace", model: str | None, server: ModelServer | None) -> "Path | Endpoint":
    """Where a model is: the server if there is one, else the folder of this reference."""
    return server.endpoint() if server is not None else workspace.input(str(model)).path

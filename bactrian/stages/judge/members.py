"""Settings that name who answers or judges: a model of this run, or one behind a server; and making them ready."""

from typing import TYPE_CHECKING

from pydantic import Field

from bactrian.stages.stage import Settings

if TYPE_CHECKING:
    from bactrian.generate.respond import Responder
    from bactrian.store.artifact import Workspace


class Server(Settings):
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
    tries: int = Field(6, ge=1, le=20, description="of a request, before its row is given up")
    backoff: float = Field(1.0, ge=0, description="seconds before the second retry; doubles, to at most a minute")

    @property
    def label(self) -> str:
        return self.name or self.model

    def responder(self) -> "Responder":
        """Raises BactrianError if the key is not in the environment."""
        from bactrian.generate.chat_server import Server as Served
        from bactrian.generate.chat_server import ServerResponder

        return ServerResponder(
            Served(self.url, self.model, self.key, self.concurrency, self.timeout, self.tries, self.backoff)
        )


def local_responder(workspace: "Workspace", ref: str, rows: int = 64) -> "Responder":
    """A model of this run, sampling `rows` side by side."""
    from bactrian.generate.engines import open_engine
    from bactrian.generate.respond import LocalResponder

    return LocalResponder(open_engine(workspace.input(ref).path, workspace.hardware, rows=rows))

"""References to what no step made: files, folders, artifacts, embedded models and the Hub (which is faked here)."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from bactrian.errors import BactrianError
from bactrian.recipe.references import find_path, problem_with, resolve
from bactrian.store.manifest import Kind, Licence

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = "---\nlanguage: en\nlicense: cc-by-nc-4.0\n---\n# A card\n"


def test_a_file_s_hash_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("1")
    (tmp_path / "b.jsonl").write_text("1")
    one, two = (resolve(name, Kind.DATA, tmp_path) for name in ("a.jsonl", "b.jsonl"))
    assert one.content_hash == two.content_hash and one.input().path == tmp_path / "a.jsonl"
    (tmp_path / "b.jsonl").write_text("2")
    assert resolve("b.jsonl", Kind.DATA, tmp_path).content_hash != one.content_hash


def test_the_current_directory_comes_before_the_recipe_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    monkeypatch.chdir(tmp_path / "here")
    assert find_path("x", tmp_path / "there") == Path("x")
    (tmp_path / "here" / "x").unlink()
    assert find_path("x", tmp_path / "there") == tmp_path / "there" / "x"
    assert find_path("", tmp_path) is None


@pytest.mark.parametrize(
    ("card", "licence", "marks"),
    [(CARD, "cc-by-nc-4.0", ("NC",)), ("# no header", "unknown", ("unclear",)), (None, "unknown", ("unclear",))],
)
def test_a_model_folder_s_licence_is_its_card_s(
    tmp_path: Path, card: str | None, licence: str, marks: tuple[str, ...]
) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    (tmp_path / "config.json").write_text("{}")
    given = resolve(str(tmp_path), Kind.MODEL, Path()).input()
    assert given.licences == (Licence(source=str(tmp_path), licence=licence, marks=marks),)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A Hub of one repository; `hub["asked"]` records the downloads."""
    state: dict[str, Any] = {"commit": COMMIT, "online": True, "cached": True, "asked": []}
    folder = tmp_path / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(CARD)

    def repo_info(self: object, repository: str, **options: Any) -> Any:
        if not state["online"]:
            raise ConnectionError("no network")
        if repository != "owner/name":
            response = SimpleNamespace(headers={}, request=None)
            raise huggingface_hub.errors.RepositoryNotFoundError("404 not found", response=response)  # type: ignore
        return SimpleNamespace(sha=state["commit"])

    def snapshot_download(repository: str, **options: Any) -> str:
        state["asked"].append(options)
        if not state["online"] and not state["cached"]:
            raise FileNotFoundError("not in the cache\nand much more")
        return str(folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return state


def test_a_hub_model_is_named_by_its_commit_and_never_downloads_a_pickle(hub: dict[str, Any]) -> None:
    source = resolve("owner/name", Kind.MODEL, Path())
    assert hub["asked"] == [] and not source.local
    assert source.input().licences[0].marks == ("NC",)
    (asked,) = hub["asked"]
    assert asked["revision"] == COMMIT and "*.safetensors" in asked["allow_patterns"]
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in asked["allow_patterns"][:-1])
    hub["commit"] = "f" * 40
    assert resolve("owner/name", Kind.MODEL, Path()).content_hash != source.content_hash
    assert resolve(f"owner/name@{COMMIT}", Kind.MODEL, Path()).content_hash == source.content_hash


def test_offline_the_cached_commit_is_the_one(hub: dict[str, Any]) -> None:
    online = resolve("owner/name", Kind.DATA, Path())
    hub["online"] = False
    assert resolve("owner/name", Kind.DATA, Path()).content_hash == online.content_hash
    hub["cached"] = False
    with pytest.raises(BactrianError, match=r"owner/name: cannot be had from the Hub.*\(not in the cache\)$"):
        resolve("owner/name", Kind.DATA, Path())


def test_a_repository_that_is_not_there_is_named(hub: dict[str, Any]) -> None:
    with pytest.raises(BactrianError, match="owner/other: no such model or revision on the Hub"):
        resolve("owner/other", Kind.MODEL, Path())


NOTHING = ["", "x", "../a/b", "/a/b", "a/b/c", "data/rows.jsonl", "a/b.parquet", "~/x", "embedded:"]


@pytest.mark.parametrize("ref", NOTHING)
def test_what_can_be_nothing_is_a_problem(ref: str) -> None:
    assert problem_with(ref, Kind.MODEL, Path("/nowhere"), ["xx"]) is not None

"""An exported folder sent to a stand-in for the Hub, and to URLs: once, whole, private, and no file twice."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import bactrian as bt
from bactrian.cli import main as cli
from bactrian.errors import BactrianError
from tests import hub_server
from tests.model.gguf_models import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = write_model(tmp_path_factory.mktemp("push") / "base", "llama", "smollm")
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return bt.load(base)


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = model.export(tmp_path_factory.mktemp("exported") / "mine", gguf=["q8_0"])
    return found


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with hub_server.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield server


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_hub_has_what_was_exported_in_one_commit_and_in_private(folder: Path, hub: hub_server.Hub) -> None:
    done = bt.load(folder).push("me/mine")
    assert hub.repositories["me/mine"] == contents(folder) and hub.private["me/mine"]
    assert len(hub.commits) == 1 and sorted(hub.commits[0]) == sorted(done.sent) and not done.kept


def test_a_second_push_sends_nothing_and_a_change_alone_is_sent(
    folder: Path, hub: hub_server.Hub, tmp_path: Path
) -> None:
    bt.load(folder).push("me/mine")
    again = bt.load(folder).push("me/mine")
    assert not again.sent and again.kept.keys() == contents(folder).keys() and len(hub.commits) == 1
    hub.repositories["me/mine"] |= {"README.md": b"edited on the Hub", "notes.txt": b"mine"}
    third = bt.load(folder).push("me/mine")
    assert set(third.sent) == {"README.md"} and third.others == ("notes.txt",)
    assert hub.repositories["me/mine"] == contents(folder) | {"notes.txt": b"mine"}


def test_a_push_that_was_cut_goes_on_where_it_was(folder: Path, hub: hub_server.Hub) -> None:
    hub.fails = 1
    with pytest.raises(BactrianError, match=r"me/mine: cannot be sent to .* the same command goes on where this ended"):
        bt.load(folder).push("me/mine")
    assert hub.repositories["me/mine"] == {} and len(hub.uploads) == 1  # nothing shows yet, and one has arrived
    hub.fails = None
    bt.load(folder).push("me/mine")
    assert hub.repositories["me/mine"] == contents(folder)
    assert len(hub.uploads) == len({*hub.uploads}) == 2


def killed_at(folder: Path, target: str, sent: Any) -> None:
    """Push in a process of its own, and kill it with the signal that no process sees, once `sent()`."""
    child = multiprocessing.get_context("fork").Process(target=lambda: bt.load(folder).push(target))
    child.start()
    until = time.monotonic() + 60
    while not sent():
        assert child.is_alive() and time.monotonic() < until
        time.sleep(0.005)
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    child.join()


def test_a_push_to_the_hub_that_was_killed_goes_on_where_it_was(folder: Path, hub: hub_server.Hub) -> None:
    hub.hangs_after = 1  # the second large file never arrives
    killed_at(folder, "me/mine", lambda: hub.uploads and hub.hanging.is_set())
    assert hub.repositories["me/mine"] == {} and len(hub.uploads) == 1
    hub.hangs_after = None
    bt.load(folder).push("me/mine")
    assert hub.repositories["me/mine"] == contents(folder) and len(hub.commits) == 1
    assert len(hub.uploads) == len({*hub.uploads}) == 2


def test_a_push_to_a_folder_that_was_killed_amid_a_file_ends_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    put = LocalFileSystem.put_file

    def half(self: Any, source: str, place: str, **more: Any) -> None:
        """As far as a kill lets it come."""
        if not place.endswith(".safetensors"):
            return put(self, source, place, **more)
        Path(place).write_bytes(Path(source).read_bytes()[:1000])
        time.sleep(60)
        return None

    weights = tmp_path / "there" / "model.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "put_file", half)
        killed_at(folder, f"file://{tmp_path}/there", lambda: weights.is_file() and weights.stat().st_size == 1000)
    assert not (tmp_path / "there" / "export.json").exists()
    bt.load(folder).push(f"file://{tmp_path}/there")
    assert contents(tmp_path / "there") == contents(folder)


def test_a_dry_run_makes_nothing(folder: Path, hub: hub_server.Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.invoke(["push", str(folder), "me/mine", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "would send" in said and "model.safetensors" in said and "KiB" in said
    assert not hub.repositories and not hub.stored


def test_a_model_is_exported_first(model: Any, hub: hub_server.Hub) -> None:
    model.push("me/other", public=True, dtype="bf16")
    assert not hub.private["me/other"]
    there = hub.repositories["me/other"]
    assert json.loads(there["config.json"])["dtype"] == "bfloat16" and b"# other" in there["README.md"]
    assert not model.push("me/other", dtype="bf16").sent  # exported again it is the same


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_any_url(folder: Path, tmp_path: Path, scheme: str) -> None:
    target = f"memory://push{tmp_path.name}/mine" if scheme == "memory" else f"file://{tmp_path}/there/mine"
    first = bt.load(folder).push(target)
    system, root = fsspec.core.url_to_fs(target)
    assert {path.rpartition("/")[2]: system.cat_file(path) for path in system.find(root)} == contents(folder)
    assert list(first.sent)[-1] == "export.json" and not bt.load(folder).push(target).sent
    system.pipe_file(f"{root}/README.md", b"x" * len(contents(folder)["README.md"]))
    dry = bt.load(folder).push(target, dry_run=True)
    assert not dry.sent  # of the same size: only the list that went last says what is there
    system.pipe_file(f"{root}/README.md", b"short")
    assert set(bt.load(folder).push(target).sent) == {"README.md"}


def test_a_url_s_push_that_was_cut_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.local import LocalFileSystem

    sent: list[str] = []
    put = LocalFileSystem.put_file

    def cut(self: Any, path1: str, path2: str, **more: Any) -> None:
        if len(sent) == 3:
            raise OSError("the connection is gone")
        sent.append(path2)
        put(self, path1, path2, **more)

    monkeypatch.setattr(LocalFileSystem, "put_file", cut)
    target = f"file://{tmp_path}/there"
    with pytest.raises(BactrianError, match="OSError: the connection is gone"):
        bt.load(folder).push(target)
    assert not (tmp_path / "there" / "export.json").exists()
    monkeypatch.setattr(LocalFileSystem, "put_file", put)
    done = bt.load(folder).push(target)
    assert len(done.kept) == 3 and len(done.sent) == len(contents(folder)) - 3
    assert contents(tmp_path / "there") == contents(folder)


@pytest.mark.parametrize("target", ["mine", "./a/b", "a/b/c", "/tmp/x", "a b/c", ""])
def test_what_is_no_target(folder: Path, target: str) -> None:
    with pytest.raises(BactrianError, match="expected a Hub id"):
        bt.load(folder).push(target)


def test_a_url_without_its_package_is_said(folder: Path) -> None:
    with pytest.raises(BactrianError, match=r"nosuch://x/y: .*nosuch"):
        bt.load(folder).push("nosuch://x/y")


def test_an_export_that_was_changed_is_not_sent(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "config.json").write_text("{}")
    with pytest.raises(BactrianError, match=r"config\.json: not as it was exported"):
        bt.load(copy).push(f"file://{tmp_path}/there")
    assert not (tmp_path / "there").exists()

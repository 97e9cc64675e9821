"""Artifacts in object storage: whole or not there, equal to what was sent, whoever is killed and whoever else sends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.run.runner import run
from bactrian.store import extras
from bactrian.store.artifact import Artifact, Store
from bactrian.store.manifest import MANIFEST
from bactrian.store.remote import RemoteStore

FILES = {"a.txt": b"one" * 1000, "deep/b.bin": bytes(range(256)) * 300, "same.txt": b"one" * 1000, "c.txt": b""}
SEND = """
import sys, time
from pathlib import Path
from bactrian.store.artifact import Artifact
from bactrian.store.manifest import Manifest
from bactrian.store.remote import RemoteStore
folder, remote = Path(sys.argv[1]), RemoteStore(sys.argv[2])
put = remote.system.put_file
def slowly(*given, **more):
    put(*given, **more)
    time.sleep(float(sys.argv[3]))
remote.system.put_file = slowly
print(remote.send(Artifact(folder, Manifest.read(folder))))
"""


def artifact(folder: Path, files: dict[str, bytes] = FILES, key: str = "ab" * 32) -> Artifact:
    """A whole one of stage `sft`, made from the manifest of a real run."""
    from tests.test_artifact import manifest

    store = Store(folder)
    with store.making("sft", key) as partial:
        for name, content in files.items():
            (partial / "output" / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / "output" / name).write_bytes(content)
        return store.commit(partial, manifest(key=key, stage="sft"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3 on this machine, with an empty bucket."""
    pytest.importorskip("s3fs", reason="pip install 'bactrian[s3]'")
    server = pytest.importorskip("moto.server", reason="pip install 'moto[s3,server]'").ThreadedMotoServer(
        "127.0.0.1", port=0
    )
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
    }
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
    yield "s3://bucket"
    os.environ.clear()
    os.environ |= before
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return f"{request.param}://{tmp_path}/remote"


def test_what_is_sent_comes_back_and_is_sent_once(url: str, tmp_path: Path) -> None:
    made, remote = artifact(tmp_path / "here"), RemoteStore(url)
    assert remote.fetch("sft", made.manifest.key, Store(tmp_path / "there")) is None
    sent = remote.send(made)
    assert (sent.files, sent.kept) == (3, 0) and sent.bytes == sum(map(len, FILES.values())) - 3000
    assert remote.send(made).files == 0
    found = RemoteStore(url).fetch("sft", made.manifest.key, Store(tmp_path / "there"))
    assert found is not None and content(found.path) == content(made.path)
    found.manifest.verify(found.path)
    other = artifact(tmp_path / "other", {**FILES, "d.txt": b"new"}, "cd" * 32)
    assert RemoteStore(url).send(other).files == 1, "files that another artifact has are there"


@pytest.mark.parametrize("system", [LocalFileSystem, MemoryFileSystem])
def test_whatever_call_a_sender_dies_in_nothing_half_is_seen(
    system: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that writes is the last one in turn; a file that is written where readers look is cut in half first."""
    made = artifact(tmp_path / "here")
    calls = 0

    class Killed(BaseException):
        pass

    def dying(name: str, last: int) -> Any:
        original = getattr(system, name)

        def call(self: Any, *given: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == last:
                if name == "put_file" and system is LocalFileSystem:
                    Path(given[1]).write_bytes(Path(given[0]).read_bytes()[:100])
                raise Killed
            return original(self, *given, **more)

        return call

    for last in range(1, 100):
        calls = 0
        url = f"{system.protocol[0] if isinstance(system.protocol, tuple) else system.protocol}://{tmp_path}/r{last}"
        with monkeypatch.context() as patch:
            for name in ("put_file", "mv", "makedirs"):
                patch.setattr(system, name, dying(name, last))
            try:
                RemoteStore(url).send(made)
                break
            except Killed:
                pass
        assert RemoteStore(url).fetch("sft", made.manifest.key, Store(tmp_path / f"s{last}")) is None
        RemoteStore(url).send(made)
        found = RemoteStore(url).fetch("sft", made.manifest.key, Store(tmp_path / f"s{last}"))
        assert found is not None and content(found.path) == content(made.path)
    assert last > 4, "no call was the last one"


@pytest.mark.slow
def test_a_killed_sender_is_gone_on_with(s3: str, tmp_path: Path) -> None:
    made = artifact(tmp_path / "here", {f"{n}.bin": os.urandom(50_000) for n in range(8)})
    remote = RemoteStore(f"{s3}/killed")
    command = [sys.executable, "-c", SEND, str(made.path), remote.url]
    process = subprocess.Popen([*command, "0.3"])
    end = time.monotonic() + 60
    while time.monotonic() < end and len(remote.system.find(f"{remote.root}/files")) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(remote.system.find(f"{remote.root}/files"))
    assert 3 <= there < 8 and remote.find("sft", made.manifest.key) is None
    said = subprocess.run([*command, "0"], capture_output=True, text=True, check=True).stdout
    assert f"kept={there}" in said and f"Uploaded(files={8 - there}," in said
    found = remote.fetch("sft", made.manifest.key, Store(tmp_path / "there"))
    assert found is not None and content(found.path) == content(made.path)


@pytest.mark.slow
def test_two_that_send_at_once_leave_one_whole_artifact(s3: str, tmp_path: Path) -> None:
    """Of one key, with files that differ where makings may differ, their times."""
    makings = [
        artifact(tmp_path / str(n), {**FILES, "metrics.jsonl": f'{{"step": 1, "seconds": {n}}}\n'.encode()})
        for n in range(2)
    ]
    url = f"{s3}/two"
    processes = [subprocess.Popen([sys.executable, "-c", SEND, str(each.path), url, "0.05"]) for each in makings]
    assert [process.wait(60) for process in processes] == [0, 0]
    found = RemoteStore(url).fetch("sft", makings[0].manifest.key, Store(tmp_path / "there"))
    assert found is not None and content(found.path) in [content(each.path) for each in makings]


def test_a_cut_fetch_goes_on_and_a_changed_object_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, remote = artifact(tmp_path / "here"), RemoteStore(f"file://{tmp_path}/remote")
    remote.send(made)
    fetched: list[str] = []
    original = LocalFileSystem.get_file

    def get_file(self: Any, source: str, target: str, *given: Any, **more: Any) -> None:
        fetched.append(target)
        original(self, source, target, *given, **more)
        if len(fetched) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(LocalFileSystem, "get_file", get_file)
    store = Store(tmp_path / "there")
    with pytest.raises(KeyboardInterrupt):
        remote.fetch("sft", made.manifest.key, store)
    assert store.find("sft", made.manifest.key) is None
    assert remote.fetch("sft", made.manifest.key, store) is not None
    assert len(fetched) == len(FILES) + 1, "one file was being fetched, and one was there"
    blob = next(path for path in (tmp_path / "remote" / "files").rglob("*") if path.is_file() and path.stat().st_size)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    with pytest.raises(BactrianError, match=r"remote/files/.*found [\d,]+ bytes.*it was changed there"):
        remote.fetch("sft", made.manifest.key, Store(tmp_path / "third"))
    place = tmp_path / "remote" / "artifacts" / made.path.name / MANIFEST
    place.write_bytes(place.read_bytes().replace(b'"seed": 0', b'"seed": 7').replace(b'"seed":0', b'"seed":7'))
    with pytest.raises(BactrianError, match=r"artifacts/.*manifest.json: field seed: changed since it was sealed"):
        remote.fetch("sft", made.manifest.key, Store(tmp_path / "third"))


def test_a_recipe_s_steps_are_made_once_for_all_stores(fakes: list[str], tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"remote: file://{tmp_path}/remote\nsteps:\n  a: {{stage: letters}}\n  b: {{stage: blend, data: a}}\n"
    )
    run(load(recipe), Store(tmp_path / "one"))
    assert len(fakes) == 2
    entries = run(load(recipe), Store(tmp_path / "two"))
    assert len(fakes) == 2 and [entry.status for entry in entries] == ["reused", "reused"]
    shutil.rmtree(tmp_path / "remote")
    run(load(recipe), Store(tmp_path / "two"))
    assert len(list((tmp_path / "remote" / "artifacts").iterdir())) == 2, "what is missing there is sent again"
    run(load(recipe), Store(tmp_path / "three"), from_step="b")
    assert len(fakes) == 3, "what is made again is not fetched"
    assert json.loads((tmp_path / "three" / "r" / "run.json").read_text())["steps"][0]["status"] == "reused"


@pytest.mark.slow
def test_what_is_wrong_is_said_with_what_to_do(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BactrianError, match=r"remote s3://nowhere/x: no such bucket: make it first"):
        RemoteStore("s3://nowhere/x").check()
    RemoteStore(f"{s3}/checked").check()
    RemoteStore(f"{s3}/checked").check()
    with pytest.raises(BactrianError, match="found 'bucket/x', expected a URL"):
        RemoteStore("bucket/x")
    with pytest.raises(BactrianError, match=r"remote ftpx://a/b: .*ftpx"):
        RemoteStore("ftpx://a/b")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(BactrianError, match="remote s3://bucket/x: no credentials: set AWS_ACCESS_KEY_ID"):
        RemoteStore("s3://bucket/x").find("sft", "ab" * 32)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(BactrianError, match="remote s3://bucket/x: no answer; AWS_ENDPOINT_URL"):
        RemoteStore("s3://bucket/x").find("sft", "ab" * 32)


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*given: Any, **more: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacks)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(BactrianError, match=r'remote s3://b: it needs s3fs: pip install "bactrian\[s3\]"'):
        RemoteStore("s3://b")

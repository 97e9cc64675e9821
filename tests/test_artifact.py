"""Artifacts, workspaces, memos: atomic, locked, hashed, and named when they are not what they were."""

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.store.artifact import Artifact, Store, Workspace
from bactrian.store.disk import naming_full_disk, take_lock, write_atomically
from bactrian.store.hashes import FileRecord, content_hash, hash_file, hash_json, hash_path
from bactrian.store.manifest import Decontamination, InputRecord, Kind, Licence, Manifest, merge_licences
from tests.draws import drawn_seed

KEY = "0123456789abcdef" * 4


def manifest(**changes: object) -> Manifest:
    values = {
        "kind": Kind.DATA,
        "stage": "letters",
        "step": "a",
        "key": KEY,
        "content_hash": "",
        "inputs": {},
        "settings": {},
        "seed": 0,
        "code": {},
        "packages": {},
        "hardware": {},
        "licences": (),
        "started": "now",
        "seconds": 1.0,
        "metrics": {"bad": None},
        "files": {},
    }
    return Manifest.model_validate(values | changes)


def made(store: Store, **files: str) -> Artifact:
    with store.making("letters", KEY) as partial:
        for name, text in files.items():
            path = partial / "output" / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return store.commit(partial, manifest())


def test_a_committed_artifact_is_found_and_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = made(store, a="1", deep__b="2")
    found = store.find("letters", KEY)
    assert found == artifact
    found.manifest.verify(found.path)
    assert sorted(found.manifest.files) == ["a", "deep/b"]
    assert found.manifest.files["a"] == hash_file(found.path / "a")
    assert found.manifest.content_hash == content_hash(found.manifest.files)
    assert not store.partial("letters", KEY).exists()
    assert json.loads((found.path / "manifest.json").read_text())["metrics"] == {"bad": None}


def test_the_content_hash_leaves_out_the_log_but_verification_does_not(tmp_path: Path) -> None:
    one = made(Store(tmp_path / "1"), **{"a": "1", "metrics.jsonl": '{"step": 1, "seconds": 2}\n'})
    two = made(Store(tmp_path / "2"), **{"a": "1", "metrics.jsonl": '{"step": 1, "seconds": 3}\n'})
    assert one.manifest.content_hash == two.manifest.content_hash
    (two.path / "metrics.jsonl").write_text("")
    with pytest.raises(BactrianError, match=r"changed file metrics\.jsonl"):
        two.manifest.verify(two.path)


def change(path: Path) -> None:
    path.write_text("2")


def unlink(path: Path) -> None:
    path.unlink()


def add(path: Path) -> None:
    path.with_name("extra").write_text("x")


@pytest.mark.parametrize(
    ("tamper", "named"), [(change, "changed file a"), (unlink, "missing file a"), (add, "file extra is not part of it")]
)
def test_a_tampered_file_is_named(tmp_path: Path, tamper: object, named: str) -> None:
    artifact = made(Store(tmp_path), a="1")
    tamper(artifact.path / "a")  # type: ignore[operator]
    with pytest.raises(BactrianError, match=named) as caught:
        artifact.manifest.verify(artifact.path)
    assert str(artifact.path) in str(caught.value) and "remove that folder and run again" in str(caught.value)


def test_a_manifest_changed_together_with_a_file_is_found(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path), a="1")
    change(artifact.path / "a")
    forged = artifact.manifest.model_copy(update={"files": {"a": hash_file(artifact.path / "a")}})
    with pytest.raises(BactrianError, match="content_hash does not fit"):
        forged.verify(artifact.path)


def test_every_byte_of_a_manifest_is_sealed(tmp_path: Path) -> None:
    draw = random.Random(drawn_seed())
    inputs = {"α": InputRecord(key=KEY, content_hash="c", path="/x", statement="s")}
    path = made(Store(tmp_path), a="1").path / "manifest.json"
    Manifest.read(path.parent).model_copy(update={"inputs": inputs}).write(path.parent)
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(BactrianError, match=r"manifest\.json: field|manifest\.json: the whole file"):
            Manifest.read(path.parent)
    path.write_bytes(whole)
    Manifest.read(path.parent)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", "b"),
        ("seed", 1),
        ("licences", [{"source": "a", "licence": "b"}]),
        ("metrics", {"bad": 1.0}),
        ("ledger", {"id": "", "lines": 0, "seal": ""}),
    ],
)
def test_the_field_of_a_manifest_that_was_changed_is_named(tmp_path: Path, field: str, value: object) -> None:
    path = made(Store(tmp_path), a="1").path / "manifest.json"
    changed = json.loads(path.read_text())
    path.write_text(json.dumps(changed | {field: value}, indent=1) + "\n")
    with pytest.raises(BactrianError, match=f"manifest.json: field {field}: changed since it was sealed"):
        Store(tmp_path).find("letters", KEY)


def test_a_manifest_that_was_never_sealed_is_to_be_remade(tmp_path: Path) -> None:
    path = made(Store(tmp_path), a="1").path / "manifest.json"
    old = json.loads(path.read_text())
    del old["seal"], old["fields"], old["ledger"]
    path.write_text(json.dumps(old | {"format": 1}))
    with pytest.raises(BactrianError, match=r"found 1, expected 2.*before manifests were sealed.*remake it"):
        Store(tmp_path).find("letters", KEY)
    path.write_text(json.dumps(old))  # format 2 has a seal, always
    with pytest.raises(BactrianError, match="the whole file: changed since"):
        Store(tmp_path).find("letters", KEY)


def test_a_statement_is_of_what_is_made_and_not_of_when_and_where(tmp_path: Path) -> None:
    one = made(Store(tmp_path), a="1").manifest
    same = {
        "making": "another",
        "started": "later",
        "seconds": 9.0,
        "attempts": 2,
        "step": "another",
        "hardware": {"cores": 7},
        "metrics": {"seconds": 1.0},
        "packages": {"a": "1"},
    }
    again = one.model_copy(update=same).statement()
    assert again != one.statement() and again.split()[-1] == one.statement().split()[-1]
    for change in (
        {"seed": 1},
        {"licences": (Licence.of("a", "MIT"),)},
        {"settings": {"a": 1}},
        {"key": "f" * 64},
        {"decontamination": (Decontamination(data="a"),)},
        {"content_hash": "x"},
    ):
        assert one.model_copy(update=change).statement().split()[-1] != one.statement().split()[-1], change


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\x00"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    artifact = made(Store(tmp_path), a="1")
    (artifact.path / "manifest.json").write_text(text)
    with pytest.raises(BactrianError, match=r"manifest\.json"):
        Store(tmp_path).find("letters", KEY)


def test_a_folder_without_manifest_is_no_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.folder("letters", KEY).mkdir(parents=True)
    with pytest.raises(BactrianError, match="not a finished artifact"):
        store.find("letters", KEY)


def test_what_a_kill_left_is_there_again_but_never_an_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.making("letters", KEY) as partial:
        (partial / "output" / "manifest.json").write_text(manifest().model_dump_json())  # killed before the rename
        (partial / "scratch" / "checkpoint").write_text("7")
        raise KeyboardInterrupt
    assert store.find("letters", KEY) is None
    with store.making("letters", KEY) as partial:
        assert (partial / "scratch" / "checkpoint").read_text() == "7"
        assert not (partial / "output" / "manifest.json").exists()


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\nfrom bactrian.store.artifact import Store\n"
        f"with Store(pathlib.Path(sys.argv[1])).making('letters', '{KEY}'):\n print('got it')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with Store(tmp_path).making("letters", KEY):
        second = subprocess.run(command, capture_output=True, text=True)
        assert second.returncode != 0 and f"is being made by process {os.getpid()}" in second.stderr
        assert str(Store(tmp_path).folder("letters", KEY)) in second.stderr
    assert subprocess.run(command, capture_output=True, text=True).stdout == "got it\n"


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, os\nfrom bactrian.store.disk import take_lock\n"
        "take_lock(pathlib.Path(sys.argv[1]), 'x')\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "lock")]).returncode == -9
    os.close(take_lock(tmp_path / "lock", "x"))


def test_a_full_disk_is_named_and_what_was_made_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(BactrianError, match=r"the disk is full \([\d,]+ bytes free\)") as caught:  # noqa: SIM117
        with store.making("letters", KEY) as partial:
            (partial / "output" / "a").write_text("1")
            with Path("/dev/full").open("w") as full:
                full.write("x")
    assert str(store.partial("letters", KEY)) in str(caught.value)
    assert (store.partial("letters", KEY) / "output" / "a").read_text() == "1"


def test_a_full_disk_is_known_by_a_library_s_words_too(tmp_path: Path) -> None:
    with pytest.raises(BactrianError, match="disk is full"), naming_full_disk(tmp_path / "not" / "there"):
        raise RuntimeError("IoError: No space left on device (os error 28)")
    with pytest.raises(OSError, match="no child"), naming_full_disk(tmp_path):
        raise OSError(errno.ECHILD, "no child")


def test_a_disk_that_fills_up_at_commit_leaves_the_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BactrianError, match="disk is full"), store.making("letters", KEY) as partial:  # noqa: SIM117
        with monkeypatch.context() as patched:
            (partial / "output" / "a").write_text("1")
            patched.setattr(os, "fsync", full)
            store.commit(partial, manifest())
    assert store.find("letters", KEY) is None
    assert (store.partial("letters", KEY) / "output" / "a").exists()


def test_an_old_artifact_goes_when_the_new_one_is_committed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.set_aside(made(store, a="old"))
    assert store.find("letters", KEY) is None
    made(store, a="new")
    assert [path.name for path in store.artifacts.glob("*.old")] == []


def test_the_log_holds_json_and_can_be_rewound(tmp_path: Path) -> None:
    workspace = Workspace.temporary(tmp_path)
    for step in (1, 2, 3):
        workspace.log(step, loss=float("nan") if step == 2 else 1 / step, rows=7)
    path = workspace.output / "metrics.jsonl"
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert lines[1] == {"step": 2, "loss": None, "rows": 7}
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # a kill in mid-line
    workspace.rewind(2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_log_cut_in_mid_line_is_mended_without_a_rewind(tmp_path: Path) -> None:
    Workspace.temporary(tmp_path).log(1, loss=1.0)
    with (tmp_path / "output" / "metrics.jsonl").open("a") as file:
        file.write('{"st')
    Workspace.temporary(tmp_path).log(2, loss=2.0)
    lines = (tmp_path / "output" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_memo_is_shared_by_what_shapes_it(tmp_path: Path) -> None:
    workspace = Workspace.temporary(tmp_path)
    memo = workspace.memo(model="abc", tasks=["x"], limit=3)
    assert not memo.exists
    (memo.begin() / "answers").write_text("42")
    assert not workspace.memo(model="abc", tasks=["x"], limit=3).exists
    memo.commit()
    again = workspace.memo(limit=3, tasks=["x"], model="abc")
    assert again.exists and (again.path / "answers").read_text() == "42"
    assert not workspace.memo(model="abc", tasks=["x"], limit=4).exists
    workspace.code = "other code"
    assert not workspace.memo(model="abc", tasks=["x"], limit=3).exists


def test_a_memo_begun_and_cut_is_begun_anew(tmp_path: Path) -> None:
    memo = Workspace.temporary(tmp_path).memo(a=1)
    (memo.begin() / "half").write_text("x")
    os.close(memo._held or 0)
    again = Workspace.temporary(tmp_path).memo(a=1)
    assert not again.exists
    assert list(again.begin().iterdir()) == []


@pytest.mark.parametrize("tamper", [change, unlink, add])
def test_a_tampered_memo_is_named(tmp_path: Path, tamper: object) -> None:
    memo = Workspace.temporary(tmp_path).memo(a=1)
    (memo.begin() / "a").write_text("1")
    memo.commit()
    tamper(memo.path / "a")  # type: ignore[operator]
    with pytest.raises(BactrianError, match="remove that folder") as caught:
        _ = memo.exists
    assert str(memo.path) in str(caught.value)


def test_an_atomic_write_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, "old")

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_licences_know_their_marks_and_merge_without_order() -> None:
    nc = Licence.of("a", "CC-BY-NC-SA-4.0")
    assert nc.marks == ("NC", "SA")
    assert Licence.of("b", "").marks == ("unclear",) == Licence.of("b", "other").marks
    assert Licence.of("c", "Apache-2.0").marks == () == Licence.of("c", "MIT").marks
    assert merge_licences([nc], [Licence.of("a", "MIT"), nc]) == merge_licences([Licence.of("a", "MIT")], [nc])


names = st.text("abc/", min_size=1, max_size=6)
records = st.builds(FileRecord, sha256=st.text("0123456789abcdef", min_size=1, max_size=4), bytes=st.integers(0, 9))


@given(st.dictionaries(names, records), st.dictionaries(names, records))
def test_content_hashes_are_equal_only_for_equal_names_and_hashes(
    one: dict[str, FileRecord], two: dict[str, FileRecord]
) -> None:
    same = {name: record.sha256 for name, record in one.items()} == {name: r.sha256 for name, r in two.items()}
    assert (content_hash(one) == content_hash(two)) == same


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_a_json_hash_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert hash_json(value) == hash_json(dict(reversed(value.items())))


def test_a_folder_s_hash_sees_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = hash_path(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_path(tmp_path) != before

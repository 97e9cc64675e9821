"""Which process of how many: from what torchrun and SLURM put into the environment, and nothing else."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bactrian.errors import BactrianError
from bactrian.stopping import Stop
from bactrian.store.launch import Place, counts, host_names, launched, local_size
from bactrian.store.peers import Failure, Peers, alive

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "16",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "2",
}
SRUN = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "12",
    "SLURM_STEP_NUM_TASKS": "12",
    "SLURM_JOB_NODELIST": "gpu[07-09],login",
    "SLURM_STEP_NODELIST": "gpu[08-09]",
    "SLURM_STEP_TASKS_PER_NODE": "8,4",
}


def test_torchrun_says_where_this_process_stands() -> None:
    assert launched(TORCHRUN) == Place(5, 16, 1, 4, "10.0.0.7", 29500, hosted=True, attempt="2")


def test_srun_says_where_this_process_stands_and_the_first_machine_has_the_store() -> None:
    place = launched(SRUN)
    assert place is not None
    assert (place.rank, place.size, place.local_rank, place.local_size) == (9, 12, 1, 4)
    assert place.host == "gpu08" and not place.hosted and 20000 <= place.port < 60000
    ports = {launched({**SRUN, "SLURM_STEP_ID": str(step)}).port for step in range(50)}  # type: ignore[union-attr]
    assert len(ports) == 50  # steps of one job do not meet each other


def test_an_address_that_is_given_is_kept_under_srun() -> None:
    place = launched({**SRUN, "MASTER_ADDR": "ib0-gpu08", "MASTER_PORT": "4711"})
    assert place is not None and (place.host, place.port) == ("ib0-gpu08", 4711)


@pytest.mark.parametrize(
    "alone",
    [
        {},
        {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        {name: text for name, text in SRUN.items() if name != "SLURM_STEP_ID"},  # a batch script is no step
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
        | {"SLURM_STEP_TASKS_PER_NODE": "1"},
    ],
)
def test_one_process_is_alone(alone: dict[str, str]) -> None:
    assert launched(alone) is None and local_size(alone) == 1


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"MASTER_PORT": "http"}, "MASTER_PORT: found 'http'"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR: found nothing"),
        ({"RANK": "16"}, "process 16 of 16"),
        ({"RANK": "-1"}, "RANK: found '-1'"),
        ({"LOCAL_RANK": "4"}, "on its machine 4 of 4"),
    ],
)
def test_an_environment_that_does_not_fit_is_named(changed: dict[str, str], named: str) -> None:
    with pytest.raises(BactrianError, match=re.escape(named)):
        launched(TORCHRUN | changed)


@pytest.mark.parametrize("text", ["gpu[1-2", "gpu[a]", "", "gpu[]"])
def test_a_node_list_that_is_none_is_named(text: str) -> None:
    with pytest.raises(BactrianError, match=r"node list|SLURM_STEP_NODELIST"):
        launched({**SRUN, "SLURM_STEP_NODELIST": text})


def test_tasks_per_node_that_are_none_are_named() -> None:
    with pytest.raises(BactrianError, match="tasks per node 'many'"):
        counts("many")
    with pytest.raises(BactrianError, match="found 1 machines, and SLURM_NODEID 1"):
        launched({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "12"})


def test_node_lists_as_slurm_writes_them() -> None:
    assert host_names("r[1-2]n[08-09]") == ["r1n08", "r1n09", "r2n08", "r2n09"]
    assert host_names("node[9-11]") == ["node9", "node10", "node11"]
    assert host_names("a-1,b[3]-ib") == ["a-1", "b3-ib"]


@given(st.lists(st.integers(0, 999), min_size=1, unique=True), st.integers(3, 5))
def test_every_list_of_numbers_comes_back(numbers: list[int], width: int) -> None:
    names = [f"n{str(number).zfill(width)}" for number in numbers]
    assert host_names(f"n[{','.join(str(number).zfill(width) for number in numbers)}]") == names
    assert host_names(",".join(names)) == names


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(1, 9)), min_size=1))
def test_every_count_of_tasks_comes_back(runs: list[tuple[int, int]]) -> None:
    text = ",".join(f"{tasks}(x{nodes})" if nodes > 1 else str(tasks) for tasks, nodes in runs)
    assert counts(text) == [tasks for tasks, nodes in runs for _ in range(nodes)]


class KeptPeers:
    """A store for one process, as torch's: keys and texts."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}

    def set(self, key: str, text: str) -> None:
        self.texts[key] = text.encode()

    def get(self, key: str) -> bytes:
        return self.texts[key]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.texts for key in keys)

    def compare_set(self, key: str, expected: str, text: str) -> bytes:
        return self.texts.setdefault(key, text.encode())


def members(size: int = 3) -> list[dict[str, object]]:
    return [{"rank": rank, "host": f"n{rank}", "process": 100 + rank, "space": "s"} for rank in range(size)]


def test_of_several_that_fail_the_first_is_named_by_all_and_one_process_speaks() -> None:
    store = KeptPeers()
    peers = [Peers(store, rank, members()) for rank in range(3)]
    errors: list[BaseException] = [BactrianError("late"), BactrianError("early"), Stop(15)]
    found = {rank: peers[rank].ending(errors[rank]) for rank in (1, 0, 2)}
    expected = Failure(1, "n1", 101, "failed: early", 1)
    assert set(found.values()) == {expected}
    assert str(expected) == "process 1 (n1, pid 101) failed: early"
    assert [each.speaks(expected) for each in peers] == [True, False, False]


def test_where_the_leader_is_gone_another_speaks_and_where_it_said_so_itself_nobody_else_does() -> None:
    peers = [Peers(KeptPeers(), rank, members()) for rank in range(3)]
    assert [each.speaks(Failure(0, "n0", 100, "was killed", 2)) for each in peers] == [False, True, False]
    assert [each.speaks(Failure(0, "n0", 100, "failed: x", 0)) for each in peers] == [True, False, False]


def test_a_stop_that_all_agreed_upon_is_no_failure() -> None:
    store = KeptPeers()
    assert Peers(store, 1, members()).ending(Stop(15, "stopped after step 3")) is None
    assert "failure" not in store.texts


def test_a_process_that_was_killed_and_not_yet_buried_does_not_live() -> None:
    assert alive(os.getpid())
    child = os.fork()
    if child == 0:
        os._exit(0)
    while alive(child):
        pass
    os.waitpid(child, 0)
    assert not alive(child)

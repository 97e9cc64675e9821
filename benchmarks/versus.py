"""What sft.py and dpo.py share: the same work for two programs, first compared, then timed in turns."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from duel import Side, machine
from roofline import square_peak

HERE = Path(__file__).parent
TOLERANCE = 1e-5


def arguments(description: str | None, model: str = "embedded:smollm2-135m") -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default=model, help="embedded:NAME or a folder")
    options.add_argument("--peer-python", default=sys.executable, help="of an environment with trl 1.16 and torch")
    options.add_argument("--runs", type=int, default=5, help="timed steps of each side, after one to warm up")
    options.add_argument("--threads", type=int, default=2)
    return options


def model_folder(name: str) -> Path:
    if not name.startswith("embedded:"):
        return Path(name)
    from bactrian.model.embedded import materialise

    return materialise(name.removeprefix("embedded:"))


def write_work(work: dict[str, Any], name: str) -> dict[str, Path]:
    """The work as files for both sides: ours draws its own order of the rows, the peer gets them in that order."""
    from bactrian.train.supervised import epoch_order

    folder = Path(mkdtemp(prefix=f"bactrian-{name}-"))
    order = epoch_order(len(work["rows"]), 0, 0)
    files = {"ours": folder / "ours.json", "peer": folder / "peer.json"}
    files["ours"].write_text(json.dumps(work))
    files["peer"].write_text(json.dumps({**work, "rows": [work["rows"][i] for i in order]}))
    return files


def draw_ids(random: np.random.Generator, length: int, vocabulary: int = 40_000) -> list[int]:
    """Random ids: speed does not depend on what they say."""
    drawn: list[int] = random.integers(100, vocabulary, length).tolist()
    return drawn


def assert_same(task: str, folder: Path, work: dict[str, Any], peer_python: str, threads: int) -> float:
    """The largest relative difference of loss and gradient between both programs on one batch, float32.

    Raises:
        AssertionError: it is more than 1e-5.
    """
    from safetensors.numpy import load_file

    files = write_work(work, f"{task}-check")
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, python in (("ours", sys.executable), ("peer", peer_python)):
        result = files[name].with_suffix(".safetensors")
        script = HERE / ("training_ours.py" if name == "ours" else "training_trl.py")
        more = [task, str(folder), str(files[name]), "float32", "--check", str(result)]
        with Side(name, python, script, *more, threads=threads) as side:
            side.ask("check")
        found[name] = load_file(result)
    ours, peer = found["ours"], found["peer"]
    assert ours.keys() == peer.keys(), sorted(ours.keys() ^ peer.keys())[:5]
    loss = abs(float(ours["loss"]) - float(peer["loss"])) / abs(float(peer["loss"]))
    norm = np.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for n, g in peer.items() if n != "loss"))
    apart = np.sqrt(sum(float(np.square(ours[n] - peer[n], dtype=np.float64).sum()) for n in peer if n != "loss"))
    print(f"same work, float32: loss {float(ours['loss']):.6f}, apart {loss:.1e}; gradient apart {apart / norm:.1e}")
    worst = max(loss, float(apart / norm))
    assert worst <= TOLERANCE, f"not the same work: {worst:.2e} apart"
    return worst


def race(sides: list[Side], runs: int, tokens: list[int] | None = None) -> dict[str, dict[str, float]]:
    """Real tokens a second (median over steps) and peak memory of each side; steps are taken in turns.

    tokens: of each step, where both sides take the same rows; by default each counts its own.
    """
    speeds: dict[str, list[float]] = {side.name: [] for side in sides}
    peaks = dict.fromkeys(speeds, 0.0)
    for run in range(runs + 1):
        for side in sides:
            step = side.ask("step")
            if run:  # the first warms up
                count = step["tokens"] if tokens is None else tokens[run]
                speeds[side.name].append(count / (step["seconds"] + step.get("reference_seconds", 0.0)))
            peaks[side.name] = step["peak"]
    return {name: {"tokens_per_second": statistics.median(speeds[name]), "peak_gib": peaks[name]} for name in speeds}


def report(
    name: str, found: dict[str, dict[str, float]], flops_per_token: float, threads: int, apart: float | None
) -> None:
    """The table and its line of JSON. Share: of the bf16 square product's speed, by the operations that are needed."""
    peak = square_peak(threads)
    print(f"{machine()}; bf16 square product {peak / 1e9:.0f} GFLOP/s")
    print(f"{'side':>12} {'tokens/s':>9} {'ours / it':>9} {'peak GiB':>9} {'ours / it':>9} {'share':>6}")
    ours = found["ours"]
    result: dict[str, Any] = {"benchmark": name, "square_gflops": peak / 1e9, "apart": apart}
    for side, values in found.items():
        ratio, memory = ours["tokens_per_second"] / values["tokens_per_second"], ours["peak_gib"] / values["peak_gib"]
        share = values["tokens_per_second"] * flops_per_token / peak
        print(
            f"{side:>12} {values['tokens_per_second']:>9.1f} {ratio:>9.2f} {values['peak_gib']:>9.2f} {memory:>9.2f} "
            f"{share:>6.0%}"
        )
        result[side] = {**values, "speed_ratio": ratio, "memory_ratio": memory, "share_of_peak": share}
    print(json.dumps(result))

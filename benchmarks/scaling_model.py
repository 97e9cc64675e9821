"""The model of training on many GPUs (bactrian/run/update_time.py): beside published runs, and from 8 to 512 GPUs.

PYTHONPATH=. python benchmarks/scaling_model.py
"""

from __future__ import annotations

from bactrian.run.update_time import Cluster, UpdateRows, tokens_a_second, update_time
from tests.test_update_time import HOURS, SPEEDS, pass_of


def main() -> None:
    print("| run | predicted | published | predicted / published |\n|---|---:|---:|---:|")
    for name, trained, batch, cluster, updates, hours in HOURS:
        found = updates * update_time(trained, batch, cluster).seconds / 3600
        print(f"| {name}, {cluster.gpus} GPUs | {found:.3g} h | {hours:.3g} h | {found / hours:.2f} |")
    for name, trained, batch, cluster, speed in SPEEDS:
        found = tokens_a_second(trained, batch, cluster)
        print(f"| {name} | {found:,.0f} tokens/s a GPU | {speed:,} | {found / speed:.2f} |")
    print("\n| GPUs | batch, tokens | weights | tokens/s a GPU | of one GPU's | waiting for links | for others |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    trained = pass_of(8.03e9, 8, 8 * 32 * 4096 * 4096)
    alone = tokens_a_second(trained, UpdateRows(8, 4096, micro_tokens=8192), Cluster("h100", 1))
    for gpus in (8, 32, 128, 512):
        for tokens in (2**19, 2**22):
            for weights in ("sharded", "hybrid"):
                cluster = Cluster("h100", 8, gpus // 8, weights)  # type: ignore[arg-type]
                batch = UpdateRows(tokens / 4096, 4096, micro_tokens=8192)
                time, speed = update_time(trained, batch, cluster), tokens_a_second(trained, batch, cluster)
                parts = f"{time.links / time.seconds:.0%} | {time.others / time.seconds:.0%}"
                print(f"| {gpus} | {tokens:,} | {weights} | {speed:,.0f} | {speed / alone:.0%} | {parts} |")


if __name__ == "__main__":
    main()

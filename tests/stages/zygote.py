"""A process that has imported everything, and forks a `bactrian` for each command line that it reads.

What a kill leaves behind is that of a killed process; only the seconds of importing torch are spared. Reads per line
a JSON list of arguments, or an object {arguments, folder, log, environment}; answers with the child's process id, then
with its exit status (negative: the signal).
"""

import json
import os
import sys

import pyarrow.parquet  # noqa: F401
import torch  # noqa: F401
import transformers

from bactrian.cli import main as cli
from bactrian.stages import all_stages


def main(log: str) -> None:
    all_stages()
    for name in ("LlamaForCausalLM", "AutoModelForCausalLM", "AutoTokenizer", "PreTrainedTokenizerFast"):
        getattr(transformers, name)
    for line in sys.stdin:
        asked = json.loads(line)
        asked = asked if isinstance(asked, dict) else {"arguments": asked}
        arguments = asked["arguments"]
        child = os.fork()
        if child == 0:
            os.chdir(asked.get("folder", "."))
            os.environ.update(asked.get("environment", {}))
            file = os.open(asked.get("log", log), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.argv = ["bactrian", *arguments]
            os._exit(cli.invoke(arguments))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

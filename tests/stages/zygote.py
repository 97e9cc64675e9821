"""A process that has imported everything, and forks a `bactrian` for each command line that it reads.

What a kill leaves behind is that of a killed process; only the seconds of importing torch are spared. Reads per line
a JSON list of arguments, or an object {arguments, folder, log, errors, environment, paths, script}; answers with the
child's process id, then with its exit status (negative: the signal). `errors` is where stderr goes, if not into the
log; `paths` are looked through first by imports, as if they were in PYTHONPATH; `script` is a file to run in place of
`bactrian`.
"""

import gc
import importlib
import json
import os
import runpy
import sys
from contextlib import suppress
from typing import Any

import pyarrow.parquet  # noqa: F401
import torch._dynamo  # noqa: F401  (an optimiser imports it)
import transformers

from bactrian.cli import main as cli
from bactrian.report import html
from bactrian.run import runner  # noqa: F401
from bactrian.stages import all_stages
from bactrian.store import plugins
from bactrian.store.fingerprint import code_fingerprint, modules_behind

with suppress(ImportError):  # where it is there, pyarrow imports it with the first array
    import pandas  # noqa: F401


def main(log: str) -> None:
    for stage in all_stages().values():
        code_fingerprint(stage.__module__)
    for name in {name for stage in all_stages().values() for name in modules_behind(stage.__module__)}:
        with suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(name)
    html._environment().get_template("page.html.j2")
    for name in ("LlamaForCausalLM", "AutoModelForCausalLM", "AutoTokenizer", "PreTrainedTokenizerFast"):
        getattr(transformers, name)
    gc.collect()
    gc.freeze()  # each step and each training looks for garbage first, and modules are none
    for line in sys.stdin:
        asked = json.loads(line)
        asked = asked if isinstance(asked, dict) else {"arguments": asked}
        child = os.fork()
        if child == 0:
            os._exit(serve(asked, log))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def serve(asked: dict[str, Any], log: str) -> int:
    os.chdir(asked.get("folder", "."))
    os.environ.update(asked.get("environment", {}))
    log = asked.get("log", log)
    for descriptor, name in ((1, log), (2, asked.get("errors", log))):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    if paths := asked.get("paths"):
        sys.path[:0] = paths
        importlib.invalidate_caches()
        all_stages.cache_clear()
        plugins._entry_points.cache_clear()
    if script := asked.get("script"):
        runpy.run_path(script, run_name="__main__")
        sys.stdout.flush()
        return 0
    sys.argv = ["bactrian", *asked["arguments"]]
    status = cli.invoke(asked["arguments"])
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    main(sys.argv[1])

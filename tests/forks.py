"""A process that has imported everything and then forks one `cnnlab` for each line that it is sent: real processes,
real signals, without two seconds of imports each. A line is JSON: {"words": [...], "folder": ..., "log": ..., "delay"}.
"""

import json
import os
import sys
from pathlib import Path


def preload() -> None:
    """Import what a run imports, and nothing that starts a thread: forks do not take threads along."""
    import hydra.main  # noqa: F401
    import torch

    import cnnlab.tasks.train  # noqa: F401

    torch.set_num_threads(1)


def child(order: dict[str, object]) -> None:
    """Become `cnnlab WORDS` in a folder, both outputs into a file."""
    from cnnlab import cli

    os.setsid()
    os.chdir(str(order["folder"]))
    handle = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.argv = ["cnnlab", *order["words"]]  # type: ignore[misc]
    code = 1
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def serve() -> None:
    """Read orders; answer each with the child's number at once, and with how it ended after `wait`."""
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        number = os.fork()
        if number == 0:
            child(order)
        print(number, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    serve()

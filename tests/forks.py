"""A process that has imported everything and then forks one `cnnlab` for each line that it is sent: real processes,
real signals, without two seconds of imports each. A line is JSON: `{"words": [...], "folder": ..., "log": ...}` or
`{"wait": process number}`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def preload() -> None:
    """Import what a run imports, and nothing that starts a thread: forks do not take threads along."""
    import hydra.main  # noqa: F401
    import torch
    import torch._dynamo  # which the first optimizer imports

    import cnnlab.tasks.train.command  # noqa: F401

    torch.set_num_threads(1)


def child(order: dict[str, object]) -> None:
    """Become `cnnlab WORDS` in a folder, both outputs into a file."""
    from cnnlab.cli import verbs

    os.setsid()
    os.chdir(str(order["folder"]))
    handle = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.argv = ["cnnlab", *order["words"]]  # type: ignore[misc]
    code = 1
    try:
        verbs.main()
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


class Forks:
    """`cnnlab` as forks of a process that has imported everything, by orders and answers through its pipes."""

    def __init__(self) -> None:
        words = [sys.executable, __file__]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.server = subprocess.Popen(
            words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True, **pipes
        )
        assert self.server.stdout and self.server.stdout.readline() == "ready\n"

    def ask(self, order: dict[str, Any]) -> int:
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, folder: Path, *words: str) -> int:
        """Begin `cnnlab WORDS` in a folder; its process number, which is its group's too."""
        folder.mkdir(exist_ok=True)
        return self.ask({"words": words, "folder": str(folder), "log": str(folder / "log.txt")})

    def wait(self, number: int) -> int:
        """How it ended, once it has; a signal's number is negative."""
        return self.ask({"wait": number})

    def run(self, folder: Path, *words: str) -> tuple[int, str]:
        code = self.wait(self.start(folder, *words))
        return code, (folder / "log.txt").read_text()


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    serve()

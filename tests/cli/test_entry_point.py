"""The command line as real processes, with the streams and signals that shells give it."""

import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnnlab.core.run_index import read_run_state
from tests.conftest import TINY
from tests.fork_server import ROOT, Forks, end_with_parent

TRAIN = ["train", *TINY]
ENDLESS = ["train", *TINY, "epochs=100000"]


def start(here: Path, *words: str, **options: Any) -> subprocess.Popen:
    """Start a command in the foreground: Ctrl-C is not ignored, as it is after `&`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "cnnlab", *words]
    return subprocess.Popen(command, cwd=here, preexec_fn=end_with_parent, **pipes | options)


def run_shell(here: Path, script: str) -> subprocess.CompletedProcess:
    """Run a script with `cnnlab` in it."""
    script = f'cnnlab() {{ "{sys.executable}" -m cnnlab "$@"; }}; {script}'
    return subprocess.run(["bash", "-c", script], cwd=here, capture_output=True, text=True)


def wait(forks: Forks, here: Path, number: int) -> tuple[int, str]:
    """Wait for a child whose stderr is in err.txt; return its exit code and stderr."""
    return forks.wait(number), (here / "err.txt").read_text()


def only_run(here: Path) -> Path:
    (run,) = (here / "outputs" / "train").iterdir()
    return run


def wait_for_checkpoint(here: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(here.glob("outputs/train/*/checkpoints/step*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_handlers(process: subprocess.Popen) -> None:
    """Wait while Python itself starts, some hundredths of a second."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("this system does not list a process's signal handlers")
    while process.poll() is None:
        caught = next(line for line in status.read_text().splitlines() if "SigCgt" in line)
        if int(caught.split()[1], 16) & 1 << (signal.SIGUSR2 - 1):
            return
        time.sleep(0.002)


def interrupt_at(here: Path, delay_s: float) -> tuple[int, str, float]:
    """Interrupt a command after so many seconds; return its code, stderr, and seconds to end."""
    process = start(here, *ENDLESS)
    wait_for_handlers(process)
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    return process.returncode, err, time.monotonic() - began


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_children_end_with_a_killed_parent() -> None:
    """A killed pytest left trainings of 100,000 epochs behind."""
    child = ["sh", "-c", "echo started; exec sleep 60"]
    code = "import subprocess; from tests.fork_server import end_with_parent\n"
    code += f"subprocess.run({child}, preexec_fn=end_with_parent)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout and parent.stdout.readline() == b"started\n"
        parent.kill()
        parent.communicate(timeout=30)  # until the child too has closed the pipe


def check_interrupted(code: int, err: str, seconds: float) -> None:
    assert code == 130 and seconds < 10 and "Traceback" not in err, err
    lines = err.splitlines()
    assert lines == ["cnnlab: interrupted"] or lines[0].startswith("cnnlab: stopped after step")


@pytest.mark.parametrize("delay_s", [0, 0.5, 1.2])
def test_an_interrupt_while_importing_ends_with_130(here: Path, delay_s: float) -> None:
    check_interrupted(*interrupt_at(here, delay_s))


@pytest.mark.slow
def test_a_hundred_interrupts_at_random_moments_end_with_130(here: Path) -> None:
    rng = random.Random(0)
    for _ in range(100):
        check_interrupted(*interrupt_at(here, rng.uniform(0, 2)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_stop_signal_while_importing_has_its_exit_code(
    here: Path, number: signal.Signals
) -> None:
    process = start(here, *ENDLESS)
    wait_for_handlers(process)
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and err == f"cnnlab: stopped by {number.name}\n"


@pytest.mark.slow
def test_timeout_saves_a_checkpoint(forks: Forks, here: Path) -> None:
    """It sends SIGTERM to the process and again to its group."""
    number = forks.start(here, *ENDLESS, stderr="err.txt")
    wait_for_checkpoint(here)
    for _ in range(2):
        os.kill(number, signal.SIGTERM)
    code, err = wait(forks, here, number)
    assert code == 143 and "resume with `cnnlab train resume=" in err


def test_nohup_survives_the_terminal(forks: Forks, here: Path) -> None:
    number = forks.start(here, *TRAIN, ignored=(signal.SIGHUP,))
    wait_for_checkpoint(here)
    os.kill(number, signal.SIGHUP)
    assert forks.wait(number) == 0 and read_run_state(only_run(here)) == "finished"


@pytest.mark.slow
def test_a_closed_terminal_saves_a_checkpoint(here: Path) -> None:
    """SIGHUP arrives, and the terminal takes no more output."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        end_with_parent()
        os.execv(sys.executable, [sys.executable, "-m", "cnnlab", *ENDLESS])
    reader = threading.Thread(target=read_all, args=[terminal], daemon=True)
    reader.start()
    wait_for_checkpoint(here)
    os.kill(process_id, signal.SIGSTOP)  # so that the terminal is gone when the signal is handled
    os.kill(process_id, signal.SIGHUP)
    os.close(terminal)
    os.kill(process_id, signal.SIGCONT)
    _, status = os.waitpid(process_id, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert read_run_state(only_run(here)) == "interrupted"


def read_all(terminal: int) -> None:
    """Read a terminal until it is closed."""
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_a_stopped_and_continued_process_finishes(forks: Forks, here: Path) -> None:
    """Ctrl-Z and fg."""
    number = forks.start(here, *TRAIN, stderr="err.txt")
    wait_for_checkpoint(here)
    os.kill(number, signal.SIGTSTP)
    time.sleep(0.2)
    os.kill(number, signal.SIGCONT)
    assert wait(forks, here, number) == (0, "")


def test_an_interrupt_of_a_pipeline_says_how_to_resume(forks: Forks, here: Path) -> None:
    """`cnnlab train | tee log`: Ctrl-C ends tee first."""
    os.mkfifo("pipe")
    number = forks.start(here, *ENDLESS, stdout="pipe", stderr="err.txt")
    with Path("pipe").open():
        wait_for_checkpoint(here)
    time.sleep(0.3)
    os.kill(number, signal.SIGINT)
    code, err = wait(forks, here, number)
    assert code == 130
    assert "cnnlab: stopped after step" in err and "resume with `cnnlab train resume=" in err


def test_training_goes_on_when_its_reader_leaves(forks: Forks, here: Path) -> None:
    os.mkfifo("pipe")
    number = forks.start(here, *TRAIN, stdout="pipe", stderr="err.txt")
    with Path("pipe").open() as reader:
        assert reader.readline().startswith("cnnlab train: digits_cnn")
    assert forks.wait(number) == 0 and read_run_state(only_run(here)) == "finished"


def test_training_goes_on_when_its_log_is_on_a_full_disk(forks: Forks, here: Path) -> None:
    number = forks.start(here, *TRAIN, stdout="/dev/full", stderr="err.txt")
    assert wait(forks, here, number) == (
        1,
        "cnnlab: cannot write to stdout: No space left on device; continuing without it\n",
    )
    assert read_run_state(only_run(here)) == "finished"


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "redirection",
    [pytest.param(">&-", marks=SLOW), pytest.param("2>&-", marks=SLOW), "<&- >&- 2>&-"],
)
def test_training_runs_with_closed_streams(here: Path, redirection: str) -> None:
    done = run_shell(here, f"cnnlab {' '.join(TRAIN)} {redirection}")
    assert done.returncode == 0 and read_run_state(only_run(here)) == "finished"


@pytest.mark.parametrize("verb", ["runs", "version", "--help", "train --cfg job"])
def test_a_full_disk_is_one_line(here: Path, verb: str) -> None:
    done = run_shell(here, f"cnnlab {verb} > /dev/full")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "No space left on device" in done.stderr


def test_errors_do_not_reach_stdout_when_stderr_is_closed(here: Path) -> None:
    done = run_shell(here, "cnnlab train foo=1 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    "environment",
    [
        "PYTHONIOENCODING=ascii",
        pytest.param("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0", marks=SLOW),
    ],
)
@pytest.mark.slow
def test_sweep_tables_in_ascii(here: Path, environment: str) -> None:
    done = run_shell(
        here,
        f"export {environment}; cnnlab train -m {' '.join(TINY)} epochs=1 seed=1,2; cnnlab runs",
    )
    counts = Counter(done.stdout.split())
    assert (done.returncode, done.stderr) == (0, "") and counts["+-"] == 4


@pytest.mark.slow
def test_a_user_without_home_and_name_can_train(here: Path) -> None:
    """As in containers that run under any user id."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    here.chmod(0o777)
    capabilities = "+dac_override,+dac_read_search"  # the checkout may be root's alone
    prefix = ["setpriv", "--reuid=54321", "--clear-groups"]
    prefix += [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH")}
    command = [*prefix, sys.executable, "-m", "cnnlab", *TRAIN]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    if "setpriv:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "then", ["", pytest.param("&& cnnlab eval && cnnlab embed --pca", marks=SLOW)]
)
@pytest.mark.slow
def test_folders_are_read_with_a_full_dev_shm(here: Path, then: str) -> None:
    """As in a container with little shared memory: images are decoded by threads."""
    for index in range(80):
        path = here / "many" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 50 + 100 * (index % 2)).save(path)
    overrides = "dataset=folder dataset.root=many dataset.size=64 dataset.workers=2 epochs=1"
    script = f"""
    mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero > /dev/shm/full || exit 77
    cnnlab train {overrides} batch_size=10 model.filters=[4,4] model.hidden=[8] {then}
    """
    shell = f'cnnlab() {{ timeout 100 "{sys.executable}" -m cnnlab "$@"; }}; {script}'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", shell], cwd=here, capture_output=True, text=True
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 0, done.stderr

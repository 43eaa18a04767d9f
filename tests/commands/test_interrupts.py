"""Ctrl-C of a command, from the first line of the package to the end of the process."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import environment

import lstm
from lstm.commands.interrupts import raised

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# Python runs it before the command; SIGINT is sent when that module is imported, or at the end.
SENDER = """
import atexit, os, signal, sys

def send():
    os.kill(os.getpid(), signal.SIGINT)

def watch(event, arguments):
    if event == "import" and arguments[0] == MODULE:
        send()

MODULE = os.environ["SENT_AT"]
signal.signal(signal.SIGINT, getattr(signal, os.environ["SIGINT_IS"]))
if MODULE == "end":
    atexit.register(send)
else:
    sys.addaudithook(watch)
"""
# The script that pip makes of the entry point.
SCRIPT = """
import sys
from lstm.__main__ import main
if __name__ == '__main__':
    sys.exit(main())
"""
PROGRAM = """
try:
    import lstm
except KeyboardInterrupt:
    print("raised")
"""
# In the order of their import, of which NumPy's takes the most time.
MODULES = (
    "lstm._kernel.kernel",
    "numpy",
    "numpy.lib",
    "lstm.core.net",
    "lstm.model",
    "lstm.commands",
    "lstm.commands.common",
)


def interrupted(
    folder: Path, at: str, *words: str, handler: str = "default_int_handler"
) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, to which SIGINT is sent at the import of a module."""
    (folder / "sitecustomize.py").write_text(SENDER)
    variables = environment(SENT_AT=at, SIGINT_IS=handler)
    variables["PYTHONPATH"] = os.pathsep.join([str(folder), variables["PYTHONPATH"]])
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=variables, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("words", "at"),
    [
        *[(("-m", "lstm"), at) for at in (*MODULES, "end")],
        *[(("bin/lstm",), at) for at in ("numpy", "lstm.commands.common", "end")],
        (("-X", "utf8", "-mlstm"), "numpy"),
    ],
)
def test_a_command_that_starts_or_has_done_its_work_ends_at_once(
    tmp_path: Path, words: tuple[str, ...], at: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lstm").write_text(SCRIPT)
    done = interrupted(tmp_path, at, *words, "--version")
    assert (done.returncode, done.stderr) == (130, "")
    assert done.stdout == (f"lstm {lstm.__version__}\n" if at == "end" else "")


def test_an_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    done = interrupted(tmp_path, "numpy", "-m", "lstm", "--version", handler="SIG_IGN")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lstm {lstm.__version__}\n", "")


@pytest.mark.parametrize(
    "words", [("program.py", "lstm"), ("-m", "package", "lstm"), ("-c", "import program", "lstm")]
)
def test_other_programs_keep_their_interrupts(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What imports the package is interrupted as Python does it, by an exception."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text("")
    for file in ("program.py", "package/__init__.py"):
        (tmp_path / file).write_text(PROGRAM)
    done = interrupted(tmp_path, "numpy.lib", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "raised\n", "")


def test_a_script_of_the_same_name_keeps_its_interrupts(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = "import signal, lstm\ntry:\n    signal.raise_signal(signal.SIGINT)\n"
    program += "except KeyboardInterrupt:\n    print('raised')\n"
    (tmp_path / "bin" / "lstm").write_text(program)
    done = interrupted(tmp_path, "no module", "bin/lstm", "info")
    assert (done.returncode, done.stdout, done.stderr) == (0, "raised\n", "")


@pytest.fixture
def signals_as_python_starts() -> Iterator[None]:
    """Whatever the tests were started with: nohup ignores SIGHUP, a shell SIGINT in the background."""
    found = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    found[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in found.items():
        signal.signal(number, handler)


class Sender:
    """Sends a signal where Python prints and drops what its handler raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.usefixtures("signals_as_python_starts")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_dropped_exception_is_raised_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    number = getattr(signal, name)
    expected = KeyboardInterrupt if name == "SIGINT" else SystemExit
    before = signal.getsignal(number), sys.unraisablehook
    start = time.monotonic()
    with pytest.raises(expected):
        drop_and_wait(number)
    assert time.monotonic() - start < 10
    assert (signal.getsignal(number), sys.unraisablehook) == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("signals_as_python_starts")
def test_a_signal_where_another_is_sent_again_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    start_new_thread = _thread.start_new_thread
    starts = []

    def signal_and_start(*call: Any) -> int:
        starts.append(call)
        if len(starts) == 1:
            signal.raise_signal(signal.SIGTERM)
        return start_new_thread(*call)

    monkeypatch.setattr(_thread, "start_new_thread", signal_and_start)
    with pytest.raises(SystemExit):
        drop_and_wait(signal.SIGINT)
    assert len(starts) == 2


def drop_and_wait(number: int) -> None:
    with raised():
        Sender(number)
        time.sleep(20)

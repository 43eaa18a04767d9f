"""Loads malformed files in a process of its own and tells where it crashes, hangs or takes much memory."""

from __future__ import annotations

import faulthandler
import gc
import io
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from . import Case, cases, module_of
from .mutation import mutated

TESTS = Path(__file__).parents[1]
LONGEST = 1.0  # seconds of a load, of the CPU: a busy machine does not count
STUCK = 20.0  # seconds at one file after which a process is given up
STARTING = 120.0  # seconds until it is at its first
EXPANSION, SPARE = 2, 16 << 20  # memory: bytes of the file times, and bytes more
LONGEST_MESSAGE = 2_000  # characters
MOST_FINDINGS = 20
# A sanitizer takes time and memory of its own.
IS_SANITIZED = "LSTM_SANITIZE" in os.environ


class Outcome(NamedTuple):
    """What became of the files of one format."""

    format_name: str
    refused: int
    read: int
    seconds: float
    findings: list[str]


class Memory:
    """How much more memory the process held at its most since `start` than it held then, in bytes."""

    def __init__(self) -> None:
        self._files: tuple[Any, ...] = ()
        if not IS_SANITIZED and os.access("/proc/self/clear_refs", os.W_OK):
            self._files = (
                io.FileIO("/proc/self/status"),
                io.FileIO("/proc/self/clear_refs", "w"),
            )

    def start(self) -> None:
        if self._files:
            self._files[1].write(b"5")
            self._before = self._of(b"VmRSS:")

    def taken(self) -> int:
        return self._of(b"VmHWM:") - self._before if self._files else 0

    def _of(self, field: bytes) -> int:
        self._files[0].seek(0)
        text = self._files[0].read(4096)
        return 1024 * int(text[text.index(field) + len(field) :].split(None, 1)[0])


def cpu_seconds() -> float:
    """Seconds of the CPU that this process and those it has waited for have taken."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def load(path: Path, options: dict[str, Any], memory: Memory) -> tuple[Any, str]:
    """The net of a file, or its FormatError; and what was wrong with the loading, "" where nothing was."""
    import lstm

    size = path.stat().st_size
    for attempt in range(3):  # a CPU that is shared is slow now and then
        memory.start()
        start = cpu_seconds()
        try:
            found: Any = lstm.load(path, **options)
        except lstm.FormatError as error:
            found = error.with_traceback(None)
        except BaseException:
            return None, traceback.format_exc()
        seconds, taken = cpu_seconds() - start, memory.taken()
        if attempt == 0 and taken > EXPANSION * size + SPARE:
            return found, f"took {taken / 2**20:.1f} MB for a file of {size} bytes"
        if seconds < LONGEST or IS_SANITIZED:
            return found, ""
    return found, f"took more than {LONGEST} s three times"


def check(
    path: Path, options: dict[str, Any], memory: Memory, words: tuple[str, ...] = ()
) -> tuple[bool, str]:
    """Whether a file was refused, and what was wrong with that or with the net: "" where nothing was."""
    found, wrong = load(path, options, memory)
    if wrong:
        return False, wrong
    if not isinstance(found, ValueError):
        return False, _wrong_net(found)
    message = str(found)
    missing = [word for word in (str(path), *words) if word not in message]
    if missing:
        return True, f"its message lacks {', '.join(missing)}: {message[:1000]}"
    if len(message) > LONGEST_MESSAGE:
        return True, f"its message has {len(message)} characters: {message[:500]}"
    return True, ""


def _wrong_net(net: Any) -> str:
    """What is wrong with a net that was read: nothing where it computes; its values may be anything."""
    import numpy as np

    cells, size = net.num_layers * (directions := 1 + net.bidirectional), net.proj_size or net.hidden_size
    try:
        Y, (h, C) = net.forward_sequence(np.ones((2, net.input_size)), return_state=True)
    except BaseException:
        return traceback.format_exc()
    found, expected = (
        [Y.shape, h.shape, C.shape],
        [(2, size * (directions if net.merge == "concat" else 1)), (cells, size), (cells, net.hidden_size)],
    )
    return "" if found == expected else f"{net!r} gives shapes {found}"


class Progress:
    """Number of the file at work, files refused and files read, where another process sees them.

    The number is `NONE` until the process is at its first file.
    """

    SIZE, NONE = 24, (1 << 64) - 1

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), self.SIZE)

    def set(self, *numbers: int) -> None:
        self._memory[:] = b"".join(n.to_bytes(8, "little") for n in numbers)

    def get(self) -> tuple[int, int, int]:
        at, refused, read = (int.from_bytes(self._memory[k : k + 8], "little") for k in (0, 8, 16))
        return at, refused, read


def child(kind: str, format_name: str, first: int, last: int, progress_path: str) -> None:
    """Load the files of these numbers; findings go to stdout, one [number, text] a line."""
    faulthandler.enable()
    warnings.simplefilter("error")
    prepare = getattr(module_of(format_name), "prepare", None)
    if prepare is not None:
        prepare()
    made = cases(format_name) if kind == "cases" else None
    progress, memory = Progress(progress_path), Memory()
    refused = read = wrongs = handles = 0
    folders = tempfile.TemporaryDirectory()
    for number in range(first, last):
        progress.set(number, refused, read)
        if made is None:
            good, folder = mutated(format_name, number), Path(folders.name)
            case = Case(f"seed {number}", good.file, good.content, (), good.options)
        else:
            case, folder = made[number], Path(folders.name, str(number))
        was_refused, wrong = check(case.write(folder), case.options, memory, case.words)
        if made is not None and not wrong and not was_refused:
            wrong = "it is read as a net"
        if wrong:
            print(json.dumps([number, f"{case.name}: {wrong}" if made else wrong]), flush=True)
            wrongs += 1
        refused, read = refused + was_refused, read + (not was_refused)
        if wrongs == MOST_FINDINGS:
            break
        if number == first + 20:
            handles = open_files()
    progress.set(number + 1, refused, read)
    folders.cleanup()
    gc.collect()
    if handles and open_files() > handles:
        print(json.dumps([first, f"{open_files() - handles} more files are open after the run"]))


def open_files() -> int:
    """How many files the process holds, 0 where that is not told."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def run(kind: str, format_name: str, count: int, first: int = 0) -> Outcome:
    """Load all "cases" of a format, or the "mutations" of `count` seeds; a crash costs the one file."""
    start = time.monotonic()
    findings: list[str] = []
    refused = read = 0
    number, last = first, first + count
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(Progress.SIZE))
        file.flush()
        progress = Progress(file.name)
        while number < last and len(findings) < MOST_FINDINGS:
            progress.set(Progress.NONE, 0, 0)
            end, output, errors = _watched([kind, format_name, str(number), str(last), file.name], progress)
            findings += [
                f"{kind} {format_name} {n}: {wrong}" for n, wrong in map(json.loads, output.splitlines())
            ]
            at, were_refused, were_read = progress.get()
            number = number if at == Progress.NONE else at
            refused, read = refused + were_refused, read + were_read
            if end:
                findings.append(f"{kind} {format_name} {number}: {end}\n{errors[-3000:]}")
                number += 1
    return Outcome(format_name, refused, read, time.monotonic() - start, findings)


def _watched(arguments: list[str], progress: Progress) -> tuple[str, str, str]:
    """How a child ended ("" where it came to its end), its stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "malformed.run", *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        end, at, since = "", Progress.NONE, time.monotonic()
        while process.poll() is None:
            time.sleep(0.1)
            if (now := progress.get()[0]) != at:
                at, since = now, time.monotonic()
            elif time.monotonic() - since > (longest := STARTING if at == Progress.NONE else STUCK):
                process.kill()
                end = f"it hung for {longest} s"
        if process.wait() and not end:
            end = f"the process ended with {process.returncode}"
        output.seek(0)
        errors.seek(0)
        return end, output.read(), errors.read()


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])

"""Running the command line in tests: in this process, or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lstm
from lstm.__main__ import main


def environment(**changes: str) -> dict[str, str]:
    """For a process in any folder: it finds the lstm that is tested here, installed or not."""
    # Threads of NumPy's BLAS that wait for a busy core take much longer than one alone.
    settings = {"PYTHONPATH": str(Path(lstm.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    # Unbuffered output meets a closed pipe elsewhere than users' does.
    settings["PYTHONUNBUFFERED"] = ""
    return {**os.environ, **settings, **changes}


def command(folder: Path, *arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """`lstm` with `arguments` as a process of its own in `folder`, where a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "lstm", *map(str, arguments)],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def into_closed_pipe(folder: Path, *arguments: str, after: int = 0) -> tuple[int, bytes]:
    """Exit status and stderr of `lstm` whose stdout is closed once some bytes have been read."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "lstm", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(after)
        process.stdout.close()
        told = process.stderr.read()
    return process.returncode, told


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def parse(text: str) -> dict[str, Any]:
    """One strict JSON document."""
    return json.loads(text, parse_constant=refuse_constant)  # type: ignore[no-any-return]


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of main()."""
    status = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return status, out, err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    status, out, err = run(capsys, *arguments, "--json")
    assert err == ""
    return status, parse(out)


def check_refusal(status: int, out: str, err: str, words: list[str]) -> None:
    """Exit status 2 and one line on stderr that has all `words`."""
    assert (status, out) == (2, "")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("lstm: error: ")
    for word in words:
        assert word in err

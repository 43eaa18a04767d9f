"""python tests/write_malformed.py FOLDER: write the malformed files of every format that can be made here.

Each has a folder of its own, FOLDER/FORMAT/NUMBER, and FOLDER/FORMAT/names.txt says what is wrong with it.
With --mutation FORMAT:SEED, the one mutation that a test names is written, and read once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from malformed import Case, available, cases
from malformed.mutation import mutated

import lstm


def main() -> None:
    """Write and say what."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mutation", metavar="FORMAT:SEED")
    given = parser.parse_args()
    if given.mutation is not None:
        write_mutation(given.folder, *given.mutation.split(":"))
        return
    for format_name in available():
        made = cases(format_name)
        for number, case in enumerate(made):
            case.write(given.folder / format_name / f"{number:03d}")
        lines = [f"{number:03d} {json.dumps(case.name)}\n" for number, case in enumerate(made)]
        (given.folder / format_name / "names.txt").write_text("".join(lines))
        print(f"{len(made)} in {given.folder / format_name}")


def write_mutation(folder: Path, format_name: str, seed: str) -> None:
    """Write a mutation and load it, in this process."""
    good = mutated(format_name, int(seed))
    path = Case(seed, good.file, good.content).write(folder)
    print(f"{path}, {len(good.content)} bytes, options {good.options}")
    try:
        print(lstm.load(path, **good.options))
    except lstm.FormatError as error:
        print(f"FormatError: {error}")


if __name__ == "__main__":
    main()

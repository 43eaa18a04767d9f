"""Malformed files of every format and random mutations of good ones: lstm.FormatError and nothing else.

Each is read within a second of the CPU and in memory below twice the file's size and 16 MB, in a process
that may crash; see `malformed`. `python tests/write_malformed.py FOLDER` writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from malformed import NEEDS, available, cases, faults_files, module_of, run
from malformed.mutation import good_files, mutated

import lstm

# How much of the mutations each format has: for HDF5 each load forks a process.
SHARES = {"npz": 0.25, "safetensors": 0.27, "onnx": 0.25, "hdf5": 0.03, "tflite": 0.12, "rtneural": 0.08}
EACH_FORMAT = [
    pytest.param(name, marks=pytest.mark.skipif(name not in available(), reason=f"needs {package}"))
    for name, package in NEEDS.items()
]


def assert_clean(outcome: run.Outcome) -> None:
    assert not outcome.findings, f"{len(outcome.findings)} findings\n" + "\n".join(outcome.findings)


@pytest.mark.parametrize("format_name", EACH_FORMAT)
def test_good_files_are_read(format_name: str, tmp_path: Path) -> None:
    """What the others are made from; those of Keras by the process that is started for each."""
    for good in good_files(format_name):
        path = tmp_path / good.file
        path.write_bytes(good.content)
        net = lstm.load(path, **good.options)
        assert np.isfinite(net.forward_sequence(np.ones((2, net.input_size)))).all()


@pytest.mark.parametrize("format_name", EACH_FORMAT)
def test_malformed_files(format_name: str) -> None:
    count = len(cases(format_name))
    assert count >= 70
    outcome = run.run("cases", format_name, count)
    assert_clean(outcome)
    assert (outcome.refused, outcome.read) == (count, 0)


@pytest.mark.skipif("hdf5" not in available(), reason="needs h5py")
def test_malformed_files_of_keras_in_the_process_that_is_started(tmp_path: Path) -> None:
    """Every fortieth; the others are read in one that is forked."""
    for number, case in enumerate(cases("hdf5")[::40]):
        path = case.write(tmp_path / str(number))
        with pytest.raises(lstm.FormatError) as caught:
            lstm.load(path, **case.options)
        for word in (str(path), *case.words):
            assert word in str(caught.value), case.name


@pytest.mark.parametrize("format_name", EACH_FORMAT)
def test_mutations(format_name: str, fuzz: int) -> None:
    """The number in a finding is the seed of `malformed.mutation.mutated`."""
    count = round(fuzz * SHARES[format_name])
    outcome = run.run("mutations", format_name, count)
    assert_clean(outcome)
    assert outcome.refused + outcome.read == count
    # Some damage is harmless; where all or nothing is, the loader is hardly tried.
    assert outcome.refused > count / 3
    assert outcome.read > count / 100


def test_shares_are_whole() -> None:
    assert SHARES.keys() == NEEDS.keys()
    assert abs(sum(SHARES.values()) - 1) < 1e-9


@pytest.mark.parametrize("format_name", EACH_FORMAT)
def test_a_seed_names_a_mutation(format_name: str) -> None:
    made = [mutated(format_name, seed) for seed in range(40)]
    assert made == [mutated(format_name, seed) for seed in range(40)]
    originals = {good.content for good in module_of(format_name).good_files()}
    assert len({good.content for good in made} - originals) > 30


def test_the_run_tells_of_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each by the number of its file, and goes on after a crash."""
    monkeypatch.setattr(run, "STUCK", 5.0)
    faults = dict(faults_files.FAULTS)
    outcome = run.run("cases", "faults", len(faults))
    found = {int(text.split(":")[0].split()[2]): text for text in outcome.findings}
    if run.IS_SANITIZED:  # which takes time and memory of its own
        faults |= {"memory": "", "slow": "", "slow process": ""}
    for number, (name, told) in enumerate(faults.items()):
        assert (number in found) == (told != ""), name
        assert told in found.get(number, ""), name

"""The package: docstrings, the ISA in use, what it imports, its public names."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import EACH_ISA

import lstm
from lstm import FormatError, _kernel


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    facts = lstm.show_config("dict")
    assert facts["isa"] == _kernel.DEFAULT_ISA
    assert facts["isas"] == list(_kernel.SUPPORTED_ISAS)
    assert facts["isa"] in facts["isas"]
    assert (facts["lstm"], facts["numpy"]) == (lstm.__version__, np.__version__)
    assert facts["threads"] >= 1
    json.dumps(facts)
    assert capsys.readouterr().out == ""
    assert lstm.show_config() is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(facts)
    assert f"isa     {facts['isa']}" in lines
    assert f"isas    {', '.join(facts['isas'])}" in lines


@pytest.mark.parametrize("mode", ["dicts", None, 3])
def test_show_config_in_an_unknown_mode(mode: Any) -> None:
    with pytest.raises(ValueError, match="mode"):
        lstm.show_config(mode)


OPTIONAL = (
    ("lstm.torch", "torch"),
    ("lstm.sklearn", "sklearn"),
    ("lstm.arrow", "pyarrow"),
    ("lstm.dask", "distributed"),
)  # modules that need a library, and which

MODULES = [
    "lstm",
    *(
        module.name
        for module in pkgutil.walk_packages(lstm.__path__, "lstm.")
        if module.name not in ("lstm._kernel.kernel", "lstm.__main__")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    if name.startswith("lstm.plot"):
        pytest.importorskip("matplotlib").use("Agg")
    for start, library in OPTIONAL:
        if name.startswith(start):
            pytest.importorskip(library)
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
    if name in (
        "lstm",
        "lstm.model",
        "lstm.stream",
        "lstm.config",
        "lstm.files",
        "lstm.tape",
        "lstm.threads",
        "lstm.gradient_check",
    ):
        assert found.attempted > 0


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter that imports the lstm that this one has."""
    folder = str(Path(lstm.__file__).parent.parent)
    kept = {name: value for name, value in os.environ.items() if name != "LSTM_ISA"}
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**kept, "PYTHONPATH": folder, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_lstm_sklearn_names_its_extra() -> None:
    done = run_python("import sys, lstm; sys.modules['sklearn'] = None; import lstm.sklearn")
    assert 'ImportError: lstm.sklearn needs scikit-learn: pip install "lstm-native[sklearn]"' in done.stderr
    old = "types.SimpleNamespace(__version__='1.5.2')"
    done = run_python(f"import sys, types; sys.modules['sklearn'] = {old}; import lstm.sklearn")
    assert "ImportError: lstm.sklearn needs scikit-learn 1.6 or later, but 1.5.2 is installed" in done.stderr


def test_lstm_torch_names_its_extra() -> None:
    """Where PyTorch is missing, or older than what it needs; `lstm` itself does without."""
    done = run_python("import sys, lstm; sys.modules['torch'] = None; import lstm.torch")
    assert 'ImportError: lstm.torch needs PyTorch: pip install "lstm-native[torch]"' in done.stderr
    old = "types.SimpleNamespace(__version__='2.3', library=None)"
    done = run_python(f"import sys, types; sys.modules['torch'] = {old}; import lstm.torch")
    assert "ImportError: lstm.torch needs PyTorch 2.4 or later, but 2.3 is installed" in done.stderr


@pytest.mark.parametrize("isa", EACH_ISA)
def test_an_isa_can_be_forced(isa: str) -> None:
    done = run_python(
        "import lstm, numpy as np; net = lstm.LSTM(3, 5); net.forward_sequence(np.ones((2, 3)));"
        "print(lstm.show_config('dict')['isa'], net.core.cells[0].isa)",
        LSTM_ISA=isa,
    )
    assert (done.stdout, done.stderr) == (f"{isa} {isa}\n", "")


def test_the_best_isa_is_the_default() -> None:
    for environment in ({}, {"LSTM_ISA": ""}):
        done = run_python("import lstm; print(lstm.show_config('dict')['isa'])", **environment)
        assert (done.stdout, done.stderr) == (f"{_kernel.SUPPORTED_ISAS[-1]}\n", "")


@pytest.mark.parametrize("isa", ["sse9", "AVX2", " avx2", "0"])
def test_an_unknown_isa_raises(isa: str) -> None:
    done = run_python("import lstm", LSTM_ISA=isa)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ValueError: ")
    assert "LSTM_ISA" in message
    assert repr(isa) in message
    for supported in _kernel.SUPPORTED_ISAS:
        assert supported in message


def test_a_source_tree_that_was_never_built_says_how_to_build_it(tmp_path: Path) -> None:
    source = Path(lstm.__file__).parent
    shutil.copytree(
        source, tmp_path / "lstm", ignore=shutil.ignore_patterns("*.so", "*.pyd", "*.c", "__pycache__")
    )
    # An editable install's finder would look for the kernel in the built tree.
    code = (
        "import sys, importlib.machinery as m;"
        "sys.meta_path[:] = [m.BuiltinImporter, m.FrozenImporter, m.PathFinder];"
        "import lstm"
    )
    done = run_python(code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    for part in ("not been built", "pip install .", "pip install -e ."):
        assert part in message


def test_importing_takes_numpy_alone() -> None:
    """Nor does using it: no PyTorch, ONNX, Keras or plotting is imported."""
    code = (
        "import sys, pickle; import numpy, numpy.random; before = set(sys.modules); import lstm;"
        "net = lstm.LSTM(3, 5); net.forward_sequence(numpy.ones((2, 3))); pickle.dumps(net);"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "new = {name for name in new if 'cython' not in name};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'lstm', 'numpy'}))"
    )
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("change", ["del sys.argv", "sys.argv = None", "sys.argv = []"])
def test_importing_needs_no_command_line(change: str) -> None:
    """Programs that embed Python may have none."""
    done = run_python(f"import sys; {change}; import lstm; print(lstm.LSTM(3, 5).hidden_size)")
    assert (done.stdout, done.stderr) == ("5\n", "")


def test_the_public_names() -> None:
    classes = {"LSTM", "FormatError", "FormatWarning", "Gradients", "Stream", "Tape"}
    functions = {"check_gradients", "load", "release_memory", "show_config", "tensors"}
    functions |= {"get_num_threads", "set_num_threads"}
    assert set(lstm.__all__) == {*classes, *functions, "__version__"}
    for name in lstm.__all__:
        assert hasattr(lstm, name)
    assert issubclass(FormatError, ValueError)
    assert issubclass(lstm.FormatWarning, UserWarning)

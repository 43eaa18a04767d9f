"""What a loader has made is freed when it returns, not by the collector of circles, which runs late.

An .onnx model was held by the traceback of an error that it had kept, up to 2.6 MB of small models together,
or the whole of a large one.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import no_collection

import lstm
from lstm import LSTM, FormatError
from lstm.formats import format_of

pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL objects are freed later"
)
DATA = Path(__file__).parents[1] / "data"
PACKAGES = {"onnx": "onnx", "keras": "h5py", "tflite": "tflite"}
# Each of Keras starts a process.
FILES = [
    *sorted(DATA.glob("onnx/*.onnx")),
    *sorted(DATA.glob("tflite/*.tflite")),
    *(DATA / "keras" / name for name in ("bidirectional.h5", "nested.keras", "plain.weights.h5")),
]
ENDINGS = {".npz": "numpy", ".safetensors": "safetensors", ".onnx": "onnx"}


def in_circles(call: Callable[[], Any]) -> list[str]:
    """The types of what a call leaves to the collector; that it may raise FormatError is not looked at."""
    with contextlib.suppress(FormatError):
        call()  # what is imported and cached once does not count
    with no_collection():
        gc.freeze()  # what a long run has made: it takes seconds to look through, and has garbage of its own
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            with contextlib.suppress(FormatError):
                call()
            gc.collect()
            return [type(one).__name__ for one in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.unfreeze()


def test_circles_are_seen() -> None:
    def make() -> None:
        circle: list[Any] = []
        circle.append(circle)

    assert in_circles(make) == ["list"]


@pytest.mark.filterwarnings("ignore::lstm.FormatWarning")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_models_of_frameworks(path: Path) -> None:
    if util.find_spec(PACKAGES[path.parent.name]) is None:
        pytest.skip(f"needs {PACKAGES[path.parent.name]}")
    module = import_module(f"lstm.formats.{format_of(path).module_name}")
    assert not in_circles(lambda: lstm.load(path))
    assert not in_circles(lambda: lstm.tensors(path))
    for name in ("names", "nodes", "notes"):
        if hasattr(module, name):
            assert not in_circles(lambda name=name: getattr(module, name)(str(path)))  # type: ignore[misc]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "peephole": True}])
def test_own_files(tmp_path: Path, ending: str, options: dict[str, Any]) -> None:
    """Whole ones, whose states an .onnx model computes, and ones that are cut short."""
    pytest.importorskip(ENDINGS[ending])
    net = LSTM(3, 5, rng=0, dtype=np.float32, **options)
    path = tmp_path / f"net{ending}"
    assert not in_circles(lambda: net.save(path))
    assert not in_circles(lambda: lstm.load(path))
    path.write_bytes(path.read_bytes()[:-20])
    assert not in_circles(lambda: lstm.load(path))


def test_an_onnx_model_without_an_opset(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    LSTM(3, 5, rng=0).save(path)
    model = onnx.load(path)
    del model.opset_import[:]
    onnx.save(model, path)
    assert not in_circles(lambda: lstm.load(path))

"""The contestants of `peers.py --precision`: small weights of this package and what others have like them.

Imported by peers.py, whose functions they take. Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm import LSTM

Call = Callable[[], Any]


class Makers(NamedTuple):
    """The functions of peers.py that make the calls of full weights."""

    ours: Callable[[LSTM, np.ndarray, Any], Call]
    onnx_model: Callable[[LSTM, Any], Any]
    onnx_feed: Callable[[np.ndarray, Any], dict[str, np.ndarray]]
    threads: int


def contestants(precision: str, makers: Makers) -> dict[str, Callable[[LSTM, np.ndarray, Any], Call]]:
    """Those of a precision, ours first, then ours in float32: each takes the float32 net."""

    def small(net: LSTM, X: np.ndarray, case: Any) -> Call:
        return makers.ours(net.quantize(precision), X, case)

    def pytorch(net: LSTM, X: np.ndarray, case: Any) -> Call:
        return pytorch_call(net, X, case, precision, makers.threads)

    def onnxruntime(is_per_row: bool) -> Callable[[LSTM, np.ndarray, Any], Call]:
        return lambda net, X, case: onnxruntime_call(net, X, case, makers, is_per_row)

    def openvino(net: LSTM, X: np.ndarray, case: Any) -> Call:
        return openvino_call(net, X, case, makers, {"bfloat16": "bf16", "float16": "f16"}[precision])

    found = {"lstm": small, "lstm float32": makers.ours, "pytorch": pytorch}
    if precision == "int8":
        return {**found, "onnxruntime": onnxruntime(False), "ort, per row": onnxruntime(True)}
    return {**found, "openvino": openvino}


def pytorch_call(net: LSTM, X: np.ndarray, case: Any, precision: str, threads: int) -> Call:
    """nn.LSTM of bfloat16; in int8 and float16 what quantize_dynamic makes of it."""
    import torch

    torch.set_num_threads(threads)
    module: Any = torch.nn.Sequential(net.to_torch())
    module[0].batch_first = False
    x = torch.from_numpy(np.ascontiguousarray(X.swapaxes(0, 1)))
    if precision == "bfloat16":
        module, x = module.to(torch.bfloat16), x.to(torch.bfloat16)
    else:
        dtype = torch.qint8 if precision == "int8" else torch.float16
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.ao.quantization.quantize_dynamic(module, {torch.nn.LSTM}, dtype=dtype)

    def run() -> Any:
        with torch.inference_mode():
            return module(x)[0].float().numpy().swapaxes(0, 1)

    return run


def onnxruntime_call(net: LSTM, X: np.ndarray, case: Any, makers: Makers, is_per_row: bool) -> Call:
    """What quantize_dynamic makes of one LSTM node a layer, weights of one scale a tensor or one a row."""
    import onnxruntime as ort
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = makers.threads, 1
    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder, "full.onnx"), Path(folder, "small.onnx")
        full.write_bytes(makers.onnx_model(net, case).SerializeToString())
        logging.disable(logging.WARNING)  # it advises a step that changes nothing here
        quantize_dynamic(full, small, weight_type=QuantType.QInt8, per_channel=is_per_row)
        logging.disable(logging.NOTSET)
        session = ort.InferenceSession(small.read_bytes(), options, providers=["CPUExecutionProvider"])
    feed = makers.onnx_feed(X, case)
    return lambda: session.run(None, feed)[0].swapaxes(0, 1)


def openvino_call(net: LSTM, X: np.ndarray, case: Any, makers: Makers, hint: str) -> Call:
    """The float32 model with a hint to compute in 16 bits."""
    import openvino as ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": makers.threads,
    }
    model = core.read_model(makers.onnx_model(net, case).SerializeToString())
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    feed = makers.onnx_feed(X, case)
    return lambda: request.infer(feed, share_inputs=True, share_outputs=True)[0].swapaxes(0, 1)


def errors(calls: dict[str, Call], net: LSTM, X: np.ndarray) -> dict[str, float]:
    """Root mean square of what each contestant is off from float64, ours from a sequence at once."""
    exact = LSTM.from_state_dict(net.state_dict(), dtype=np.float64).forward_sequence(X)
    return {
        name: float(np.sqrt(np.square(np.asarray(call(), np.float64).reshape(exact.shape) - exact).mean()))
        for name, call in calls.items()
    }


def can_run(case: Any) -> bool:
    """Whether all contestants have it: one layer and direction of a plain LSTM, all rows as long."""
    variants = case.bidirectional, case.proj_size, case.peephole, case.mixed_lengths, case.num_layers > 1
    return not any(variants)

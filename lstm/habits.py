"""What users of other libraries write, and what they find here instead."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

ACTIVATIONS = 'write activations=("Sigmoid", "Tanh", "Tanh"): of gates, candidate and cell output'

# Arguments of the LSTMs of PyTorch, Keras and others.
INSTEAD = {
    "batch_first": "X is (batch, time, features), as with batch_first=True; for X of (time, batch, features) "
    "write net.forward_sequence(X.swapaxes(0, 1))",
    "time_major": "X is (batch, time, features); for X of (time, batch, features) write "
    "net.forward_sequence(X.swapaxes(0, 1))",
    "dropout": "it acts in training alone: write net.record(X, dropout=0.2), or input_dropout= for Keras's",
    "recurrent_dropout": "it acts in training alone: write net.record(X, recurrent_dropout=0.2)",
    "return_sequences": "net.forward_sequence(X) gives all steps, net.forward_sequences(X, last=True) one",
    "return_state": "write net.forward_sequence(X, return_state=True)",
    "stateful": "write stream = net.stream(), which keeps its state from call to call",
    "go_backwards": "write reverse=True",
    "units": "write LSTM(input_size, units)",
    "input_shape": "write LSTM(input_size, hidden_size)",
    "use_bias": "write bias=",
    "activation": ACTIVATIONS,
    "recurrent_activation": ACTIVATIONS,
    "merge_mode": "write merge=",
    "use_peepholes": "write peephole=True",
    "num_proj": "write proj_size=",
    "seed": "write rng=",
    "random_state": "write rng=",
    "device": "an LSTM runs on the CPU",
}


def answered(init: Function) -> Function:
    """`init` of the class, whose errors for arguments of other libraries say what to write instead."""

    @functools.wraps(init)
    def wrapped(self: Any, *arguments: Any, **options: Any) -> None:
        if len(arguments) > 3:
            raise TypeError(
                f"LSTM takes input_size, hidden_size and num_layers by position, but got {len(arguments)} "
                "arguments; name the others, such as bidirectional=True"
            )
        for name in options:
            if name in INSTEAD:
                raise TypeError(f"LSTM has no argument {name}: {INSTEAD[name]}")
        init(self, *arguments, **options)

    return wrapped  # type: ignore[return-value]


def refuse_call() -> NoReturn:
    """TypeError for a net that is called; frameworks differ in what that gives."""
    raise TypeError(
        "a net is not called: write Y = net.forward_sequence(X), with its states Y, (h, C) = "
        "net.forward_sequence(X, return_state=True)"
    )


def refuse_missing_states() -> NoReturn:
    """TypeError for `forward` without states."""
    raise TypeError(
        "forward computes one time step and takes its states: h, C = net.forward(x, h_prev, C_prev); for all "
        "steps of a sequence write net.forward_sequence(X)"
    )

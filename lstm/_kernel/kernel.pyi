"""Types of the compiled kernel; the docstrings are in kernel.pyx."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar, final

import numpy as np

_T = TypeVar("_T")

KNOWN_ISAS: tuple[str, ...]
SUPPORTED_ISAS: tuple[str, ...]
DEFAULT_ISA: str
MOST_THREADS: int
DTYPES: tuple[str, str]

@final
class PackedWeights:
    input: np.ndarray
    hidden: np.ndarray
    bias: np.ndarray
    peephole: np.ndarray | None
    projection: np.ndarray | None
    isa: str
    input_size: int
    hidden_size: int
    state_size: int
    is_double: bool
    precision: str | None
    input_scales: np.ndarray | None
    hidden_scales: np.ndarray | None
    nbytes: int
    def __new__(
        cls,
        input: np.ndarray,
        hidden: np.ndarray,
        bias: np.ndarray,
        sizes: tuple[int, int, int],
        isa: str,
        peephole: np.ndarray | None = ...,
        projection: np.ndarray | None = ...,
        options: object = ...,
        precision: str | None = ...,
        scales: tuple[np.ndarray | None, np.ndarray | None] = ...,
        bounds_hidden: bool = ...,
    ) -> PackedWeights: ...
    def choose_products(self, name: str) -> None: ...
    def new_record(self, rows: int, time: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
    def __reduce__(self) -> NoReturn: ...

def int8_sets(isa: str) -> dict[str, tuple[int, int, int]]: ...
def threads() -> int: ...
def choose_threads(count: int, is_wish: bool) -> tuple[int, bool]: ...
def share_grains(work: int, is_stubborn: bool = ...) -> int: ...
def lanes(isa: str, dtype: str) -> int: ...
def tile_limits(isa: str, dtype: str) -> tuple[int, int, int]: ...
def release_scratch() -> int: ...
def release_blocks() -> int: ...
def recycled(shape: tuple[int, ...], dtype: np.dtype[Any], clear: bool = ...) -> np.ndarray: ...
def floating_point_mode() -> int: ...
def enter_default_mode() -> int: ...
def restore_mode(found: int) -> None: ...
def pack_matrix(matrix: np.ndarray, packed: np.ndarray, isa: str) -> None: ...
def forward_sequence(
    weights: PackedWeights,
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    Y: np.ndarray | None,
    lengths: np.ndarray | None = ...,
    reverse: bool = ...,
    trace: np.ndarray | None = ...,
    record: tuple[np.ndarray, np.ndarray, np.ndarray] | None = ...,
    recurrent: np.ndarray | None = ...,
) -> None: ...
def forward_sequences(calls: list[tuple[object, ...]], is_chain: bool = ...) -> None: ...
def backward_sequences(calls: list[tuple[object, ...]]) -> None: ...
def shares(cells: object, rows: int, time: int, is_chain: bool) -> bool: ...
def merge_directions(outputs: np.ndarray, backward: np.ndarray, merge: str) -> None: ...
def adam(
    values: np.ndarray,
    gradient: np.ndarray,
    moments: np.ndarray,
    keep: float,
    beta1_rest: float,
    beta2_rest: float,
    square_scale: float,
    epsilon: float,
    rate: float,
) -> None: ...
def add_products(input: np.ndarray, weights: np.ndarray, sums: np.ndarray, isa: str = ...) -> None: ...
def everyday_step(
    cells: object, x: object, h_prev: object, C_prev: object
) -> tuple[np.ndarray, np.ndarray] | None: ...
def everyday_sequence(
    cells: object, X: object, h0: object, C0: object, out: object, reverse: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None: ...
def everyday_record(
    cells: object,
    X: object,
    h0: object,
    C0: object,
    reverse: bool,
    storage: tuple[object, ...] | None = ...,
    copies: bool = ...,
) -> tuple[tuple[Any, ...], np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None: ...
def everyday_backward(
    cells: object,
    storage: tuple[object, ...],
    h0: np.ndarray,
    dY: object,
    dh_n: object,
    dC_n: object,
    batched: bool,
    inputs: bool,
    sums: object,
    reverse: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray] | None: ...

@final
class Prepared: ...

@final
class Edition:
    def prepare(self, cells: object) -> tuple[int, list[Prepared]]: ...
    def advance(self, prepared: tuple[int, list[Prepared]]) -> None: ...

@final
class StepScratch:
    def __new__(cls, net: object, h: np.ndarray, C: np.ndarray, single: bool) -> StepScratch: ...
    def step(self, x: object, out: object) -> np.ndarray | None: ...
    def run(self, X: object, out: object) -> np.ndarray | None: ...
    def alone(self, function: Callable[..., _T], *arguments: object) -> _T: ...
    def native(self) -> tuple[int, int, int] | None: ...
    def __reduce__(self) -> NoReturn: ...

def sigmoid(x: np.ndarray, y: np.ndarray, isa: str = ...) -> None: ...
def tanh(x: np.ndarray, y: np.ndarray, isa: str = ...) -> None: ...
def gates_tile(
    input: np.ndarray, weights: np.ndarray, start: np.ndarray, sums: np.ndarray, isa: str = ...
) -> None: ...
def step_tile(
    input: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    cell: np.ndarray,
    hidden: np.ndarray,
    output: np.ndarray | None = ...,
    isa: str = ...,
) -> None: ...
def row_limits(isa: str, dtype: str) -> tuple[int, bool]: ...
def row_steps(
    is_net: bool,
    weights: np.ndarray,
    start: np.ndarray,
    cell: np.ndarray,
    hidden: np.ndarray,
    output: np.ndarray | None = ...,
    x: np.ndarray | None = ...,
    x_weights: np.ndarray | None = ...,
    forward: bool = ...,
    isa: str = ...,
) -> None: ...
def quantize_row(x: np.ndarray, least: float, integers: np.ndarray, isa: str, name: str) -> float: ...
def int8_tile(arrays: Iterable[np.ndarray], sums: np.ndarray, isa: str, name: str) -> None: ...
def has_int8_row(isa: str, name: str) -> bool: ...
def int8_row_steps(
    arrays: Iterable[np.ndarray],
    states: Iterable[np.ndarray],
    output: np.ndarray | None,
    depth: int,
    forward: bool,
    isa: str,
    name: str,
) -> None: ...

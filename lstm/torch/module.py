"""The module: nn.LSTM's arguments, parameters and results, computed by this package.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of an output step, L layers,
D directions.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from . import checks, operators, passes
from .call import BATCH_FIRST, SINGLE, TIME_FIRST, Call
from .function import sequence

# Of the modules whose weights are not being trained. Kept here, so that copies and pickles hold none of it.
_packed: WeakKeyDictionary[Any, passes.Packed] = WeakKeyDictionary()


class LSTM(torch.nn.LSTM):  # type: ignore[misc]
    """A drop-in for `torch.nn.LSTM` that computes on the CPU with this package.

    Arguments, names and shapes of parameters, and results are those of `torch.nn.LSTM`: state dicts go both
    ways. The weights are read from the module's tensors at every call. Gradients are computed only of what
    requires them, and nothing is kept for them where none does or under `torch.no_grad`.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of X and of C.
    num_layers : int
        Layers; each takes the outputs of the one before.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether X and Y are (B, T, ...) and not (T, B, ...).
    dropout : float
        In training mode, the probability with which an output of a layer is dropped on its way to the next
        one. It is drawn from PyTorch's generator, as `torch.nn.LSTM` draws it: the same seed drops the same.
    bidirectional : bool
        Whether every layer runs in both directions.
    proj_size : int
        Features of h if they are to be fewer than those of C; 0 for no projection.
    device : torch.device or str, optional
        The CPU; or "meta" for a module whose parameters get memory later.
    dtype : torch.dtype, optional
        float32 or float64; PyTorch's default dtype if not given.

    Raises
    ------
    ValueError
        If the device is another one, or a size is none.
    TypeError
        If the dtype is another one.

    Notes
    -----
    Second derivatives and forward-mode ones raise NotImplementedError. Under autocast, narrower inputs are
    widened, and results have the parameters' dtype. The results share no memory with the inputs.

    Examples
    --------
    >>> import torch, lstm.torch
    >>> module = lstm.torch.LSTM(3, 5, batch_first=True)
    >>> Y, (h_n, C_n) = module(torch.ones(8, 20, 3))
    >>> Y.shape, h_n.shape
    (torch.Size([8, 20, 5]), torch.Size([1, 8, 5]))
    >>> Y.sum().backward()
    >>> module.weight_hh_l0.grad.shape
    torch.Size([20, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        checks.check_placement(device, dtype)
        super().__init__(
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """Compute all time steps.

        Parameters
        ----------
        input : torch.Tensor or PackedSequence
            X (T, B, I), with `batch_first` (B, T, I), of one sequence (T, I).
        hx : tuple of torch.Tensor, optional
            h0 (L D, B, O) and C0 (L D, B, H), of one sequence without B; zeros if not given.
        lengths : array_like of int, optional
            Steps of every row of a padded batch, (B,), each from 0 to T. What is past a row's length is not
            read, NaN included; outputs there and gradients of X there are zero, the states are those of the
            row's last step, and a reverse direction starts at it.

        Returns
        -------
        Y : torch.Tensor or PackedSequence
            h of every step, (T, B, K), (B, T, K) or (T, K).
        (h_n, C_n) : tuple of torch.Tensor
            The states after the last step, in the shapes of h0 and C0.

        Raises
        ------
        ValueError
            If a shape or a length does not fit, or a tensor is not on the CPU.
        TypeError
            If a dtype is not that of the parameters, theirs is not float32 or float64, or an argument is of
            another type.

        Examples
        --------
        >>> import torch, lstm.torch
        >>> module = lstm.torch.LSTM(3, 5, batch_first=True)
        >>> Y, (h_n, C_n) = module(torch.ones(2, 20, 3), lengths=[20, 7])
        >>> bool((Y[1, 7:] == 0).all())
        True
        """
        if "torch._dynamo" in sys.modules and not torch.compiler.is_compiling():
            results: tuple[Any, tuple[Any, Any]] = _unseen()(self, input, hx, lengths)
            return results
        return self._compute(input, hx, lengths)

    def _compute(self, input: Any, hx: Any, lengths: Any) -> tuple[Any, tuple[Any, Any]]:
        """As `forward`."""
        if isinstance(input, PackedSequence):
            return self._of_packed(input, hx, lengths)
        checks.check_tensor("input", input)
        if input.dim() == 2:
            return self._of_padded(input, hx, lengths, SINGLE)
        if input.dim() != 3:
            raise ValueError(
                f"input has shape {tuple(input.shape)}, but must have 3 dimensions, or 2 for one sequence"
            )
        return self._of_padded(input, hx, lengths, BATCH_FIRST if self.batch_first else TIME_FIRST)

    def _of_packed(self, packed: Any, hx: Any, lengths: Any) -> tuple[Any, tuple[Any, Any]]:
        """The rows stay in the order of the pack, which is by length."""
        if lengths is not None:
            raise ValueError("lengths is given, but input is a PackedSequence, which has its own")
        data, batch_sizes, order, original_order = packed
        X, steps = pad_packed_sequence(PackedSequence(data, batch_sizes), batch_first=True)
        if hx is not None:
            h0, C0 = checks.pair(hx)
            hx = self.permute_hidden((h0, C0), order)
        Y, states = self._of_padded(X, hx, steps, BATCH_FIRST, batch_sizes)
        Y = pack_padded_sequence(Y, steps, batch_first=True)
        return (
            PackedSequence(Y.data, batch_sizes, order, original_order),
            self.permute_hidden(states, original_order),
        )

    def _of_padded(
        self, X: Any, hx: Any, lengths: Any, form: str, batch_sizes: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """X in a form, rows of these lengths; `batch_sizes` is of the pack it was, if it was one."""
        weights = self._weights()
        dtype = checks.common_dtype(self._flat_weights_names, weights)
        h0, C0 = (None, None) if hx is None else checks.pair(hx)
        if torch.is_autocast_enabled("cpu"):
            X, h0, C0 = (checks.widened(one, dtype) for one in (X, h0, C0))
        checks.check_input(X, self.input_size, dtype)
        rows = 1 if form == SINGLE else X.shape[form == TIME_FIRST]
        time = X.shape[form == BATCH_FIRST]
        if hx is not None:
            front = (self._cells,) if form == SINGLE else (self._cells, rows)
            checks.check_state("h0", h0, (*front, self._state_size), dtype)
            checks.check_state("C0", C0, (*front, self.hidden_size), dtype)
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(X) not in checks.PLAIN:
            kept = self._kept(rows, time, dtype, batch_sizes)
            return self._trace(X, h0, C0, weights, lengths, kept, form)
        plan = passes.layout(
            self.input_size, self.hidden_size, self.num_layers, self.bidirectional, self.proj_size, self.bias
        )
        checks.check_shapes(plan, weights)
        steps = checks.checked_lengths(lengths, None if form == SINGLE else rows, time)
        kept = [one.numpy() for one in self._kept(rows, time, dtype, batch_sizes)]
        call = Call(plan, form, steps, self.dropout, kept, *self._wanted(X, h0, C0, weights))
        Y, h_n, C_n = sequence(call, X, h0, C0, *weights)
        return Y, (h_n, C_n)

    @property
    def _cells(self) -> int:
        """L D."""
        return int(self.num_layers * (2 if self.bidirectional else 1))

    @property
    def _state_size(self) -> int:
        """O."""
        return int(self.proj_size or self.hidden_size)

    def _weights(self) -> list[Any]:
        """The weights as they are now: parameters, or what a hook or a parametrization made of them."""
        return [getattr(self, name) for name in self._flat_weights_names]

    def _wanted(self, X: Any, h0: Any, C0: Any, weights: list[Any]) -> tuple[bool, passes.Packed | None]:
        """Whether gradients may be asked for, and where the net is if they are not of the weights."""
        if torch.is_grad_enabled():
            if any(one.requires_grad for one in weights):
                _packed.pop(self, None)
                return True, None
            keeps = any(one is not None and one.requires_grad for one in (X, h0, C0))
        else:
            keeps = False
        packed = _packed.get(self)
        return keeps, _packed.setdefault(self, passes.Packed()) if packed is None else packed

    def _kept(self, rows: int, time: int, dtype: Any, batch_sizes: Any) -> list[Any]:
        """Masks (B, T, K) of bool between the layers: none if nothing is dropped.

        They are drawn as nn.LSTM draws them, step by step for all rows that a pack has there.
        """
        if not self.training or self.dropout == 0:
            return []
        size = self._state_size * (2 if self.bidirectional else 1)
        masks = []
        for _ in range(self.num_layers - 1):
            if batch_sizes is None:
                kept = _draw((time, rows, size), self.dropout, dtype)
            else:
                within = torch.arange(rows) < batch_sizes[:, None]
                kept = torch.zeros((time, rows, size), dtype=torch.bool)
                kept[within] = _draw((int(batch_sizes.sum()), size), self.dropout, dtype)
            masks.append(kept.transpose(0, 1))
        return masks

    def _trace(
        self, X: Any, h0: Any, C0: Any, weights: list[Any], lengths: Any, kept: list[Any], form: str
    ) -> tuple[Any, tuple[Any, Any]]:
        """A call whose tensors may have no values yet, as an operator of PyTorch."""
        if lengths is not None and form == SINGLE:
            raise ValueError("lengths is given, but input is a single sequence")
        if form != BATCH_FIRST:
            X = X.unsqueeze(0) if form == SINGLE else X.transpose(0, 1)
        if h0 is None or C0 is None:
            h0 = X.new_zeros((self._cells, X.shape[0], self._state_size))
            C0 = X.new_zeros((self._cells, X.shape[0], self.hidden_size))
        elif form == SINGLE:
            h0, C0 = h0.unsqueeze(1), C0.unsqueeze(1)
        lengths = None if lengths is None else torch.as_tensor(lengths)
        Y, h_n, C_n = operators.sequence(
            X,
            h0,
            C0,
            weights,
            lengths,
            kept,
            float(self.dropout),
            self.num_layers,
            self.bidirectional,
            self.bias,
        )
        if form == SINGLE:
            return Y.squeeze(0), (h_n.squeeze(1), C_n.squeeze(1))
        return (Y.transpose(0, 1).contiguous() if form == TIME_FIRST else Y), (h_n, C_n)


@cache
def _unseen() -> Any:
    """`LSTM._compute` for a call that torch.compile left out of its graph: it is not to look into it."""
    return torch.compiler.disable(LSTM._compute)


def _draw(shape: tuple[int, ...], rate: float, dtype: Any) -> Any:
    """What is kept, of bool, from PyTorch's generator; nothing is drawn if all is dropped."""
    if rate == 1:
        return torch.zeros(shape, dtype=torch.bool)
    return torch.empty(shape, dtype=dtype).bernoulli_(1 - rate) != 0

"""lstm.torch.LSTM gives nn.LSTM's results and gradients, for every option and form of input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch_pairs import INPUT, OPTIONS, B, H, T, assert_close, assert_same_results, inputs, pair, plain_call

import lstm.torch
from lstm import LSTM


# PyTorch's own remark about its speed.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_results_and_gradients(options: dict[str, Any], dtype: Any) -> None:
    """With dropout too: the same seed drops the same."""
    theirs, ours = pair(dtype, **options)
    assert_same_results(plain_call, inputs(theirs), theirs, ours)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_one_sequence(options: dict[str, Any]) -> None:
    theirs, ours = pair(**options)
    assert_same_results(plain_call, inputs(theirs, rows=None), theirs, ours)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_without_states_and_without_gradients(options: dict[str, Any]) -> None:
    theirs, ours = pair(**options)
    for rows in (B, None):
        X = inputs(theirs, rows)[0]
        for train in (True, False):
            with torch.no_grad():
                torch.manual_seed(3)
                Y, (h_n, C_n) = theirs.train(train)(X)
                torch.manual_seed(3)
                found, states = ours.train(train)(X)
            assert_close(found, Y)
            assert_close(states[0], h_n)
            assert_close(states[1], C_n)
            assert not found.requires_grad


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_packed_sequences(options: dict[str, Any], enforce_sorted: bool) -> None:
    theirs, ours = pair(**options)
    lengths = [7, 5, 5, 1] if enforce_sorted else [1, 7, 5, 5]

    def call(module: Any, X: Any, h0: Any, C0: Any) -> tuple[Any, Any, Any]:
        packed = pack_padded_sequence(X, lengths, module.batch_first, enforce_sorted)
        torch.manual_seed(11)
        Y, (h_n, C_n) = module(packed, (h0, C0))
        assert isinstance(Y, PackedSequence)
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            mine, given = getattr(Y, name), getattr(packed, name)
            assert (mine is None and given is None) or torch.equal(mine, given)
        padded, _ = pad_packed_sequence(Y, module.batch_first)
        torch.manual_seed(12)
        without, _ = module(packed)
        return torch.cat([padded, pad_packed_sequence(without, module.batch_first)[0]]), h_n, C_n

    assert_same_results(call, inputs(theirs), theirs, ours)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_lengths_are_those_of_a_pack(options: dict[str, Any]) -> None:
    theirs, ours = pair(**{**options, "dropout": 0.0})
    lengths = [5, 7, 1, 4]

    def call(module: Any, X: Any, h0: Any, C0: Any) -> tuple[Any, Any, Any]:
        if isinstance(module, lstm.torch.LSTM):
            Y, states = module(X, (h0, C0), lengths=torch.tensor(lengths))
            for form in (list, np.array, torch.IntTensor):
                assert torch.equal(module(X, (h0, C0), lengths=form(lengths))[0], Y)
        else:
            packed = pack_padded_sequence(X, lengths, module.batch_first, enforce_sorted=False)
            Y, states = module(packed, (h0, C0))
            Y = pad_packed_sequence(Y, module.batch_first)[0]
        return (Y, *states)

    assert_same_results(call, inputs(theirs), theirs, ours)


def test_padding_takes_no_part() -> None:
    """NaN in it, in X and in the gradient of Y, reaches nothing; a length may be 0."""
    _, ours = pair(num_layers=2, bidirectional=True, batch_first=True)
    X, h0, C0 = inputs(ours)
    lengths = [5, 0, 7, 2]
    past = torch.arange(T) >= torch.tensor(lengths)[:, None]

    def run(filling: float) -> list[Any]:
        filled = X.detach().masked_fill(past[..., None], filling).requires_grad_()
        Y, (h_n, C_n) = ours(filled, (h0, C0), lengths=lengths)
        dY = torch.ones_like(Y).masked_fill(past[..., None], filling)
        found = torch.autograd.grad(
            [Y, h_n, C_n], [filled, h0, C0, *ours.parameters()], [dY, 2 * h_n.detach(), 3 * C_n.detach()]
        )
        return [Y, h_n, C_n, *found]

    clean, dirty = run(0.0), run(math.nan)
    for one, other in zip(clean, dirty, strict=True):
        assert torch.isfinite(other).all()
        assert torch.equal(one, other)
    Y, h_n, C_n, dX, dh0, dC0 = dirty[:6]
    assert (Y[past] == 0).all()
    assert (dX[past] == 0).all()
    assert torch.equal(h_n[:, 1], h0[:, 1])
    assert torch.equal(C_n[:, 1], C0[:, 1])
    assert torch.equal(dh0[:, 1], 2 * h_n[:, 1])
    assert torch.equal(dC0[:, 1], 3 * C_n[:, 1])


@pytest.mark.parametrize(("rows", "time"), [(B, 0), (0, T), (0, 0), (None, 0)])
def test_nothing_to_compute(rows: int | None, time: int) -> None:
    _, ours = pair(num_layers=2, bidirectional=True)
    X, h0, C0 = inputs(ours, rows, time)
    Y, (h_n, C_n) = ours(X, (h0, C0))
    assert Y.shape == (*X.shape[:-1], 2 * H)
    assert torch.equal(h_n, h0)
    assert torch.equal(C_n, C0)
    (Y.sum() + (2 * h_n).sum() + (3 * C_n).sum()).backward()
    assert (h0.grad == 2).all()
    assert (C0.grad == 3).all()
    assert X.grad.shape == X.shape
    assert all((one.grad == 0).all() for one in ours.parameters())


@pytest.mark.parametrize("batch_first", [True, False])
def test_any_layout_of_memory(batch_first: bool) -> None:
    """Inputs and gradients that are transposed, strided, reversed, expanded or slices."""
    theirs, ours = pair(batch_first=batch_first, bidirectional=True)

    def call(module: Any, X: Any, h0: Any, C0: Any) -> tuple[Any, Any, Any]:
        states = h0.expand(2, B, H), C0.expand(2, B, H)
        wide = torch.cat([X, X], dim=2)
        parts = [
            X.transpose(0, 1).contiguous().transpose(0, 1),
            wide[:, :, ::2],
            wide[:, :, 1 : 1 + INPUT],
            X.flip(0)[:1].expand_as(X),
        ]
        found = [module(part, states) for part in parts]
        Y = torch.stack([one for one, _ in found])
        # Their gradients: strided, flipped, expanded, of one direction alone.
        loss = Y[..., ::2].flip(1).transpose(1, 2) * 2
        return loss, found[0][1][0][1], found[1][1][1].sum(0, keepdim=True).expand(3, B, H)

    X = inputs(theirs)[0]
    states = [torch.randn(1, 1, H, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert_same_results(call, [X, *states], theirs, ours)


def test_outputs_have_the_layout_that_code_relies_on() -> None:
    """Y of (T, B, K) can be viewed as (T B, K); nothing shares memory with the inputs."""
    for batch_first in (True, False):
        _, ours = pair(batch_first=batch_first)
        X, h0, C0 = inputs(ours)
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                Y, (h_n, C_n) = ours(X, (h0, C0))
            assert all(one.is_contiguous() for one in (Y, h_n, C_n))
            assert not {one.data_ptr() for one in (Y, h_n, C_n)} & {one.data_ptr() for one in (X, h0, C0)}


def test_the_bits_are_the_packages() -> None:
    _, ours = pair(torch.float32, num_layers=2, batch_first=True)
    X = inputs(ours)[0].detach()
    net = LSTM.from_torch(ours)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert np.array_equal(ours(X)[0].detach().numpy(), net.forward_sequence(X.numpy()))


def test_a_training_run_is_the_same() -> None:
    """20 steps of Adam in float64, lengths differing, dropout on: equal to 1e-10."""
    losses, weights = [], []
    for module in pair(num_layers=2, dropout=0.3, batch_first=True):
        torch.manual_seed(1)
        head = torch.nn.Linear(H, 1, dtype=torch.float64)
        optimizer = torch.optim.Adam([*module.parameters(), *head.parameters()], lr=0.05)
        X, run = torch.randn(B, T, INPUT, dtype=torch.float64), []
        for _ in range(20):
            packed = pack_padded_sequence(X, [3, 7, 1, 6], batch_first=True, enforce_sorted=False)
            optimizer.zero_grad()
            Y, (h_n, _) = module(packed)
            loss = (head(h_n[-1]) - X.sum((1, 2))[:, None]).square().mean() + Y.data.square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            run.append(float(loss.detach()))
        losses.append(run)
        weights.append([one.detach().clone() for one in module.parameters()])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-10, atol=1e-10)
    assert losses[0][-1] < losses[0][0]
    for ours, theirs in zip(weights[1], weights[0], strict=True):
        assert float((ours - theirs).abs().max()) < 1e-10


def test_dropout_of_everything() -> None:
    theirs, ours = pair(num_layers=2, dropout=1.0)
    assert_same_results(plain_call, inputs(theirs), theirs, ours)


def test_dropout_without_gradients_and_its_seed() -> None:
    _, ours = pair(num_layers=2, dropout=0.5)
    X = inputs(ours)[0]
    with torch.no_grad():
        torch.manual_seed(5)
        first, second = ours(X)[0], ours(X)[0]
        torch.manual_seed(5)
        again = ours(X)[0]
        assert torch.equal(first, again)
        assert not torch.equal(first, second)
        assert torch.equal(ours.eval()(X)[0], ours(X)[0])


def test_a_new_module_is_nn_lstms() -> None:
    """The same parameters from the same seed, names, representation, defaults."""
    made = []
    for kind in (torch.nn.LSTM, lstm.torch.LSTM):
        torch.manual_seed(2)
        made.append(kind(3, 5, 2, False, True, 0.1, True, 2))
    theirs, ours = made
    assert isinstance(ours, torch.nn.LSTM)
    assert repr(ours) == repr(theirs)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert all(map(torch.equal, theirs.state_dict().values(), ours.state_dict().values()))
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


def test_float64_by_default_dtype() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert lstm.torch.LSTM(3, 5)(torch.randn(2, 3))[0].dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_parameters_that_get_memory_later() -> None:
    ours = lstm.torch.LSTM(INPUT, H, device="meta")
    with pytest.raises(ValueError, match="weight_ih_l0 is on meta, but"):
        ours(torch.ones(T, B, INPUT))
    ours.to_empty(device="cpu").reset_parameters()
    assert ours(torch.ones(T, B, INPUT))[0].isfinite().all()


def test_autocast_widens() -> None:
    _, ours = pair(torch.float32)
    X, h0, C0 = inputs(ours)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = ours(X.bfloat16(), (h0.bfloat16(), C0.bfloat16()))
    expected, _ = ours(X.bfloat16().float(), (h0.bfloat16().float(), C0.bfloat16().float()))
    assert torch.equal(found, expected)
    found.sum().backward()
    assert X.grad.dtype == torch.float32


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "no tensor": (lambda m, X, h, C: m(X.detach().numpy()), TypeError, "input is a ndarray, but"),
    "dimensions": (lambda m, X, h, C: m(X[0, 0]), ValueError, "input has shape .3,., but must have 3"),
    "features": (lambda m, X, h, C: m(X[..., :2]), ValueError, "takes input_size=3"),
    "dtype": (lambda m, X, h, C: m(X.float()), TypeError, "input has dtype torch.float32, but the param"),
    "integers": (lambda m, X, h, C: m(X.long()), TypeError, "input has dtype torch.int64, but"),
    "half": (lambda m, X, h, C: m.half()(X.half()), TypeError, "weight_ih_l0 has dtype torch.float16, but"),
    "mixed": (lambda m, X, h, C: mixed(m)(X), TypeError, "weight_hh_l0 has dtype torch.float32, but"),
    "meta": (lambda m, X, h, C: m(X.to("meta")), ValueError, "input is on meta, but"),
    "sparse": (lambda m, X, h, C: m(X.detach().to_sparse()), TypeError, "input has layout torch.sparse"),
    "hx": (lambda m, X, h, C: m(X, h), TypeError, "hx is a Tensor, but must be a tuple"),
    "one state": (lambda m, X, h, C: m(X, (h,)), ValueError, "hx has 1 elements"),
    "no state": (lambda m, X, h, C: m(X, (h, None)), TypeError, "C0 is a NoneType"),
    "h0": (lambda m, X, h, C: m(X, (h[:, :2], C)), ValueError, r"h0 has shape \(1, 2, 5\), but must be"),
    "C0": (lambda m, X, h, C: m(X, (h, C[0])), ValueError, r"C0 has shape \(4, 5\), but must be"),
    "C0's dtype": (lambda m, X, h, C: m(X, (h, C.float())), TypeError, "C0 has dtype torch.float32"),
    "states of a batch": (lambda m, X, h, C: m(X[:, 0], (h, C)), ValueError, r"h0 has .* must be \(1, 5\)"),
    "lengths": (lambda m, X, h, C: m(X, lengths=[1, 2, 3]), ValueError, "lengths has shape"),
    "long": (lambda m, X, h, C: m(X, lengths=[1, 2, 3, 8]), ValueError, "from 0 to 7"),
    "negative": (lambda m, X, h, C: m(X, lengths=[1, 2, 3, -1]), ValueError, "from 0 to 7"),
    "float lengths": (lambda m, X, h, C: m(X, lengths=torch.ones(4)), TypeError, "lengths has dtype"),
    "lengths of one": (lambda m, X, h, C: m(X[:, 0], lengths=[1]), ValueError, "single sequence"),
    "lengths of a pack": (
        lambda m, X, h, C: m(pack_padded_sequence(X, [7, 7, 7, 7]), lengths=[7, 7, 7, 7]),
        ValueError,
        "lengths is given, but input is a PackedSequence",
    ),
}


def mixed(module: Any) -> Any:
    module.weight_hh_l0 = torch.nn.Parameter(module.weight_hh_l0.detach().float())
    return module


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_what_does_not_fit(call: Any, kind: type[Exception], message: str) -> None:
    """It raises before anything is computed or drawn."""
    _, ours = pair(num_layers=1)
    arguments = inputs(ours)
    before = torch.get_rng_state()
    with pytest.raises(kind, match=message):
        call(ours, *arguments)
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_lengths_draw_nothing() -> None:
    _, ours = pair(num_layers=2, dropout=0.5)
    X = inputs(ours)[0]
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="lengths has"):
        ours(X, lengths=[9, 9, 9, 9])
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_another_shape() -> None:
    _, ours = pair()
    ours.weight_hh_l0 = torch.nn.Parameter(torch.ones(H, 4 * H, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"weight_hh_l0 has shape \(5, 20\), but must be \(20, 5\)"):
        ours(inputs(ours)[0])


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"dtype": torch.float16}, TypeError, "dtype is torch.float16, but must be"),
        ({"dtype": torch.bfloat16}, TypeError, "dtype is torch.bfloat16, but must be"),
        ({"dtype": torch.complex64}, TypeError, "dtype is torch.complex64, but must be"),
        ({"device": "cuda"}, ValueError, "device is 'cuda', but lstm.torch.LSTM runs on the CPU alone"),
        ({"device": torch.device("mps")}, ValueError, "device is 'mps', but"),
        ({"proj_size": 5}, ValueError, "proj_size"),
        ({"dropout": 1.5}, ValueError, "dropout"),
    ],
)
def test_modules_that_cannot_be(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        lstm.torch.LSTM(3, 5, **arguments)

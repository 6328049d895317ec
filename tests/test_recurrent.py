"""RNN, LSTM, GRU: a loop in NumPy, padding, derivatives of both orders, what is kept and refused."""

import gc

import numpy as np
import pytest
from sequence_cases import wave

import gpugrad as gg
from gpugrad import nn
from gpugrad.dtypes import bfloat16, float16
from gpugrad.ops import recurrent as ops
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices

sigmoid = lambda x: 1 / (1 + np.exp(-x))


def lstm_step(x, back, h, c):
    i, f, m, o = np.split(x + back, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(m)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, back, h, c):
    (r, z, m), (rb, zb, mb) = np.split(x, 3, -1), np.split(back, 3, -1)
    z, m = sigmoid(z + zb), np.tanh(m + sigmoid(r + rb) * mb)
    return (1 - z) * m + z * h, c


def rnn_step(x, back, h, c):
    return np.tanh(x + back), c


STEPS = {"LSTM": lstm_step, "GRU": gru_step, "RNN": rnn_step}


def loop(model, kind, x, suffix="_l0"):
    """The outputs over x (length, features) of one sequence."""
    w, u, b, d = [getattr(model, n + suffix).numpy() for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    h, c, outs = np.zeros(u.shape[1]), np.zeros(u.shape[1]), []
    for row in x:
        h, c = STEPS[kind](row @ w.T + b, h @ u.T + d, h, c)
        outs.append(h)
    return np.array(outs)


@pytest.mark.parametrize("kind", STEPS)
def test_padded_sequences_are_as_each_alone(kind):
    """Outputs, state and gradients with `lengths` are those of the sequences one by one; NaN in padding stays out."""
    gg.random.seed(0)
    model = getattr(nn, kind)(3, 4, bidirectional=True, batch_first=True, dtype="float64")
    lengths, x = [2, 5, 1], wave((3, 5, 3), 0.7)
    for row, n in zip(x, lengths, strict=True):
        row[n:] = np.nan
    for given in (lengths, np.array(lengths), gg.tensor(lengths)):
        padded = gg.tensor(x, requires_grad=True)
        y, last = model(padded, lengths=given)
        last = last[0] if kind == "LSTM" else last
        for i, n in enumerate(lengths):
            there, back = loop(model, kind, x[i, :n]), loop(model, kind, x[i, n - 1 :: -1], "_l0_reverse")
            assert_close(y[i, :n], np.concatenate([there, back[::-1]], -1))
            assert_close(last[:, i], np.stack([there[-1], back[-1]]))
            assert not y.numpy()[i, n:].any()
    y.sum().backward()
    together = {k: v.grad.numpy() for k, v in model.named_parameters()}
    model.zero_grad()
    for i, n in enumerate(lengths):
        alone = gg.tensor(x[i, :n], requires_grad=True)
        model(alone)[0].sum().backward()
        assert_close(padded.grad[i, :n], alone.grad)
        assert not padded.grad.numpy()[i, n:].any()
    for k, v in model.named_parameters():
        assert_close(together[k], v.grad)


X, W, B = wave((3, 2, 3), 0.7), [wave((8, 3), 0.3), wave((8, 2), 1.1)], wave((8,), 0.9)
H, C, R = wave((2, 2), 1.9), wave((2, 2), 0.4), wave((2, 2), 0.6)


def test_derivatives_of_both_orders():
    together = lambda f: lambda *xs: (lambda y, c: (y * y).sum() + c.sum())(*f(*xs))
    check_grads(together(lambda *a: ops.lstm(*a, None)), [X, *W, B, H, C])
    check_grads(together(lambda x, w, u, h, c, r: ops.lstm(x, w, u, None, h, c, r)), [X, *W, H, C, R])
    check_grads(lambda *a: ops.lstm(*a, None)[1], [X, *W, B, H, C])
    known = gg.tensor(X)  # without a gradient
    check_grads(lambda u, c: ops.lstm(known, gg.tensor(W[0]), u, None, gg.tensor(H), c, None)[0], [W[1], C])
    check_grads(lambda c: ops.lstm_cell(gg.tensor(X[0] @ W[0].T), gg.tensor(X[1] @ W[0].T), c)[0], [C])
    six = [a[:6] for a in W]
    check_grads(lambda u: ops.gru(known, gg.tensor(six[0]), u, None, None, gg.tensor(H)), six[1:])
    check_grads(lambda h: ops.gru_cell(gg.tensor(X[0] @ six[0].T), gg.tensor(X[1] @ six[0].T), h), [H])
    check_grads(lambda x, w, u, b, h: ops.gru(x, w, u, b, b * 2, h), [X, *six, B[:6], H])
    check_grads(lambda x, w, u, h: ops.gru(x, w, u, None, None, h), [X, *six, H])
    two = [a[:2] for a in W]
    for relu in (False, True):
        check_grads(lambda x, w, u, b, h, relu=relu: ops.rnn(x, w, u, b, h, relu=relu), [X, *two, B[:2], H])
    check_grads(lambda x, b, c: ops.lstm_cell(x, b, c)[1], [wave((2, 8), 0.3), wave((2, 8), 0.8), C])


@pytest.mark.parametrize("dtype", [float16, bfloat16])
@pytest.mark.parametrize("kind", STEPS)
def test_half_types(kind, dtype):
    gg.random.seed(0)
    model = getattr(nn, kind)(3, 4, bidirectional=True).to(dtype)
    exact = getattr(nn, kind)(3, 4, bidirectional=True, dtype="float64")
    exact.load_state_dict({k: v.numpy().astype(float) for k, v in model.state_dict().items()})
    given = wave((5, 2, 3), 0.7).astype(dtype)
    grads = []
    for m, x in ((model, given), (exact, given.astype(float))):
        x = gg.tensor(x, requires_grad=True)
        y, _ = m(x)
        assert y.array.dtype == x.array.dtype
        y.sum().backward()
        assert x.grad.array.dtype == x.array.dtype
        grads.append([a.numpy().astype(float) for a in (y.detach(), x.grad, *[v.grad for v in m.parameters()])])
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, atol=abs(b).max() * (2**-5 if dtype is bfloat16 else 2**-8))


def test_what_a_sequence_keeps():
    """Inputs, outputs and activated gates, and of LSTM the cells: nothing else that grows with the steps."""
    steps, rows, width = 50, 4, 8
    gc.disable()
    try:
        for kind, many in (("LSTM", 1 + 4 + 2), ("GRU", 1 + 4 + 1), ("RNN", 1 + 1)):
            model = getattr(nn, kind)(width, width, bias=False)
            x = gg.tensor(np.ones((steps, rows, width), np.float32))
            with gg.GradientTape() as tape:
                tape.watch(x)
                y, _ = model(x)
            small = sum([v.array.nbytes for v in model.parameters()]) + 6 * rows * width * 4
            assert tape.nbytes() <= many * steps * rows * width * 4 + small
            del y
    finally:
        gc.enable()


def test_starting_values_and_dropout():
    gg.random.seed(3)
    model = nn.LSTM(10, 25, 2, dropout=0.5)
    for v in model.parameters():
        assert 0.15 < abs(v.numpy()).max() <= 0.2
    x = gg.ones((4, 2, 10))
    run = lambda: (gg.random.seed(1), model(x)[0].numpy())[1]
    np.testing.assert_array_equal(run(), run())
    trained = run()
    model.eval()
    assert (run() != trained).any()
    still = nn.LSTM(10, 25, 2)
    still.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(run(), still(x)[0].numpy())
    all_dropped = nn.GRU(2, 3, 2, dropout=1.0)
    assert (all_dropped(gg.ones((4, 1, 2)))[0].numpy() == all_dropped(gg.ones((4, 1, 2)) * 2)[0].numpy()).all()


def test_cells_are_steps_of_the_sequence():
    gg.random.seed(0)
    for kind in STEPS:
        model, cell = getattr(nn, kind)(3, 4), getattr(nn, kind + "Cell")(3, 4)
        cell.load_state_dict({k: model.state_dict()[k + "_l0"] for k in cell.state_dict()})
        x, state = gg.tensor(wave((4, 2, 3), 0.7).astype(np.float32)), None
        _, last = model(x)
        for t in range(4):
            state = cell(x[t], state)
        for a, b in zip(last if kind == "LSTM" else [last], state if kind == "LSTM" else [state], strict=True):
            assert_close(a[0], b)


def test_bad_input_is_told():
    model, x = nn.LSTM(3, 4), gg.ones((5, 2, 3))
    state = gg.zeros((1, 2, 4))
    for args, said in [
        ((gg.ones((5, 2, 4)),), r"input is \(length, batch, 3\), or one without batch, given \(5, 2, 4\)"),
        ((gg.ones((0, 2, 3)),), "at least one step"),
        ((x, state), r"hx is a pair \(h, c\), given 1"),
        ((x, (state, gg.zeros((2, 2, 4)))), r"a state is \(1, 2, 4\) here, given \(2, 2, 4\)"),
        ((x, None, [1, 2, 3]), "lengths are 2 integers, one a sequence"),
        ((x, None, [1.0, 2.0]), "lengths are 2 integers, one a sequence"),
        ((x, None, [0, 5]), "lengths are from 1 to 5, given 0 to 5"),
    ]:
        with pytest.raises(ValueError, match=said):
            model(*args)
    with pytest.raises(TypeError, match="input is floating, given int"):
        model(gg.tensor([[[1, 2, 3]]]))
    for make, said in [
        (lambda: nn.GRU(0, 4), "input_size is a positive integer"),
        (lambda: nn.GRU(3, 4, 0), "num_layers is a positive integer"),
        (lambda: nn.GRU(3, 4, dropout=2), "dropout is a probability"),
        (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size is smaller than hidden_size 4"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), "nonlinearity is 'tanh' or 'relu', not 'gelu'"),
        (lambda: nn.LSTMCell(3, 4)(gg.ones((2, 5))), r"input is \(batch, 3\)"),
        (lambda: nn.GRUCell(3, 4)(gg.ones((2, 3)), gg.ones((2, 3))), "a state is 1 x"),
    ]:
        with pytest.raises(ValueError, match=said):
            make()

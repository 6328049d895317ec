"""torch.autograd.Function and gradcheck against PyTorch's."""

import numpy as np
import pytest


def values(t):
    return np.asarray(t.detach()).tolist()


@pytest.fixture
def make(torch):
    """A Function of these static methods."""

    def made(name="My", **methods):
        return type(name, (torch.autograd.Function,), {k: staticmethod(f) for k, f in methods.items()})

    return made


@pytest.fixture
def x(torch):
    return torch.tensor([1.0, 2.0, 3.0], requires_grad=True)


@pytest.fixture
def once(library):
    return library("torch.autograd.function").once_differentiable


def square(ctx, x):
    ctx.save_for_backward(x)
    return x * x


def square_backward(ctx, g):
    (x,) = ctx.saved_tensors
    return g * 2 * x


def test_what_is_saved_goes_with_the_graph(make, x):
    seen = []
    f = make(forward=lambda ctx, x: seen.append(ctx) or square(ctx, x), backward=square_backward)
    y = f.apply(x)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert values(x.grad) == [4, 8, 12]
    for again in (lambda: y.sum().backward(), lambda: seen[0].saved_tensors):
        with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
            again()
    nothing = make(forward=lambda ctx, x: x * 3, backward=lambda ctx, g: g * 3).apply(x)
    nothing.sum().backward()
    nothing.sum().backward()
    assert values(x.grad) == [10, 14, 18]


def test_double_backward_through_what_was_saved(torch, make, x):
    """Of an input, of an output, of one of two outputs: with the history it had."""

    def exp(ctx, v):
        y = v.exp()
        ctx.save_for_backward(y)
        return y

    def two(ctx, v):
        y = v.exp()
        ctx.save_for_backward(v, y)
        return v * v, y

    def two_backward(ctx, g, h):
        v, y = ctx.saved_tensors
        return g * 2 * v + h * y

    one = make(forward=exp, backward=lambda ctx, g: g * ctx.saved_tensors[0])
    for f in (
        make(forward=square, backward=square_backward).apply, one.apply,
        lambda v: sum(make(forward=two, backward=two_backward).apply(v)),
        lambda v: make(forward=two, backward=two_backward).apply(v)[1],
    ):  # fmt: skip
        v = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(f, (v,)) and torch.autograd.gradgradcheck(f, (v,))
    y = one.apply(x)
    for wanted in (1, 1):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        assert values(y) == pytest.approx(np.exp([1, 2, 3]).tolist())


def test_hooks_on_what_is_saved(torch, make, x):
    log = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda t: log.append("in") or t * 10, lambda t: log.append("out") or t / 10
    )
    with hooks:
        y = make(forward=square, backward=square_backward).apply(x)
    assert log == ["in"]
    y.sum().backward()
    assert log == ["in", "out"] and values(x.grad) == [2, 4, 6]


def test_a_saved_tensor_that_is_changed_in_place(torch, make, x):
    z = x * 1
    y = make(forward=square, backward=square_backward).apply(z)
    z += 1
    with pytest.raises(RuntimeError, match="has been modified by an inplace operation"):
        y.sum().backward()


def test_arguments(torch, make, x):
    seen = {}

    def forward(ctx, x, k, y=None, *rest):
        seen["needs"] = ctx.needs_input_grad
        seen["recorded"] = torch.is_grad_enabled(), (x * 2).requires_grad
        ctx.k, ctx.free = k, rest
        return x * k + (0 if y is None else y)

    f = make(forward=forward, backward=lambda ctx, g: (g * ctx.k, None, g, *[None] * (len(ctx.free) + 2)))
    y = torch.ones(3)
    f.apply(x, 4.0, y, "a", [x]).sum().backward()
    assert seen["needs"] == (True, False, False, False, False) and seen["recorded"] == (False, False)
    assert values(x.grad) == [4, 4, 4] and y.grad is None
    assert not f.apply(y, 4.0).requires_grad
    with torch.no_grad():
        assert not f.apply(x, 4.0).requires_grad


def test_outputs(torch, make, x):
    """Tensors and other things; one that nobody used; integers; an input as it came."""
    seen = []

    def backward(ctx, *gs):
        seen.append([None if g is None else values(g) for g in gs])
        return gs[0] * 2 if gs[0] is not None else None

    f = make(forward=lambda ctx, x: (x * 2, x * 3, x.argmax(), "four"), backward=backward)
    a, b, c, d = f.apply(x)
    assert (a.requires_grad, b.requires_grad, c.requires_grad, d) == (True, True, False, "four")
    a.sum().backward()
    assert seen == [[[1, 1, 1], [0, 0, 0], 0, None]] and values(x.grad) == [2, 2, 2]

    def plain(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 2, x * 3

    make(forward=plain, backward=backward).apply(x)[1].sum().backward()
    assert seen[1] == [None, [1, 1, 1]] and values(x.grad) == [2, 2, 2]
    same = make(forward=lambda ctx, x: x, backward=lambda ctx, g: g * 10).apply(x)
    assert same is not x and "MyBackward" in repr(same.grad_fn)
    same.sum().backward()
    assert values(x.grad) == [12, 12, 12]


def test_marks(torch, make, x):
    def constant(ctx, x):
        y = x * 2
        ctx.mark_non_differentiable(y)
        return y, x * 3

    a, b = make(forward=constant, backward=lambda ctx, g, h: h * 3 + g).apply(x)
    assert not a.requires_grad and b.requires_grad
    b.sum().backward()
    assert values(x.grad) == [3, 3, 3]

    def double_(ctx, x):
        ctx.mark_dirty(x)
        x.mul_(2)
        return x

    f = make(forward=double_, backward=lambda ctx, g: g * 2)
    z = x * 1
    assert f.apply(z) is z and values(z) == [2, 4, 6] and "MyBackward" in repr(z.grad_fn)
    x.grad = None
    z.sum().backward()
    assert values(x.grad) == [2, 2, 2]
    base = x * 1
    f.apply(base[1:])  # a view: the base has changed
    x.grad = None
    base.sum().backward()
    assert values(base) == [1, 4, 6] and values(x.grad) == [1, 2, 2]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad has been used in an in-place operation"):
        f.apply(x)

    def forgotten(ctx, x):
        ctx.mark_dirty(x)
        return x * 2

    with pytest.raises(RuntimeError, match="Some elements marked as dirty during the forward method were not returned"):
        make(forward=forgotten, backward=lambda ctx, g: g).apply(x * 1)


def test_once_differentiable(torch, make, x, once):
    f = make(forward=square, backward=once(square_backward))
    y = f.apply(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert values(g) == [2, 4, 6] and not g.requires_grad
    (g,) = torch.autograd.grad((f.apply(x) ** 2).sum(), x, create_graph=True)
    assert values(g) == [4, 32, 108] and g.requires_grad
    with pytest.raises(
        RuntimeError, match="trying to differentiate twice a function that was marked with @once_differ"
    ):
        g.sum().backward()


def test_setup_context(torch, make, x):
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output)
        ctx.k = inputs[1]

    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * ctx.k * x ** (ctx.k - 1) + 0 * y, None

    f = make(forward=lambda x, k: x**k, setup_context=setup_context, backward=backward)
    f.apply(x, 3).sum().backward()
    assert values(x.grad) == [3, 12, 27]


@pytest.mark.parametrize(
    "answer, text",
    [
        (lambda g: (g, g), r"function MyBackward returned an incorrect number of gradients \(expected 1, got 2\)"),
        (lambda g: g[:2], r"Function MyBackward returned an invalid gradient at index 0 - got \[2\] but expected shape compatible with \[3\]"),
        (lambda g: g.sum(), r"returned an invalid gradient at index 0 - got \[\] but expected shape compatible with \[3\]"),
        (lambda g: 3, r"expected Variable or None \(got int\)"),
        (lambda g: [g], r"expected Variable or None \(got list\)"),
    ],
)  # fmt: skip
def test_what_backward_may_not_answer(make, x, answer, text):
    with pytest.raises(RuntimeError, match=text):
        make(forward=lambda ctx, x: x * 1, backward=lambda ctx, g: answer(g)).apply(x).sum().backward()


def test_errors(torch, make, x):
    with pytest.raises(
        NotImplementedError, match="You must implement either the backward or vjp method for your custom"
    ):
        make(forward=lambda ctx, x: x * 2).apply(x).sum().backward()
    with pytest.raises(
        NotImplementedError, match="You must implement the forward function for custom autograd.Function"
    ):
        make(backward=lambda ctx, g: g).apply(x)
    with pytest.raises(TypeError, match="save_for_backward can only save variables, but argument 1 is of type int"):
        make(forward=lambda ctx, x: ctx.save_for_backward(x, 3)).apply(x)
    with pytest.raises(
        RuntimeError, match="returned a gradient different than None at position 2, but the corresponding"
    ):
        make(forward=lambda ctx, x, k: x * k, backward=lambda ctx, g: (g, g)).apply(x, 2.0).sum().backward()
    summed = make(forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g.expand(2, 3)).apply(x)
    summed.sum().backward()
    assert values(x.grad) == [2, 2, 2]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
def test_an_instance_is_not_called(make, x):
    with pytest.raises(RuntimeError, match="Legacy autograd function with non-static forward method is deprecated"):
        make(forward=lambda ctx, x: x)()(x)


# ---------------------------------------------------------------------------------------------- gradcheck
def test_gradcheck(torch, library, make):
    GradcheckError = library("torch.autograd.gradcheck").GradcheckError
    assert issubclass(GradcheckError, RuntimeError)
    gradcheck, gradgradcheck = torch.autograd.gradcheck, torch.autograd.gradgradcheck
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([3.0, 4.0], dtype=torch.float64)
    z = torch.tensor([1 + 2j, 0.5], dtype=torch.complex128, requires_grad=True)
    assert gradcheck(lambda a, b: (a * b, a.sum()), (x, c)) and gradcheck(lambda a: a.exp(), x)
    assert gradcheck(lambda a: a.t().exp(), torch.ones(3, 2, dtype=torch.float64).t().requires_grad_())
    assert gradcheck(lambda a: a * a * 2j, (z,)) and gradcheck(lambda a: (a.abs() ** 2).sum(), (z,))
    assert gradgradcheck(lambda a, b: a**3 * b, (x, c)) and gradgradcheck(lambda a: a**3, (x,), c)
    wrong = make(forward=square, backward=lambda ctx, g: g * 3 * ctx.saved_tensors[0])
    with pytest.raises(GradcheckError) as e:
        gradcheck(lambda a, b: (a * 1, wrong.apply(b)), (c, x))
    assert str(e.value).startswith(
        "Jacobian mismatch for output 0 with respect to input 0,\nnumerical:tensor([[2.0000, 0.0000],\n"
        "        [0.0000, 4.0000]], dtype=torch.float64)\nanalytical:tensor([[3., 0.],\n        [0., 6.]], dtype=torch."
    )
    assert gradcheck(wrong.apply, (x,), raise_exception=False) is False
    assert gradcheck(wrong.apply, (x,), atol=10) is True
    first = make(forward=square, backward=lambda ctx, g: g * 2 * ctx.saved_tensors[0].detach())
    assert gradcheck(first.apply, (x,)) and not gradgradcheck(first.apply, (x,), raise_exception=False)
    with pytest.raises(GradcheckError, match="Numerical gradient for function expected to be zero"):
        gradcheck(lambda a: a.detach(), (x,))
    with pytest.raises(ValueError, match="gradcheck expects at least one input tensor to require gradient"):
        gradcheck(lambda a: a, (c,), raise_exception=False)
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision floating point or"):
        assert gradcheck(lambda a: a * 2, torch.tensor([1.0], requires_grad=True), eps=1e-2)


def test_forward_mode_by_jvp(library, torch, make):
    """A rule that is not the derivative shows which one is used."""
    fw, seen = library("torch.autograd.forward_ad"), []

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0], output)

    def jvp(ctx, v, w, number):
        x, y = ctx.saved_tensors
        seen.append((values(w), number))
        return v * x * 100 + y * 0

    f = make(
        forward=lambda x, w, number: x * x * number,
        setup_context=setup,
        backward=lambda ctx, g: (g * ctx.saved_tensors[0], None, None),
        jvp=jvp,
    )
    x, v = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 10.0])
    with fw.dual_level():
        d = fw.make_dual(x, v)
        y, tangent = fw.unpack_dual(f.apply(d, torch.ones(2), 3))
        assert values(y) == [3, 12] and values(tangent) == [100, 2000]
        (g,) = torch.autograd.grad(tangent.sum(), x, retain_graph=True)
        assert values(g) == [100, 1000]
        assert values(torch.autograd.grad(y.sum(), x)[0]) == [1, 2]
    assert seen == [([0, 0], None)]
    for answers in ((v, v), (torch.ones(3),)):
        bad = make(forward=square, backward=square_backward, jvp=lambda ctx, t, answers=answers: answers)
        with fw.dual_level(), pytest.raises(RuntimeError):
            bad.apply(fw.make_dual(v, v))


def test_what_forward_changes_in_place_goes_by_jvp_alone(library, torch, make):
    fw = library("torch.autograd.forward_ad")

    def forward(ctx, x):
        x.mul_(3.0)
        ctx.mark_dirty(x)
        return x

    def jvp(ctx, v):
        return v.mul_(3.0)

    tripled = make(forward=forward, backward=lambda ctx, g: g * 3, jvp=jvp)
    with fw.dual_level():
        d = fw.make_dual(torch.tensor([1.0, 2.0]), torch.ones(2)).clone()
        y, tangent = fw.unpack_dual(tripled.apply(d))
        assert values(y) == [3, 6] and values(tangent) == [3, 3]
        assert values(fw.unpack_dual(d).tangent) == [3, 3]

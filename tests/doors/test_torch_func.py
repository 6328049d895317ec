"""torch.func, torch.autograd.forward_ad and batched gradients against PyTorch's."""

import numpy as np
import pytest


@pytest.fixture
def F(library):
    return library("torch.func")


@pytest.fixture
def fw(library):
    return library("torch.autograd.forward_ad")


def values(t):
    return np.asarray(t.detach()).tolist()


@pytest.fixture
def x(torch):
    return torch.tensor([1.0, 2.0])


@pytest.fixture
def v(torch):
    return torch.tensor([1.0, 10.0])


# ---------------------------------------------------------------------------------------------- gradients
def test_gradients_of_functions(torch, F, x, v):
    f = lambda a, b: (a * a * b).sum()
    assert values(F.grad(f)(x, v)) == [2, 40]
    assert [values(g) for g in F.grad(f, argnums=(0, 1))(x, v)] == [[2, 40], [1, 4]]
    g, value = F.grad_and_value(f)(x, v)
    assert values(g) == [2, 40] and value.numpy() == 41 and not value.requires_grad and value.grad_fn is None
    g, (value, aux) = F.grad_and_value(lambda a: ((a * a).sum(), a * 3), has_aux=True)(x)
    assert values(g) == [2, 4] and float(value) == 5 and aux.numpy().tolist() == [3, 6]
    g, aux = F.grad(lambda a: ((a * a).sum(), {"three": a * 3}), has_aux=True)(x)
    assert values(g) == [2, 4] and values(aux["three"]) == [3, 6]
    third = F.grad(F.grad(F.grad(lambda a: a**4)))
    assert float(third(torch.tensor(2.0))) == 48
    by_name = F.grad(lambda p: (p["a"] * p["b"]).sum())({"a": x, "b": v})
    assert {k: values(g) for k, g in by_name.items()} == {"a": [1, 10], "b": [1, 2]}


def test_strict_directions(torch, F, x, v):
    square = lambda a: a * a
    assert [values(t) for t in F.jvp(square, (x,), (v,), strict=True)] == [[1, 4], [2, 40]]
    out, tangent, aux = F.jvp(lambda a: (square(a), a), (x,), (v,), strict=True, has_aux=True)
    assert values(aux) == [1, 2]
    for f in (lambda a: v, lambda a: (a, v)):
        with pytest.raises(RuntimeError, match="independent of the inputs. This is not allowed with strict=True"):
            F.jvp(f, (x,), (v,), strict=True)
    nested = lambda a: F.jvp(square, (a,), (v,), strict=True)[1]
    assert [values(t) for t in F.jvp(nested, (x,), (v,), strict=True)] == [[2, 40], [2, 200]]
    with pytest.raises(RuntimeError, match="independent"):
        F.jvp(lambda a: F.jvp(square, (v,), (v,))[1], (x,), (v,), strict=True)


def test_a_gradient_is_of_a_scalar(F, x):
    for f, says in (
        (lambda a: a * a, r"Expected f\(\*args\) to return a scalar Tensor, got tensor with 1 dims"),
        (lambda a: a[:1], "scalar Tensor, got tensor with 1 dims. Maybe you wanted to use the vjp or jacrev APIs"),
        (lambda a: 3.0, r"Expected f\(\*args\) to return a Tensor, got <class 'float'>"),
    ):
        with pytest.raises(RuntimeError, match=says):
            F.grad(f)(x)
        with pytest.raises(RuntimeError, match=says):
            F.grad_and_value(f)(x)
    with pytest.raises(RuntimeError, match="real scalar"):
        F.grad(lambda a: (a * 1j).sum())(x)
    with pytest.raises(RuntimeError):
        F.grad(lambda a: a.sum(), has_aux=True)(x)
    with pytest.raises((RuntimeError, ValueError)):
        F.grad(lambda a: a.sum(), argnums=2)(x)


def test_gradients_of_gradients_reach_the_graph(torch, F):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    F.grad(lambda a: (a**3 * w).sum())(torch.tensor([1.0, 1.0])).sum().backward()
    assert values(w.grad) == [3, 3]
    w.grad = None
    F.grad(lambda a: (a**3).sum())(w).sum().backward()
    assert values(w.grad) == [6, 12]
    value = F.grad_and_value(lambda a: (a**3).sum())(w)[1]
    value.backward()
    assert values(w.grad) == [9, 24]
    ones = torch.ones(2)
    for f in (
        lambda: F.jacrev(lambda a: a**2 * w)(ones).sum(),
        lambda: F.jacfwd(lambda a: a**2 * w)(ones).sum(),
        lambda: F.vjp(lambda a: a**2 * w, ones)[1](ones)[0].sum(),
        lambda: F.jvp(lambda a: a**2 * w, (ones,), (ones,))[1].sum(),
        lambda: F.hessian(lambda a: (a**2 * w).sum())(ones).sum(),
        lambda: F.vmap(F.grad(lambda a, k: a**2 * k))(ones, w).sum(),
    ):
        w.grad = None
        f().backward()
        assert values(w.grad) == [2, 2]
    with torch.no_grad():
        assert not F.grad(lambda a: (a**3 * w).sum())(ones).requires_grad


def test_products(torch, F, x, v):
    out, pull = F.vjp(lambda a: a * a, x)
    assert out.numpy().tolist() == [1, 4] and [values(g) for g in pull(v)] == [[2, 40]]
    assert [values(g) for g in pull(v)] == [[2, 40]]
    out, pull, aux = F.vjp(lambda a, b: (a * b, a + b), x, v, has_aux=True)
    assert [values(g) for g in pull(torch.ones(2))] == [[1, 10], [1, 2]] and values(aux) == [2, 12]
    out, pushed = F.jvp(lambda a: a * a, (x,), (v,))
    assert out.numpy().tolist() == [1, 4] and pushed.numpy().tolist() == [2, 40] and not out.requires_grad
    assert [values(t) for t in F.jvp(lambda a, b: a * b, (x, v), (v, x))] == [[1, 20], [2, 104]]
    out, push = F.linearize(lambda a: a * a, x)
    assert values(out) == [1, 4] and values(push(v)) == [2, 40] and values(push(x)) == [2, 8]
    for bad in (x, [x]):
        with pytest.raises((RuntimeError, TypeError)):
            F.jvp(lambda a: a, bad, v)


def test_jacobians_and_hessians(torch, F, x, v):
    m = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    for jac in (F.jacrev, F.jacfwd):
        assert values(jac(lambda a: m @ a)(x)) == values(m)
        a, b = jac(lambda a, b: a * b, argnums=(0, 1))(x, v)
        assert values(a) == [[1, 0], [0, 10]] and values(b) == [[1, 0], [0, 2]]
        (j, aux) = jac(lambda a: (a * a, a.sum()), has_aux=True)(x)
        assert values(j) == [[2, 0], [0, 4]] and float(aux) == 3
        assert jac(lambda a: m @ a)(torch.ones(2, 4)).shape == (3, 4, 2, 4)
        there = jac(lambda a: {"y": a * a})(x)
        assert values(there["y"]) == [[2, 0], [0, 4]]
    assert values(F.jacrev(lambda a: m @ a, chunk_size=1)(x)) == values(m)
    cubes = lambda a: (a**3).sum() + a[0] * a[1]
    assert values(F.hessian(cubes)(x)) == [[6, 1], [1, 12]]
    assert values(F.hessian(lambda a: a**3)(x)) == [[[6, 0], [0, 0]], [[0, 0], [0, 12]]]
    assert values(F.jacfwd(F.jacrev(cubes))(x)) == values(F.jacrev(F.jacfwd(cubes))(x)) == [[6, 1], [1, 12]]
    (aa, ab), (ba, bb) = F.hessian(lambda a, b: (a * a * b).sum(), argnums=(0, 1))(x, v)
    assert (
        values(aa) == [[2, 0], [0, 20]] and values(ab) == values(ba) == [[2, 0], [0, 4]] and values(bb) == [[0, 0]] * 2
    )


# ---------------------------------------------------------------------------------------------- vmap
def test_vmap(torch, F, x):
    m = torch.arange(6.0).reshape(2, 3)
    assert torch.vmap is not None
    assert values(torch.vmap(lambda r: r.sum())(m)) == [3, 12]
    assert values(F.vmap(lambda r: r.sum(), in_dims=1)(m)) == [3, 5, 7]
    assert F.vmap(lambda r: r * 2, out_dims=1)(m).shape == (3, 2)
    assert values(F.vmap(lambda a, r: a * r, in_dims=(0, None))(x, m[0])) == [[0, 1, 2], [0, 2, 4]]
    a, b = F.vmap(lambda r: (r, r.sum()), out_dims=(1, 0))(m)
    assert a.shape == (3, 2) and b.shape == (2,)
    assert values(F.vmap(F.vmap(lambda a, b: a * b, in_dims=(0, None)), in_dims=(None, 0))(x, x)) == [[1, 2], [2, 4]]
    assert values(F.vmap(lambda r: r.sum(), chunk_size=1)(m)) == [3, 12]
    assert values(F.vmap(F.grad(lambda a, k: a * a * k), in_dims=(0, None))(x, torch.tensor(3.0))) == [6, 12]
    assert values(F.vmap(F.jacrev(lambda a: a * a))(m)) == values(F.vmap(F.jacfwd(lambda a: a * a))(m))


def test_what_vmap_refuses(torch, F, x):
    for f, args, options in (
        (lambda a, b: a, (x, torch.ones(3)), {}),
        (lambda a: a, (torch.tensor(1.0),), {}),
        (lambda a: a, (x,), {"in_dims": 2}),
        (lambda a: a, (x,), {"in_dims": (0, 0)}),
        (lambda a: a, (x,), {"in_dims": None}),
        (lambda a: a, (x,), {"out_dims": (0, 0)}),
    ):
        with pytest.raises(ValueError, match="vmap"):
            F.vmap(f, **options)(*args)
    with pytest.raises((TypeError, ValueError), match="vmap"):
        F.vmap(lambda a: 3)(x)
    for f in (lambda a: a if a > 0 else -a, lambda a: a * a.item()):
        with pytest.raises((TypeError, RuntimeError), match="vmap"):
            F.vmap(f)(x)


def test_randomness(torch, F, x):
    noisy = lambda a: a + torch.rand(())
    with pytest.raises(RuntimeError, match="vmap: called random operation while in randomness error mode"):
        F.vmap(noisy)(x)
    same, other = [values(F.vmap(noisy, randomness=how)(x)) for how in ("same", "different")]
    assert abs(same[1] - same[0] - 1) < 1e-6 and abs(other[1] - other[0] - 1) > 1e-6
    for how in ("same", "different"):
        torch.manual_seed(3)
        first = values(F.vmap(noisy, randomness=how)(x))
        torch.manual_seed(3)
        assert first == values(F.vmap(noisy, randomness=how)(x))
    drop = lambda a: torch.nn.functional.dropout(a, 0.5)
    rows = np.array(values(F.vmap(drop, randomness="same")(torch.ones(4, 50))))
    assert (rows == rows[0]).all() and 0 < rows.mean() < 2
    rows = np.array(values(F.vmap(drop, randomness="different")(torch.ones(4, 50))))
    assert not (rows == rows[0]).all()
    with pytest.raises(RuntimeError, match="Only allowed values for randomness are 'error', 'different', or 'same'"):
        F.vmap(noisy, randomness="other")(x)


def test_batched_gradients(torch, x):
    w = x.clone().requires_grad_()
    y = w**3
    (j,) = torch.autograd.grad(y, w, torch.eye(2), retain_graph=True, is_grads_batched=True)
    assert values(j) == [[3, 0], [0, 12]] and not j.requires_grad
    (j,) = torch.autograd.grad(y, w, torch.eye(2), create_graph=True, is_grads_batched=True)
    assert values(torch.autograd.grad(j.sum(), w)[0]) == [6, 12]
    u = torch.ones(2, requires_grad=True)
    y, z = w * w, w.sum()
    a, b = torch.autograd.grad((y, z), (w, u), (torch.eye(2), torch.ones(2)), is_grads_batched=True, allow_unused=True)
    assert values(a) == [[3, 1], [1, 5]] and b is None
    with pytest.raises(RuntimeError):
        torch.autograd.grad(w * w, w, is_grads_batched=True)


def test_options_of_functional(torch, x, v):
    A = torch.autograd.functional
    square, cubes = lambda a: a * a, lambda a: (a**3).sum()
    for strategy in ("reverse-mode", "forward-mode"):
        assert values(A.jacobian(square, x, vectorize=True, strategy=strategy)) == [[2, 0], [0, 4]]
        a, b = A.jacobian(lambda a, b: a * b, (x, v), vectorize=True, strategy=strategy)
        assert values(a) == [[1, 0], [0, 10]] and values(b) == [[1, 0], [0, 2]]
        assert values(A.hessian(cubes, x, vectorize=True, outer_jacobian_strategy=strategy)) == [[6, 0], [0, 12]]
        (aa, ab), (ba, bb) = A.hessian(
            lambda a, b: (a * a * b).sum(), (x, v), vectorize=True, outer_jacobian_strategy=strategy
        )
        assert values(aa) == [[2, 0], [0, 20]] and values(ab) == values(ba) == [[2, 0], [0, 4]]
        assert values(bb) == [[0, 0]] * 2
    with pytest.raises((AssertionError, ValueError), match="strategy"):
        A.jacobian(square, x, strategy="sideways")
    with pytest.raises(NotImplementedError):
        A.jacobian(square, x, create_graph=True, vectorize=True, strategy="forward-mode")
    first = lambda a, b: a * 2
    for call in (
        lambda: A.jacobian(first, (x, v), strict=True),
        lambda: A.vjp(first, (x, v), x, strict=True),
        lambda: A.jvp(first, (x, v), (x, v), strict=True),
    ):
        with pytest.raises(RuntimeError, match="independent of input 1. This is not allowed in strict mode"):
            call()
    for f in (A.jacobian, A.hessian):
        with pytest.raises(RuntimeError, match="does not require gradients"):
            f(lambda a: torch.tensor(1.0), x, strict=True)
    for f in (A.hvp, A.vhp):
        with pytest.raises(RuntimeError, match="strict mode"):
            f(lambda a: a.sum(), x, v, strict=True)
    for f, given in ((square, 3.0), (lambda a: None, x)):
        with pytest.raises(TypeError, match="a Tensor or a tuple of Tensors"):
            A.jacobian(f, given)
    assert values(A.jacobian(square, x, strict=True)) == [[2, 0], [0, 4]]
    assert values(A.hvp(cubes, x, v, strict=True)[1]) == [6, 120]


# ---------------------------------------------------------------------------------------------- modules
@pytest.fixture
def model(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def test_a_module_as_a_function(torch, F, model):
    data = torch.randn(5, 3)
    given = {k: p.detach() for k, p in model.named_parameters()}
    loss = lambda tensors, a: F.functional_call(model, tensors, (a,)).sum()
    grads = F.grad(loss)(given, data)
    model(data).sum().backward()
    for k, p in model.named_parameters():
        np.testing.assert_allclose(values(grads[k]), values(p.grad), rtol=1e-5)
    each = F.vmap(F.grad(loss), in_dims=(None, 0))(given, data)
    for k, g in grads.items():
        assert each[k].shape == (5, *g.shape)
        np.testing.assert_allclose(values(each[k].sum(0)), values(g), rtol=1e-5, atol=1e-6)
    before = values(model[0].weight)
    doubled = {"0.weight": given["0.weight"] * 2, "0.bias": given["0.bias"] * 2}
    np.testing.assert_allclose(
        values(F.functional_call(model[0], {k[2:]: t for k, t in doubled.items()}, data)),
        values(model[0](data) * 2),
        rtol=1e-5,
    )
    with pytest.raises((RuntimeError, ValueError)):
        F.functional_call(model, doubled, (torch.ones(2, 7),))
    assert values(model[0].weight) == before and model[0].weight.requires_grad
    assert F.functional_call(model, {}, kwargs={"input": data}).shape == (5, 1)


def test_names_of_a_module(torch, F, model):
    weight = torch.ones(4, 3)
    with pytest.raises(RuntimeError, match=r"(?s)reparametrizing for Sequential.*Missing key\(s\): '0.bias'"):
        F.functional_call(model, {"0.weight": weight}, torch.ones(3), strict=True)
    with pytest.raises(RuntimeError, match=r"(?s)reparametrizing for Sequential.*Unexpected key\(s\): '0.wait'"):
        F.functional_call(model, {"0.wait": weight}, torch.ones(3), strict=True)
    with pytest.raises(ValueError, match="appeared in multiple dictionaries; behavior of functional call is ambiguous"):
        F.functional_call(model, ({"0.weight": weight}, {"0.weight": weight}), torch.ones(3))
    with pytest.raises(ValueError, match="Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts"):
        F.functional_call(model, 3, torch.ones(3))


def test_tied_weights(torch, F):
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(2, 2, bias=False)
            self.b = torch.nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.a(x) + self.b(x)

    m, x = Twice(), torch.tensor([1.0, 2.0])
    for name in ("a.weight", "b.weight"):
        assert values(F.functional_call(m, {name: torch.eye(2)}, x)) == [2, 4]
    with pytest.raises(ValueError, match=r"multiple values for keys \['a.weight', 'b.weight'\], which are tied"):
        F.functional_call(m, {"a.weight": torch.eye(2), "b.weight": torch.zeros(2, 2)}, x)
    apart = {"a.weight": torch.eye(2), "b.weight": torch.eye(2) * 2}
    assert values(F.functional_call(m, apart, x, tie_weights=False)) == [3, 6]
    grads = F.grad(lambda p: F.functional_call(m, p, (x,), tie_weights=False).sum())(apart)
    assert values(grads["a.weight"]) == values(grads["b.weight"]) == [[1, 2], [1, 2]]
    own = values(m.a(x) * 3)
    np.testing.assert_allclose(
        values(F.functional_call(m, {"b.weight": m.a.weight * 2}, x, tie_weights=False)), own, rtol=1e-6
    )
    with pytest.raises(RuntimeError, match="Missing key.s.: 'b.weight'"):
        F.functional_call(m, {"a.weight": torch.eye(2)}, x, tie_weights=False, strict=True)
    assert m.a.weight is m.b.weight


def test_buffers_change_where_they_were_given(torch, F):
    m = torch.nn.BatchNorm1d(2)
    buffers = {k: b.clone() for k, b in m.named_buffers()}
    data = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    F.functional_call(m, (dict(m.named_parameters()), buffers), data)
    assert values(m.running_mean) == [0, 0] and int(m.num_batches_tracked) == 0
    np.testing.assert_allclose(values(buffers["running_mean"]), [0.2, 0.4], rtol=1e-6)
    assert int(buffers["num_batches_tracked"]) == 1


def test_an_ensemble(torch, F):
    models = [torch.nn.Linear(3, 2) for _ in range(4)]
    params, buffers = F.stack_module_state(models)
    assert {k: tuple(p.shape) for k, p in params.items()} == {"weight": (4, 2, 3), "bias": (4, 2)} and buffers == {}
    data = torch.randn(5, 3)
    out = F.vmap(lambda p, b, a: F.functional_call(models[0], (p, b), (a,)), in_dims=(0, 0, None))(
        params, buffers, data
    )
    for o, m in zip(out, models):
        np.testing.assert_allclose(values(o), values(m(data)), rtol=1e-5)
    out.sum().backward()
    assert params["weight"].grad.shape == (4, 2, 3) and models[0].weight.grad is None
    norms = F.stack_module_state([torch.nn.BatchNorm1d(2) for _ in range(3)])[1]
    assert norms["running_mean"].shape == (3, 2)
    with pytest.raises(RuntimeError, match="Expected at least one model, got 0"):
        F.stack_module_state([])
    with pytest.raises(RuntimeError, match="the same training/eval mode"):
        F.stack_module_state([models[0], torch.nn.Linear(3, 2).eval()])
    with pytest.raises(RuntimeError, match="of the same class"):
        F.stack_module_state([models[0], torch.nn.Tanh()])
    models[0].weight.requires_grad_(False)
    with pytest.raises(RuntimeError, match="Expected weight from each model to have the same .requires_grad"):
        F.stack_module_state(models)


# ---------------------------------------------------------------------------------------------- forward_ad
def test_dual_tensors(torch, fw, x, v):
    with fw.dual_level():
        d = fw.make_dual(x, v)
        assert values(d) == [1, 2] and not d.requires_grad
        value, tangent = fw.unpack_dual(d * d * x)
        assert values(value) == [1, 8] and values(tangent) == [2, 80]
        assert fw.unpack_dual(value).tangent is None and fw.unpack_dual(x).tangent is None
        assert values(fw.unpack_dual(d).tangent) == [1, 10]
        with torch.no_grad():
            assert values(fw.unpack_dual(d * 3).tangent) == [3, 30]
        y = d * d
    assert fw.unpack_dual(y).tangent is None and values(fw.unpack_dual(y).primal) == [1, 4]
    assert fw.unpack_dual(x) == fw.UnpackedDualTensor(x, None)


def test_levels(fw, x, v):
    assert fw.enter_dual_level() == 0
    try:
        y = fw.make_dual(x, v) * 2
        assert values(fw.unpack_dual(y).tangent) == [2, 20]
    finally:
        fw.exit_dual_level()
    assert fw.unpack_dual(y).tangent is None
    with fw.dual_level():
        assert fw.unpack_dual(y).tangent is None


def test_duals_on_the_graph(torch, fw, x, v):
    """The tangent and the value have gradients of their own."""
    w = x.clone().requires_grad_()
    with fw.dual_level():
        d = fw.make_dual(w * 1, v)
        value, tangent = fw.unpack_dual(d**3)
        assert value.requires_grad and tangent.requires_grad
        (g,) = torch.autograd.grad(tangent.sum(), w, retain_graph=True)
        assert values(g) == [6, 120] and not g.requires_grad
        assert values(torch.autograd.grad(value.sum(), w)[0]) == [3, 12]


def test_tangents_of_gradients(torch, fw, x, v):
    """Forward over reverse: the product with the Hessian."""
    with fw.dual_level():
        d = fw.make_dual(x.clone().requires_grad_(), v)
        (g,) = torch.autograd.grad((d**3).sum(), d, create_graph=True)
        assert values(fw.unpack_dual(g).tangent) == [6, 120]


def test_what_duals_refuse(torch, fw, x, v):
    with pytest.raises(RuntimeError, match=r"no level exists, make sure to enter_dual_level\(\) first"):
        fw.make_dual(x, v)
    with pytest.raises(RuntimeError):
        fw.exit_dual_level()
    with fw.dual_level():
        d = fw.make_dual(x, v)
        with pytest.raises(RuntimeError, match="already has a forward gradient at the same level 0"):
            fw.make_dual(d, v)
        with pytest.raises(
            RuntimeError, match=r"different size.*size \[2\] while the given forward gradient is .*\[3\]"
        ):
            fw.make_dual(x, torch.ones(3))
        for pair in ((torch.tensor([1]), v), (x, torch.tensor([1, 2]))):
            with pytest.raises(ValueError, match="to be floating point or complex, but got: .*int64"):
                fw.make_dual(*pair)
        with pytest.raises(RuntimeError, match="Nested forward mode AD is not supported at the moment"):
            fw.enter_dual_level()
        with pytest.raises(RuntimeError, match="that was not the last one that was created"):
            fw.exit_dual_level(level=3)
        assert values(fw.unpack_dual(d).tangent) == [1, 10]

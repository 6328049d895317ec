"""MultiheadAttention and the transformer layers: masks, dropout, what is kept and refused."""

import numpy as np
import pytest
from sequence_cases import wave

import gpugrad as gg
from gpugrad import nn
from gpugrad.testing import assert_close, check_grads

pytestmark = pytest.mark.devices

wide = lambda a: gg.tensor(a, dtype="float64")


def small(**options):
    gg.random.seed(1)
    return nn.MultiheadAttention(4, 2, dtype="float64", **options)


def test_gradients_of_both_orders():
    x, memory = wave((3, 2, 4), 0.7), wave((2, 2, 4), 1.1)
    model = small()
    check_grads(lambda x: model(x, x, x, need_weights=False, is_causal=True)[0], [x])
    check_grads(lambda x, m: model(x, m, m)[0], [x, memory])
    layer = nn.TransformerDecoderLayer(4, 2, 3, 0.0, "silu", norm_first=True, dtype="float64")
    check_grads(lambda x, m: layer(x, m, tgt_is_causal=True), [x, memory])


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_query_that_looks_at_nothing_answers_the_bias(need_weights):
    model, x = small(), gg.tensor(wave((3, 2, 4), 0.7), requires_grad=True)
    model.out_proj.bias.assign([1.0, 2, 3, 4])
    padding = np.array([[True, True, True], [False, False, True]])
    for mask in (padding, np.where(padding, -np.inf, 0.0)):
        y, weights = model(x, x, x, mask, need_weights)
        np.testing.assert_array_equal(y.numpy()[:, 0], np.tile([1.0, 2, 3, 4], (3, 1)))
        assert weights is None or (not weights.numpy()[0].any() and not weights.numpy()[1, :, 2].any())
        g = gg.grad((y * wide(wave(y.shape, 0.3))).sum(), [x])[0].numpy()
        assert not g[:, 0].any() and g[:, 1].any() and np.isfinite(g).all()


def test_a_causal_mask_is_the_same_in_three_ways():
    model, x = small(), gg.tensor(wave((5, 2, 4), 0.7))
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    assert mask.shape == (5, 5) and mask.dtype == "float32" and np.isneginf(mask.numpy()[0, 1:]).all()
    ways = [{"is_causal": True}, {"attn_mask": mask}, {"attn_mask": mask, "is_causal": True}]
    answers = [model(x, x, x, need_weights=w, **way)[0].numpy() for way in ways for w in (False, True)]
    for y in answers[1:]:
        assert_close(answers[0], y)


def test_a_mask_may_have_a_gradient():
    model, x = small(), gg.tensor(wave((3, 2, 4), 0.7))
    bias = gg.tensor(np.zeros((4, 3, 3)), requires_grad=True)
    by_op, whole = [gg.grad(model(x, x, x, None, w, bias)[0].sum(), [bias])[0].numpy() for w in (False, True)]
    assert by_op.any()
    assert_close(by_op, whole)


def test_dropout_is_for_training():
    """What is dropped is as likely as it should be, repeats with the seed, and evaluation drops nothing."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.4, batch_first=True, dtype="float64")
    x = gg.tensor(wave((2, 6, 8), 0.7))

    def run():
        gg.random.seed(5)
        return layer(x).numpy()

    np.testing.assert_array_equal(run(), run())
    trained = run()
    layer.eval()
    assert (run() != trained).all()
    still = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, dtype="float64")
    still.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(run(), still(x).numpy())
    for first in (False, True):
        layer = nn.TransformerDecoderLayer(4, 2, 3, 0.3, gg.nn.tanh, norm_first=first, dtype="float64")

        def f(x, m, layer=layer):
            gg.random.seed(5)
            return layer(x, m)

        check_grads(f, [wave((3, 2, 4), 0.7), wave((2, 2, 4), 1.1)], order=1)
    model = nn.MultiheadAttention(4, 2, 0.5, dtype="float64")
    _, weights = model(*[gg.tensor(wave((40, 4), 0.7))] * 3, average_attn_weights=False)
    assert 0.3 < (weights.numpy() == 0).mean() < 0.7
    _, weights = nn.MultiheadAttention(4, 2, 1.0)(*[gg.ones((3, 4))] * 3)
    assert not weights.numpy().any()


def test_what_a_layer_keeps():
    """Of a tokens x features block: what is between the parts once each, the joined heads, the hidden layer."""
    n, width, hidden = 64, 16, 48
    layer = nn.TransformerEncoderLayer(width, 2, hidden, 0.0, "relu", batch_first=True, norm_first=True)
    x = gg.tensor(np.ones((2, n, width), np.float32), requires_grad=True)
    with gg.GradientTape() as tape:
        tape.watch(x)
        layer(x)
    weights = sum([v.array.nbytes for v in layer.parameters()])
    rows = 2 * n * 4
    # x, its norm, q k v, attention's answer, x again and its norm, the hidden layer; and a number or two for each row
    assert tape.nbytes() - weights <= rows * (width * (1 + 1 + 3 + 1 + 1 + 1) + hidden + 16)


def test_stacks_have_layers_of_their_own():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    stack = nn.TransformerEncoder(layer, 3, nn.LayerNorm(4))
    assert len(list(stack.parameters())) == 3 * 12 + 2
    assert "layers.2.self_attn.in_proj_weight" in stack.state_dict()
    stack.layers[0].linear1.weight.assign_add(1.0)
    assert not np.array_equal(stack.layers[0].linear1.weight.numpy(), stack.layers[1].linear1.weight.numpy())
    stack(gg.ones((2, 3, 4))).sum().backward()
    assert all([v.grad is not None for v in stack.parameters()]) and layer.linear1.weight.grad is None
    assert nn.MultiHeadAttention is nn.MultiheadAttention


def test_bad_input_is_told():
    model, x = small(), gg.ones((3, 2, 4), dtype="float64")
    for args, said in [
        ((x, x, gg.ones((4, 2, 4), dtype="float64")), "do not fit"),
        ((x, x, gg.ones((3, 4), dtype="float64")), "or all without batch"),
        ((x[0, 0], x, x), "do not fit"),
        ((x, gg.ones((3, 5, 4), dtype="float64"), gg.ones((3, 5, 4), dtype="float64")), "do not fit"),
        ((x, x, x, np.zeros((3, 2), bool)), r"key_padding_mask \(3, 2\) does not fit; it is \(2, 3\)"),
        ((x, x, x, None, False, np.zeros((3, 4), bool)), r"attn_mask .* it is \(3, 3\) or \(4, 3, 3\)"),
    ]:
        with pytest.raises(ValueError, match=said):
            model(*args)
    with pytest.raises(TypeError, match="key_padding_mask is bool"):
        model(x, x, x, np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="num_heads divides embed_dim, given 3 heads of 4 features"):
        nn.MultiheadAttention(4, 3)
    with pytest.raises(ValueError, match="dropout is a probability"):
        nn.MultiheadAttention(4, 2, 1.5)
    with pytest.raises(ValueError, match="activation is one of .* or a function, not 'swishy'"):
        nn.TransformerEncoderLayer(4, 2, activation="swishy")

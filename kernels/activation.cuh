// Activations by number, the same as gpugrad/fused/activation.py has.
enum { IDENTITY, RELU, GELU, GELU_TANH, SILU, SIGMOID, TANH };

template <typename C> DEVICE C logistic(C z) { return C(1) / (C(1) + exp(-z)); }
template <typename C> DEVICE C gelu_inner(C z) { return C(0.7978845608028654) * (z + C(0.044715) * z * z * z); }

template <int ACT, typename C> DEVICE C activation(C z) {
    if constexpr (ACT == RELU) return z < C(0) ? C(0) : z;  // NaN stays NaN, as in NumPy
    if constexpr (ACT == GELU) return C(0.5) * z * erfc(z * C(-0.7071067811865476));  // erfc keeps the lower tail
    if constexpr (ACT == GELU_TANH) return C(0.5) * z * (C(1) + tanh(gelu_inner(z)));
    if constexpr (ACT == SILU) return z * logistic(z);
    if constexpr (ACT == SIGMOID) return logistic(z);
    if constexpr (ACT == TANH) return tanh(z);
    return z;
}

// Whether the pullback goes by the output; else by the input.
template <int ACT> constexpr bool by_output = ACT == RELU || ACT == SIGMOID || ACT == TANH;

// The cotangent g pulled back, with s the output or the input
template <int ACT, typename C> DEVICE C pull(C g, C s) {
    if constexpr (ACT == RELU) return s > C(0) ? g : C(0);  // not a product: an infinite g stays out where s is 0
    if constexpr (ACT == GELU)
        return g * (C(0.5) * erfc(s * C(-0.7071067811865476)) + s * C(0.3989422804014327) * exp(s * s * C(-0.5)));
    if constexpr (ACT == GELU_TANH) {
        C t = tanh(gelu_inner(s));
        C inner = C(0.7978845608028654) * (C(1) + C(3 * 0.044715) * s * s);
        C bend = C(1) - t * t;
        if (bend > C(0)) bend *= C(0.5) * s * inner;  // far out, where bend is 0, inner may be infinite
        return g * (C(0.5) * (C(1) + t) + bend);
    }
    if constexpr (ACT == SILU) {
        C y = logistic(s);
        return g * (y * (C(1) + s * (C(1) - y)));
    }
    if constexpr (ACT == SIGMOID) return g * (s * (C(1) - s));
    if constexpr (ACT == TANH) return g * (C(1) - s * s);
    return g;
}

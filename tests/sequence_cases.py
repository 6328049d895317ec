"""Cases of layers for sequences, for which PyTorch's answers are in sequence_numbers.json.

    python tests/sequence_cases.py      writes that file; needs PyTorch

A case is (class, arguments, options, shapes of the inputs, options of the call); classes and names are the same here
and in PyTorch.  Values come from sines, so the file holds answers only: of each output and gradient the products with
three waves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("sequence_numbers.json")
LATER = np.triu(np.ones((5, 5), bool), 1)
SOME = np.array(
    [[0, 1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1], [0] * 7, [1, 1, 0, 1, 1, 1, 1]], bool
)
PADDED = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]], bool)
MEMORY = np.array([[0, 0, 0, 0, 0, 1, 1], [0] * 7, [0, 0, 0, 1, 1, 1, 1]], bool)
BIAS = np.sin(np.arange(35.0)).reshape(5, 7)
HEADS = np.sin(np.arange(6 * 35.0)).reshape(6, 5, 7)
FLOATS = np.where(PADDED, -np.inf, 0.0)
EXACT = {"dtype": "float64"}
SELF, CROSS = [(5, 3, 8)], [(5, 3, 8), (7, 3, 8), (7, 3, 8)]
NO = {"need_weights": False}


def mha(shapes: list[tuple[int, ...]], call: dict[str, Any], **options: Any) -> tuple:
    return "MultiheadAttention", (8, 2), options, shapes, call


def layer(kind: str, shapes: list[tuple[int, ...]], call: dict[str, Any], **options: Any) -> tuple:
    options = {"dim_feedforward": 12, "dropout": 0.0, **options}
    return f"Transformer{kind}Layer", (8, 2), options, shapes, call


def recurrent(kind: str, call: dict[str, Any], states: int = 0, rows: int = 2, **options: Any) -> tuple:
    """Over 5 steps of 3 sequences; the last `states` inputs are the first state, of so many `rows` of layers."""
    x = (3, 5, 4) if options.get("batch_first") else (5, 3, 4)
    widths = (options.get("proj_size", 6), 6)[:states]
    return kind, (4, 6), options, [x, *[(rows, 3, n) for n in widths]], call


LENGTHS = {"lengths": [5, 2, 3]}
FIRST, MEM = (3, 5, 8), (3, 7, 8)
CASES: dict[str, tuple] = {
    "attention self": mha([(5, 3, 8)], NO),
    "attention self weights": mha([(5, 3, 8)], {}),
    "attention heads weights": mha(CROSS, {"average_attn_weights": False}),
    "attention cross": mha(CROSS, NO),
    "attention one memory": mha([(5, 3, 8), (7, 3, 8)], NO, bias=False),
    "attention own widths": mha([(3, 5, 8), (3, 7, 6), (3, 7, 4)], NO, kdim=6, vdim=4, batch_first=True),
    "attention own widths no bias": mha([(5, 8), (7, 6), (7, 4)], {}, kdim=6, vdim=4, bias=False),
    "attention alone": mha([(5, 8)], NO),
    "attention alone weights mask": mha([(5, 8), (7, 8), (7, 8)], {"attn_mask": SOME}),
    "attention mask": mha(CROSS, {"attn_mask": SOME, **NO}),
    "attention float mask": mha(CROSS, {"attn_mask": BIAS}),
    "attention mask of heads": mha(CROSS, {"attn_mask": HEADS, **NO}),
    "attention padding": mha([FIRST], {"key_padding_mask": PADDED, **NO}, batch_first=True),
    "attention padding weights": mha([FIRST], {"key_padding_mask": FLOATS}, batch_first=True),
    "attention both masks": mha([FIRST], {"key_padding_mask": PADDED, "attn_mask": LATER, **NO}, batch_first=True),
    "attention masks of two kinds": mha(CROSS, {"key_padding_mask": MEMORY, "attn_mask": HEADS, **NO}),
    "attention causal": mha(SELF, {"attn_mask": LATER, "is_causal": True, **NO}),
    "encoder": layer("Encoder", SELF, {}),
    "encoder gelu first": layer("Encoder", [FIRST], {}, activation="gelu", norm_first=True, batch_first=True),
    "encoder masks": layer("Encoder", SELF, {"src_mask": LATER, "src_key_padding_mask": PADDED}, layer_norm_eps=0.1),
    "encoder causal first": layer("Encoder", SELF, {"src_mask": LATER, "is_causal": True}, norm_first=True),
    "encoder no bias": layer("Encoder", [FIRST], {}, bias=False, batch_first=True),
    "encoder alone": layer("Encoder", [(5, 8)], {}, activation="gelu"),
    "decoder": layer("Decoder", CROSS[:2], {}),
    "decoder gelu first": layer("Decoder", [FIRST, MEM], {}, activation="gelu", norm_first=True, batch_first=True),
    "decoder masks": layer("Decoder", CROSS[:2], {
        "tgt_mask": LATER, "memory_mask": SOME, "tgt_key_padding_mask": PADDED, "memory_key_padding_mask": MEMORY}),
    "decoder causal no bias": layer("Decoder", CROSS[:2], {"tgt_mask": LATER, "tgt_is_causal": True}, bias=False),
    "transformer": ("Transformer", (8, 2, 2, 1, 6, 0.0), {"batch_first": True}, [FIRST, (3, 5, 8)],
                    {"tgt_mask": LATER, "src_key_padding_mask": PADDED, "memory_key_padding_mask": PADDED}),
    "rnn": recurrent("RNN", {}),
    "rnn relu": recurrent("RNN", {}, 1, nonlinearity="relu", num_layers=2, bias=False),
    "rnn lengths": recurrent("RNN", LENGTHS, 1, bidirectional=True, batch_first=True),
    "lstm": recurrent("LSTM", {}),
    "lstm state": recurrent("LSTM", {}, 2, num_layers=2),
    "lstm both ways": recurrent("LSTM", {}, 2, 4, num_layers=2, bidirectional=True, batch_first=True),
    "lstm projected": recurrent("LSTM", {}, 2, 4, num_layers=2, bidirectional=True, proj_size=2),
    "lstm lengths": recurrent("LSTM", LENGTHS, 2, 4, num_layers=2, bidirectional=True),
    "lstm lengths projected": recurrent("LSTM", LENGTHS, proj_size=2, bias=False, batch_first=True),
    "lstm alone": ("LSTM", (4, 6), {}, [(5, 4), (1, 6), (1, 6)], {}),
    "gru": recurrent("GRU", {}),
    "gru state no bias": recurrent("GRU", {}, 1, num_layers=2, bias=False),
    "gru both ways": recurrent("GRU", {}, 1, 4, num_layers=2, bidirectional=True, batch_first=True),
    "gru lengths": recurrent("GRU", LENGTHS, 1, bidirectional=True),
    "gru alone": ("GRU", (4, 6), {"bidirectional": True}, [(5, 4)], {}),
    "rnn cell": ("RNNCell", (4, 6), {"nonlinearity": "relu"}, [(3, 4), (3, 6)], {}),
    "lstm cell": ("LSTMCell", (4, 6), {}, [(3, 4), (3, 6), (3, 6)], {}),
    "lstm cell first": ("LSTMCell", (4, 6), {"bias": False}, [(4,)], {}),
    "gru cell": ("GRUCell", (4, 6), {}, [(3, 4), (3, 6)], {}),
}  # fmt: skip


def wave(shape: tuple[int, ...], by: float) -> np.ndarray:
    return np.sin(1 + by * np.arange(np.prod(shape, dtype=int))).reshape(shape)


def given(case: tuple) -> list[np.ndarray]:
    return [wave(s, 0.7 + i) for i, s in enumerate(case[3])]


def arguments(case: tuple, xs: list[Any]) -> list[Any]:
    """The inputs of the call: attention to itself takes one three times, to a memory another twice; a state is one."""
    if case[0] == "MultiheadAttention":
        return [*xs, *[xs[-1]] * (3 - len(xs))]
    if case[1] == (4, 6) and len(xs) > 1:
        return [xs[0], tuple(xs[1:]) if "LSTM" in case[0] else xs[1]]
    return xs


def values(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The parameters, by PyTorch's names and shapes."""
    return {n: 0.5 * wave(shapes[n], 1.3 + i) + ("norm" in n) for i, n in enumerate(sorted(shapes))}


def flat(outputs: Any) -> list[Any]:
    return [y for o in outputs for y in flat(o)] if isinstance(outputs, (tuple, list)) else [outputs]


def told(a: np.ndarray) -> list[float]:
    """What stands for an array: its products with three waves."""
    return [round(float((a * wave(a.shape, by)).sum()), 10) for by in (0.2, 0.9, 1.7)]


def answers() -> dict[str, Any]:
    import torch

    found = {}
    for name, case in CASES.items():
        kind, args, options, _, call = case
        model = getattr(torch.nn, kind)(*args, **{**options, "dtype": torch.float64})
        model.load_state_dict(
            {n: torch.tensor(v) for n, v in values({n: tuple(p.shape) for n, p in model.named_parameters()}).items()}
        )
        xs = [torch.tensor(x, requires_grad=True) for x in given(case)]
        call = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
        x, *rest = arguments(case, xs)
        if "lengths" in call:
            first, lengths = {"batch_first": options.get("batch_first", False)}, torch.tensor(call["lengths"])
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False, **first)
            y, *states = model(packed, *rest)
            answer = torch.nn.utils.rnn.pad_packed_sequence(y, **first)[0], *states
        else:
            answer = model(x, *rest, **call)
        outs = [y for y in flat(answer) if y is not None]
        total = sum((y * torch.tensor(wave(tuple(y.shape), 0.3))).sum() for y in outs)
        total.backward()
        found[name] = {
            "outputs": [told(y.detach().numpy()) for y in outs],
            "inputs": [told(x.grad.numpy()) for x in xs],
            "parameters": {n: told(p.grad.numpy()) for n, p in model.named_parameters()},
        }
    return found


if __name__ == "__main__":
    lines = [f'"{name}": {json.dumps(found)}' for name, found in answers().items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")

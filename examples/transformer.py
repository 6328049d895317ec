"""A character transformer on the source of Python's standard library, against a 5-gram model of the same text.

Whole files are held out, drawn by the seed.  Both models learn from the same million characters; both are asked for the
probability of every character of the held-out files, given those before it.
"""

import string
import sysconfig
from pathlib import Path
from time import perf_counter

import numpy as np
from common import figure, options
from tqdm import trange

import gpugrad as gg

ALPHABET = "\0\n\x7f" + "".join(sorted(set(string.printable) - set(string.whitespace) | {" "}))  # \0: a file ends
V = len(ALPHABET)  # \x7f stands for other control characters, ? for what is not ASCII


def library_text(seed, train, held_out):
    """Modules of the running interpreter's library, in a random order: `held_out` characters, then `train` others."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    numbers = np.full(256, ALPHABET.index("\x7f"))
    numbers[[ord(c) for c in ALPHABET]] = np.arange(V)
    parts = [[], []]
    for i in np.random.default_rng(seed).permutation(len(files)):
        text = files[i].read_text("utf-8", errors="replace").expandtabs() + "\0"
        first = sum(map(len, parts[0])) < held_out
        parts[0 if first else 1].append(numbers[np.frombuffer(text.encode("ascii", "replace"), np.uint8)])
    return np.concatenate(parts[1])[:train], np.concatenate(parts[0])[:held_out]


# ---------------------------------------------------------------------------------------------- the 5-gram model
def grams(text, n):
    """The n characters that end at each place from n - 1 on, as one number each."""
    return sum(text[i : len(text) - n + 1 + i] * V ** (n - 1 - i) for i in range(n))


class NGrams:
    """Interpolated Kneser-Ney smoothing with three discounts an order (Chen & Goodman 1999), from counts alone.

    The longest context has counts of what followed it; of the shorter ones counts how many different characters stood
    before.  Discounts come from how many n-grams were seen once, twice, three and four times.
    """

    def __init__(self, text, order=5):
        self.order, self.tables, seen = order, [], None
        for n in range(order, 0, -1):
            seen, count = np.unique(grams(text, n) if seen is None else seen % V**n, return_counts=True)
            once, twice, thrice, four = (max((count == k).sum(), 1) for k in (1, 2, 3, 4))
            y = once / (once + 2 * twice)
            discounts = np.array([0, 1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice])
            discount = discounts.clip(0)[np.minimum(count, 3)]
            contexts, where = np.unique(seen // V, return_inverse=True)
            total = np.bincount(where, count)
            self.tables.append(
                (seen, (count - discount) / total[where], contexts, np.bincount(where, discount) / total)
            )

    def probabilities(self, text):
        """That of each character of the text given those before it: each order mixed with the next shorter one."""
        p = np.full(len(text), 1 / V)
        for n, (seen, own, contexts, rest) in enumerate(reversed(self.tables), 1):
            asked = grams(np.concatenate([np.zeros(n - 1, int), text]), n)
            p = self._at(seen, own, asked, 0.0) + self._at(contexts, rest, asked // V, 1.0) * p
        return p

    @staticmethod
    def _at(keys, values, asked, otherwise):
        i = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
        return np.where(keys[i] == asked, values[i], otherwise)


# ---------------------------------------------------------------------------------------------- the transformer
class Transformer(gg.nn.Module):
    """Layers that look back only.

    Their input at each place is a sum of embeddings: of the character, of each of the three before it, of the last two
    together and of the last three.  So what often follows what need not be learnt by the layers, and one layer of
    attention can find where the last characters stood before.
    """

    def __init__(self, length, width, heads, depth, triples):
        self.length, self.triples = length, triples  # fewer than V³: those that fall together share an embedding
        sizes = [V, V, V, V, V**2, triples]
        self.embeddings = [gg.nn.Embedding(n, width) for n in sizes]
        for n, table in zip(sizes, self.embeddings):
            table.weight.assign(table.weight * (0.1 if n == V else 0.0))
        self.layers = gg.nn.ModuleList(
            gg.nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        for layer in self.layers:  # which begin as the identity
            for last in (layer.self_attn.out_proj, layer.linear2):
                last.weight.assign(gg.zeros_like(last.weight))
        self.norm = gg.nn.LayerNorm(width)
        self.scores = gg.nn.Linear(width, V)

    def forward(self, ids):
        length = ids.shape[1]
        last, *_ = seen = [gg.pad(ids, ((0, 0), (back, 0)))[:, :length] for back in range(4)]
        pairs = last + V * seen[1]
        triples = (pairs + V**2 * seen[2]) % self.triples
        x = sum(table(n) for table, n in zip(self.embeddings, [*seen, pairs, triples]))
        for layer in self.layers:
            x = layer(x, is_causal=True)
        return self.scores(self.norm(x))


def loss_of(scores, targets):
    return gg.nn.cross_entropy(scores.reshape(-1, V), targets.reshape(-1))


def train(model, text, steps, batch, rng):
    """Muon for the layers' matrices, AdamW for the rest; rates rise over a tenth of the steps and fall as a cosine."""
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not m for m in matrices)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0, "use_muon": False}]
    optimizer, peaks = gg.optim.Muon(groups, betas=(0.9, 0.98)), [0.02, 3e-3]
    schedule = gg.optim.lr_scheduler.OneCycleLR(
        optimizer, peaks, total_steps=steps, pct_start=0.1, final_div_factor=100, cycle_momentum=False
    )
    windows = np.lib.stride_tricks.sliding_window_view(text, model.length + 1)
    losses = []
    with trange(steps, unit="step", disable=None) as bar:
        for _ in bar:
            rows = gg.tensor(windows[rng.integers(0, len(windows), batch)])
            optimizer.zero_grad()
            loss = loss_of(model(rows[:, :-1]), rows[:, 1:])
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss))
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
    return losses


@gg.no_grad()
def held_out_loss(model, text, batch=32):
    """The mean loss of every character, each seen with at least half a window before it, but where the text begins."""
    half = model.length // 2
    n = len(text) // half
    padded = np.concatenate([np.zeros(half + 1, int), text])
    starts = half * np.arange(n)[:, None]
    windows = padded[starts + np.arange(2 * half + 1)]
    total = 0.0
    for i in range(0, n, batch):
        rows = gg.tensor(windows[i : i + batch])
        total += float(loss_of(model(rows[:, :-1])[:, half:], rows[:, half + 1 :])) * len(rows)
    return total / n, n * half


@gg.no_grad()
def sample(model, start, n, rng, temperature=0.7):
    """n more characters, one after the other."""
    ids = [ALPHABET.index(c) for c in start]
    for _ in range(n):
        scores = model(gg.tensor([ids[-model.length :]]))[0, -1] / temperature
        ids.append(int(rng.choice(V, p=gg.nn.softmax(scores.astype("float64")).numpy())))
    return "".join(ALPHABET[i] for i in ids)


def main(arguments=None):
    given = options(arguments, __doc__, "a small model, few steps, little text")
    small = given.short
    learn, held = library_text(given.seed, *((30_000, 5_000) if small else (1_000_000, 100_000)))
    rng, start = np.random.default_rng(given.seed), perf_counter()
    model = Transformer(*((32, 32, 2, 1, 509) if small else (256, 128, 4, 3, 16_381)))
    losses = train(model, learn, *((30, 8) if small else (1000, 8)), rng)
    loss, n = held_out_loss(model, held)
    print(f"{sum(p.size for p in model.parameters()):,} parameters, {perf_counter() - start:.0f} s")

    five = float(-np.log(NGrams(learn).probabilities(held)[:n]).mean())
    print(f"perplexity of {n:,} held-out characters: transformer {np.exp(loss):.3f}, 5-gram {np.exp(five):.3f}")
    text = sample(model, "\ndef ", 60 if small else 500, rng)
    print(text)

    if given.output:
        picture, (left, right) = figure(12, 4.5, 1, 2)
        left.plot(losses, color="0.8")
        smooth = np.convolve(losses, np.ones(25) / 25, "valid")
        left.plot(np.arange(25, len(losses) + 1), smooth, label="training")
        left.axhline(loss, color="tab:blue", linestyle="--", label=f"transformer, held out: {loss:.3f}")
        left.axhline(five, color="tab:orange", linestyle="--", label=f"5-gram, held out: {five:.3f}")
        left.set(xlabel="step", ylabel="nats a character", ylim=(0.9 * min(smooth.min(), loss, five), 3.5))
        left.legend()
        shown = text.replace("\0", "∎").replace("$", r"\$").split("\n")
        lines = [line[i : i + 80] for line in shown for i in range(0, len(line) or 1, 80)]
        right.text(0, 1, "\n".join(lines), va="top", family="monospace", fontsize=6)
        right.set_axis_off()
        picture.savefig(given.output, dpi=120)


if __name__ == "__main__":
    main()

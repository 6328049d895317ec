"""A character transformer on the source of Python's standard library, against a 5-gram model of the same text.

Whole files are held out, drawn by the seed.  Both models learn from the same million characters, which the transformer
goes through once; both are asked for the probability of every character of the held-out files, given those before it.
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
PROMPT = 'class Queue:\n    """First in, first out."""\n\n    def __init__(self):\n        self.items = []\n\n    def '
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


def at(keys, values, asked, otherwise):
    """The value of each key that is asked for; `keys` are sorted."""
    i = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[i] == asked, values[i], otherwise)


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
            p = at(seen, own, asked, 0.0) + at(contexts, rest, asked // V, 1.0) * p
        return p


# ---------------------------------------------------------------------------------------------- the transformer
class Reader:
    """What the transformer sees at each place, as numbers: a character with those before it.

    They are the last `apart` characters, each by itself, for n = 2 ... order the last n together, if they are found at
    least `least` times in the text (rarer ones are one "rare" for each n), and the column, up to `columns`.  So what
    often follows what need not be learnt by the layers, and one layer of attention can find where the last characters
    stood before.
    """

    def __init__(self, text, order=7, least=24, apart=4, columns=80):
        self.apart, self.columns, self.known, self.rows = apart, columns, [], apart * V + columns
        for n in range(2, order + 1):
            seen, count = np.unique(grams(text, n), return_counts=True)
            self.known.append((n, seen[count >= least], self.rows))
            self.rows += 1 + len(self.known[-1][1])

    def __call__(self, text):
        """(places, kinds): rows of one table, before `rows`."""
        before = lambda n: np.concatenate([np.zeros(n, int), text])
        places = np.arange(len(text))
        lines = np.maximum.accumulate(np.where(text == ALPHABET.index("\n"), places, 0))
        kinds = [before(n)[: len(text)] + n * V for n in range(self.apart)]
        kinds.append(self.apart * V + np.minimum(places - lines, self.columns - 1))
        for n, known, first in self.known:
            kinds.append(first + at(known, 1 + np.arange(len(known)), grams(before(n - 1), n), 0))
        return np.stack(kinds, axis=1).astype(np.int32)


class Transformer(gg.nn.Module):
    """A sum of embeddings of what the reader sees, and layers that look back only."""

    def __init__(self, reader, length, width, heads, depth):
        self.length, alone = length, reader.apart * V
        self.embedding = gg.nn.Embedding(reader.rows, width)
        scale = np.where(np.arange(reader.rows) < alone, 0.1, 0.0)[:, None]
        self.embedding.weight.assign(self.embedding.weight * gg.tensor(scale, "float32"))
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

    def forward(self, seen):
        x = gg.sum(self.embedding(seen), axis=-2)
        for layer in self.layers:
            x = layer(x, is_causal=True)
        return self.scores(self.norm(x))


def loss_of(scores, targets):
    return gg.nn.cross_entropy(scores.reshape(-1, V), targets.reshape(-1))


def train(model, seen, text, batch, rng, steps=None):
    """Once through the text, in windows of a random order (or `steps` of them).

    Muon for the layers' matrices, AdamW for the rest; rates rise over a tenth of the steps and fall as a cosine.
    """
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not m for m in matrices)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0, "use_muon": False}]
    optimizer, peaks = gg.optim.Muon(groups, betas=(0.9, 0.98)), [0.02, 3e-3]
    windows = rng.permutation((len(text) - 1) // model.length)[:, None] * model.length + np.arange(model.length)
    steps = steps or len(windows) // batch
    schedule = gg.optim.lr_scheduler.OneCycleLR(
        optimizer, peaks, total_steps=steps, pct_start=0.1, final_div_factor=100, cycle_momentum=False
    )
    losses = []
    with trange(steps, unit="step", disable=None) as bar:
        for step in bar:
            places = windows[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            loss = loss_of(model(gg.tensor(seen[places])), gg.tensor(text[places + 1]))
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss))
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
    return losses


@gg.no_grad()
def held_out_loss(model, reader, text, batch=32):
    """The mean loss of every character, each seen with at least half a window before it, but where the text begins."""
    half = model.length // 2
    n = len(text) // half
    seen = reader(np.concatenate([np.zeros(half, int), text]))
    total = 0.0
    for i in range(0, n, batch):
        starts = half * np.arange(i, min(i + batch, n))[:, None]
        scores = model(gg.tensor(seen[starts + np.arange(2 * half)]))[:, half - 1 : -1]
        total += float(loss_of(scores, gg.tensor(text[starts + np.arange(half)]))) * len(starts)
    return total / n, n * half


@gg.no_grad()
def sample(model, reader, start, n, rng, temperature=0.6):
    """n more characters, one after the other."""
    ids = [ALPHABET.index(c) for c in start]
    for _ in range(n):
        seen = reader(np.array(ids))[-model.length :]
        scores = model(gg.tensor(seen[None]))[0, -1] / temperature
        ids.append(int(rng.choice(V, p=gg.nn.softmax(scores.astype("float64")).numpy())))
    return "".join(ALPHABET[i] for i in ids)


def main(arguments=None):
    given = options(arguments, __doc__, "a small model, few steps, little text")
    small = given.short
    learn, held = library_text(given.seed, *((30_000, 5_000) if small else (1_000_000, 100_000)))
    rng, start = np.random.default_rng(given.seed), perf_counter()
    reader = Reader(learn)
    model = Transformer(reader, *((32, 32, 2, 1) if small else (256, 128, 4, 2)))
    losses = train(model, reader(learn), learn, *((8, rng, 30) if small else (4, rng)))
    loss, n = held_out_loss(model, reader, held)
    print(f"{sum(p.size for p in model.parameters()):,} parameters, {perf_counter() - start:.0f} s")

    five = float(-np.log(NGrams(learn).probabilities(held)[:n]).mean())
    print(f"perplexity of {n:,} held-out characters: transformer {np.exp(loss):.3f}, 5-gram {np.exp(five):.3f}")
    text = sample(model, reader, PROMPT, 60 if small else 600, rng)
    print(text)

    if given.output:
        picture, (left, right) = figure(12, 4.5, 1, 2)
        left.plot(losses, color="0.85", linewidth=0.7)
        smooth = np.convolve(losses, np.ones(25) / 25, "valid")
        left.plot(np.arange(25, len(losses) + 1), smooth, label="training, on text met for the first time")
        left.axhline(loss, color="tab:blue", linestyle="--", label=f"transformer, held out: {loss:.3f}")
        left.axhline(five, color="tab:orange", linestyle="--", label=f"5-gram, held out: {five:.3f}")
        left.set(xlabel="step", ylabel="nats a character", ylim=(0.9 * min(smooth.min(), loss, five), 3.5))
        left.set_title(f"Perplexity of held-out files: {np.exp(loss):.2f}, 5-gram {np.exp(five):.2f}")
        left.legend()
        shown = text.replace("\0", "∎").replace("$", r"\$").split("\n")
        lines = [line[i : i + 80] for line in shown for i in range(0, len(line) or 1, 80)]
        right.text(0, 1, "\n".join(lines[:36]), va="top", family="monospace", fontsize=7)
        right.set_axis_off()
        right.set_title("How it goes on after the first lines (to “def”)")
        picture.savefig(given.output, dpi=120)


if __name__ == "__main__":
    main()

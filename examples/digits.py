"""Handwritten digits: a perceptron and a convolutional network, by Trainer and DataLoader.

1,797 digits of 8 x 8 pixels; a fifth of each class is for testing (the split is the seed's).  The test digits choose
nothing: they are looked at after each epoch for the picture, and the last network is the result.  What was chosen
(batch norm, how digits are turned, scaled and moved, how long to train) was so by cross-validation among the other
digits of seed 0.
"""

from time import perf_counter

import numpy as np
from common import figure, options

import gpugrad as gg
from gpugrad.demo import load_digits


class Warped:
    """Images (1, 8, 8) with their labels, each time turned, scaled and moved a little: a digit stays what it is."""

    def __init__(self, images, labels, degrees=10.0, scale=0.1, pixels=1.0):
        self.images = np.pad(images.reshape(-1, 8, 8), ((0, 0), (4, 4), (4, 4)))
        self.labels, self.degrees, self.scale, self.pixels = labels, degrees, scale, pixels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        images, labels = self.__getbatch__(np.array([i]))
        return images[0], labels[0]

    def __getbatch__(self, which):
        """A whole batch at once, which NumPy does faster than one digit after the other."""
        rng, n = gg.data.rng(), len(which)
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, n))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # (2, 2, n)
        stretch = np.exp(rng.uniform(-self.scale, self.scale, (2, 1, n)))
        move = rng.uniform(-self.pixels, self.pixels, (2, n, 1))
        grid = np.indices((8, 8)).reshape(2, 64) - 3.5  # from the middle of the digit
        places = np.einsum("ijn,jk->ink", stretch * turn, grid) + move + 7.5  # where each pixel is read
        corner = np.floor(places).astype(int)
        (y, x), (down, right) = corner, places - corner
        read = lambda y, x: self.images[which[:, None], y, x]
        above = (1 - right) * read(y, x) + right * read(y, x + 1)
        below = (1 - right) * read(y + 1, x) + right * read(y + 1, x + 1)
        pixels = (1 - down) * above + down * below
        return pixels.reshape(n, 1, 8, 8).astype(np.float32), self.labels[which]


def perceptron():
    linear = lambda n, m: gg.nn.Linear(n, m, activation="relu")
    return gg.nn.Sequential(gg.nn.Flatten(), linear(64, 256), linear(256, 256), gg.nn.Linear(256, 10))


def convnet():
    conv = lambda n, m: (gg.nn.Conv2d(n, m, 3, padding="same", bias=False), gg.nn.BatchNorm2d(m), gg.nn.ReLU())
    return gg.nn.Sequential(
        *conv(1, 32), *conv(32, 32), gg.nn.MaxPool2d(2), *conv(32, 64), gg.nn.MaxPool2d(2),
        gg.nn.Flatten(), gg.nn.Dropout(0.3), gg.nn.Linear(256, 10),
    )  # fmt: skip


def loss_of(scores, labels):
    return gg.nn.cross_entropy(scores, labels, label_smoothing=0.1)


def accuracy(scores, labels):
    return gg.mean(gg.argmax(scores, axis=-1) == labels)


@gg.no_grad()
def answers(model, images):
    """The digits that the model sees, by one look at each image."""
    model.eval()
    return model(gg.tensor(images.reshape(-1, 1, 8, 8))).numpy().argmax(-1)


def train(model, data, epochs, peak=3e-3):
    """AdamW, its rate up and down in one cycle.  Answers the history: a number an epoch for each measure."""
    learn = gg.data.DataLoader(Warped(data.train_x, data.train_y), batch_size=64, shuffle=True)
    test = gg.data.DataLoader(gg.data.ArrayDataset(data.test_x.reshape(-1, 1, 8, 8), data.test_y), batch_size=512)
    optimizer = gg.optim.AdamW(model.parameters(), learning_rate=peak, weight_decay=0.01)
    schedule = gg.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=epochs * len(learn), pct_start=0.1, cycle_momentum=False
    )
    trainer = gg.train.Trainer(
        model, optimizer, loss_of, metrics={"accuracy": accuracy}, schedule=schedule,
        schedule_every="step", loggers=[],
    )  # fmt: skip
    return trainer.fit(learn, test, epochs=epochs)


def main(arguments=None):
    given = options(arguments, __doc__, "2 epochs instead of 80")
    data = load_digits(given.seed)
    print(f"{len(data.train_y):,} digits to learn from, {len(data.test_y)} to be tested on")
    histories = {}
    for name, model in (("perceptron", perceptron()), ("convnet", convnet())):
        start = perf_counter()
        histories[name] = train(model, data, 2 if given.short else 80)
        found = answers(model, data.test_x)
        wrong = (found != data.test_y).sum()
        print(f"{name}: test accuracy {1 - wrong / len(found):.2%} ({wrong} wrong), {perf_counter() - start:.0f} s")

    if given.output:
        order = np.argsort(found == data.test_y, kind="stable")[:16]  # wrong ones first
        picture, (left, *rest) = figure(12, 4, 1, 3, width_ratios=[3, 3, 2])
        for (name, history), color in zip(histories.items(), ("tab:orange", "tab:blue")):
            epochs = range(1, 1 + len(history["loss"]))
            left.semilogy(epochs, history["loss"], color=color, label=f"{name}, training")
            left.semilogy(epochs, history["val_loss"], "--", color=color, label=f"{name}, test")
            rest[0].plot(epochs, [100 * a for a in history["val_accuracy"]], color=color, label=name)
        left.set(xlabel="epoch", ylabel="cross-entropy with smoothed labels", title="Loss")
        rest[0].set(xlabel="epoch", ylabel="test accuracy (%)", ylim=(80, 100.5), title="Accuracy")
        left.legend()
        rest[0].legend()
        tiles = np.pad(data.test_x[order].reshape(4, 4, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
        rest[1].imshow(tiles.transpose(0, 2, 1, 3).reshape(40, 40), cmap="gray_r")
        rest[1].set(title="convnet, wrong ones first", xticks=[], yticks=[])
        for i, k in enumerate(order):
            color = "tab:green" if found[k] == data.test_y[k] else "tab:red"
            rest[1].text(10 * (i % 4), 10 * (i // 4) + 2, str(found[k]), color=color)
        picture.savefig(given.output, dpi=120)


if __name__ == "__main__":
    main()

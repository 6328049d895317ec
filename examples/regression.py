"""Linear regression as the tutorials have it, three ways: TensorFlow's tape, PyTorch's backward, gpugrad's own names.

The data are the tutorial's, y = 2x + 1 with noise.  One engine stands behind the three, so they go through the same
numbers.
"""

import numpy as np
from common import figure, options

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch


def tensorflow_way(x_data, y_data, epochs, learning_rate=0.1):
    x_data, y_data = tf.constant(x_data), tf.constant(y_data)  # where the variables are: a GPU does not take NumPy's
    w = tf.Variable(0.0)
    b = tf.Variable(0.0)
    losses = []
    for _ in range(epochs):
        with tf.GradientTape() as tape:
            predictions = w * x_data + b
            loss = tf.reduce_mean((predictions - y_data) ** 2)
        grads = tape.gradient(loss, [w, b])
        w.assign_sub(learning_rate * grads[0])
        b.assign_sub(learning_rate * grads[1])
        losses.append(float(loss))
    return float(w), float(b), losses


def torch_way(x_data, y_data, epochs, learning_rate=0.1):
    x, target = torch.tensor(x_data[:, None]), torch.tensor(y_data[:, None])
    model = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    criterion = torch.nn.MSELoss()
    losses = []
    for _ in range(epochs):
        optimizer.zero_grad()
        output = model(x)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model.weight.item(), model.bias.item(), losses


def gpugrad_way(x_data, y_data, epochs, learning_rate=0.1):
    x, y = gg.tensor(x_data), gg.tensor(y_data)
    w, b = gg.Variable(0.0), gg.Variable(0.0)
    optimizer = gg.optim.SGD([w, b], learning_rate=learning_rate)
    losses = []
    for _ in range(epochs):
        with gg.GradientTape() as tape:
            loss = gg.nn.mse_loss(w * x + b, y)
        optimizer.apply_gradients(zip(tape.gradient(loss, [w, b]), [w, b]))
        losses.append(float(loss))
    return float(w), float(b), losses


def main(arguments=None):
    given = options(arguments, __doc__, "20 epochs instead of 100")
    rng = np.random.default_rng(given.seed)
    x_data = rng.standard_normal(100).astype(np.float32)
    y_data = 2.0 * x_data + 1.0 + rng.standard_normal(100).astype(np.float32) * 0.1
    epochs = 20 if given.short else 100

    ways = {"TensorFlow's way": tensorflow_way, "PyTorch's way": torch_way, "gpugrad's own": gpugrad_way}
    found = {name: way(x_data, y_data, epochs) for name, way in ways.items()}
    for name, (w, b, losses) in found.items():
        print(f"{name:<16}  w = {w:.6f}  b = {b:.6f}  loss {losses[0]:.4f} -> {losses[-1]:.6f}")
    exact_w, exact_b = np.polyfit(x_data, y_data, 1)
    print(f"least squares     w = {exact_w:.6f}  b = {exact_b:.6f}")
    curves = np.array([losses for *_, losses in found.values()])
    print(f"largest difference between the ways, over all {epochs} losses: {np.ptp(curves, axis=0).max():.1e}")

    if given.output:
        picture, (left, right) = figure(10, 4, 1, 2)
        ends = np.array([x_data.min(), x_data.max()])
        left.plot(x_data, y_data, ".", color="tab:blue", zorder=3)
        for (name, (w, b, losses)), width, color in zip(found.items(), [7, 4, 1.5], ["0.8", "tab:orange", "k"]):
            style = {"linewidth": width, "color": color, "label": name}  # one upon the other
            left.plot(ends, w * ends + b, **style)
            right.semilogy(range(1, epochs + 1), losses, **style)
        left.set(xlabel="x", ylabel="y", title="The fit")
        right.set(xlabel="epoch", ylabel="mean squared error", title="The way there")
        left.legend()
        right.legend()
        picture.savefig(given.output, dpi=120)


if __name__ == "__main__":
    main()

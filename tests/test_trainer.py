"""gg.train.Trainer: the loop, what it measures, when it stops, and what happens where something goes wrong."""

import csv
import errno
import importlib
import inspect
import io
import multiprocessing
import os
import signal
import struct
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest
import trainer_cases as cases

import gpugrad as gg
from gpugrad.array import to_host
from gpugrad.optim import clip
from gpugrad.train import Console, CSVFile, EarlyStopping, Logger, NonFiniteLossError, TensorBoard, Trainer
from gpugrad.train.running import Means


def test_a_star_imports_what_is_imported_when_first_asked_for():
    names: dict = {}
    exec("from gpugrad.train import *", names)
    assert names["Trainer"] is Trainer and {*gg.train.__all__} == names.keys() - {"__builtins__"}


def by_hand(epochs, data, schedule_every="epoch"):
    """The same run as a loop of one's own."""
    gg.random.seed(0)
    model = cases.Net()
    optimizer = gg.optim.SGD(model.parameters(), 0.1, 0.9)
    schedule = gg.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for x, y in data:
            optimizer.zero_grad()
            loss = gg.nn.cross_entropy(model(gg.tensor(x)), gg.tensor(y))
            loss.backward()
            optimizer.step()
            total += float(loss) * len(x)
            if schedule_every == "step":
                schedule.step()
        losses.append(total / sum(len(x) for x, _ in data))
        if schedule_every == "epoch":
            schedule.step()
    return model, losses


@pytest.mark.devices
@pytest.mark.parametrize("every", ["epoch", "step"])
def test_it_is_the_loop_that_one_would_write(every):
    model, losses = by_hand(2, cases.batches(), every)
    t = cases.trainer()
    t.schedule, t.schedule_every = gg.optim.lr_scheduler.ExponentialLR(t.optimizer, 0.9), every
    history = t.fit(cases.batches(), epochs=2)
    assert cases.plain(t.model.state_dict()) == cases.plain(model.state_dict())
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-12)
    assert history["lr"] == pytest.approx([0.1, 0.09] if every == "epoch" else [0.1 * 0.9**9, 0.1 * 0.9**18])
    assert list(history) == ["loss", "accuracy", "lr"] and (t.step, t.epoch) == (18, 2)


@pytest.mark.devices
def test_means_are_over_rows():
    t, data = cases.trainer(), cases.batches()
    found = t.evaluate(data)
    x, y = cases.arrays()
    t.model.eval()
    out = t.model(gg.tensor(x))
    assert found["loss"] == pytest.approx(float(gg.nn.cross_entropy(out, gg.tensor(y))), rel=1e-6)
    right = to_host(out.array).argmax(-1) == y
    assert found["accuracy"] == pytest.approx(right.mean(), rel=1e-6)
    np.testing.assert_array_equal(t.predict(data), t.predict([x for x, _ in data]))
    np.testing.assert_allclose(t.predict(x), to_host(out.array), rtol=1e-6, atol=1e-6)
    history = t.fit(data, data, 1)
    assert history["val_loss"] == [t.evaluate(data)["loss"]] and history["val_accuracy"][0] <= 1


@pytest.mark.devices
def test_accumulated_batches_are_one_batch():
    class Plain(gg.nn.Module):
        def __init__(self):
            self.layer = gg.nn.Linear(5, 2)

        def forward(self, x):
            return self.layer(x)

    gg.random.seed(0)
    start = Plain().state_dict()
    found = []
    for size, accumulate in ((24, 1), (8, 3), (4, 6)):
        model = Plain()
        model.load_state_dict(start)
        t = cases.trainer(model=model, accumulate=accumulate)
        t.fit(cases.batches(size=size), epochs=2)  # the last group of an epoch is smaller
        found.append((t.step, to_host(model.layer.weight.array)))
    assert [step for step, _ in found] == [6, 6, 6]
    for _, weight in found[1:]:
        np.testing.assert_allclose(weight, found[0][1], rtol=2e-5, atol=1e-6)


def test_gradients_are_clipped_after_they_are_unscaled(monkeypatch):
    lengths = []

    def clipped(parameters, limit):
        found = clip.clip_grad_norm_(parameters, limit)
        lengths.append((float(found), clip.norm([p.grad.array for p in parameters])))

    monkeypatch.setattr(importlib.import_module("gpugrad.train.trainer"), "clip_grad_norm_", clipped)
    plain = cases.trainer(clip_norm=0.01)
    plain.fit(cases.batches(), epochs=1)
    before = lengths[:]
    scaled = cases.trainer(clip_norm=0.01, scaler=gg.GradScaler())
    scaled.fit(cases.batches(), epochs=1)
    assert all(inside <= 0.0101 < outside for outside, inside in before)
    np.testing.assert_allclose(lengths[9:], before, rtol=1e-4)
    np.testing.assert_allclose(scaled.history["loss"], plain.history["loss"], rtol=1e-5)


def test_steps_that_a_scaler_skips_are_counted():
    class Steep(gg.nn.Module):
        def __init__(self):
            self.layer = gg.nn.Linear(5, 2)

        def forward(self, x):
            return self.layer(x)

    t = cases.trainer(model=Steep(), scaler=gg.GradScaler(init_scale=2.0**127, backoff_factor=2.0**-20))
    with np.errstate(over="ignore", invalid="ignore"):
        history = t.fit([(100 * x, y) for x, y in cases.batches()], epochs=2)  # whose scaled gradients overflow
    assert history["skipped"] == [float(t.scaler.skipped)] * 2 and 0 < t.scaler.skipped < 9
    assert t.optimizer.iterations == t.step - t.scaler.skipped


@pytest.mark.devices
def test_a_run_is_validated_by_the_means_of_its_weights():
    t = cases.trainer(log_every=100)
    t.ema = gg.optim.EMA(t.model, 0.9)
    history = t.fit(cases.batches(), cases.batches(20), 1)
    assert history["val_loss"][-1] != t.evaluate(cases.batches(20))["loss"]
    with t.ema.applied():
        assert history["val_loss"][-1] == t.evaluate(cases.batches(20))["loss"]
        weights = cases.plain(dict(t.model.named_parameters()))
    best = cases.plain({name: np.asarray(a) for name, a in t.best().items()})
    assert {name: best[name] for name in weights} == weights


def test_autocast_is_around_each_step():
    seen = []
    t = cases.trainer(autocast=gg.autocast("bfloat16"))
    forward = t.model.last.forward
    t.model.last.forward = lambda x: (out := forward(x), seen.append(str(out.dtype)))[0]
    t.fit(cases.batches(), cases.batches(20), 1)
    t.predict(cases.batches(20))
    assert seen == ["bfloat16"] * (9 + 3 + 3) and t.model.last.weight.dtype == np.float32


def test_steps_of_ones_own():
    class Auto(Trainer):
        def training_step(self, batch):
            return gg.mean((self.model(batch["x"]) - batch["x"]) ** 2)

        def validation_step(self, batch):
            return {"error": gg.sqrt(self.training_step(batch)), "rows": 1}

    model = gg.nn.Linear(5, 5)
    t = Auto(model, gg.optim.Adam(model.parameters(), 0.1), loggers=[], progress=False)
    data = [{"x": x} for x, _ in cases.batches()]
    history = t.fit(data, data, 3)
    assert list(history) == ["loss", "val_error", "val_rows", "lr"] and history["val_rows"] == [1, 1, 1]
    assert history["loss"][2] < history["loss"][0]


@pytest.mark.parametrize(
    ("step", "error", "text"),
    [
        (
            lambda self, batch: 0.5,
            TypeError,
            "training_step answers the loss, or a dict with 'loss', a Tensor; not 0.5",
        ),
        (lambda self, batch: {"lost": 1}, TypeError, "a dict with 'loss'"),
        (
            lambda self, batch: {"n": None, "loss": gg.mean(self.model(batch[0]))},
            TypeError,
            "'n' is .* one number, and",
        ),
        (lambda self, batch: self.model(batch[0]), ValueError, r"'loss' is not one number but has shape \[8, 2\]"),
        (lambda self, batch: Trainer.training_step(self, batch[0]), ValueError, r"a batch is \(x, y\), not"),
    ],
)
def test_steps_that_answer_something_else(step, error, text):
    t = cases.trainer(cls=type("Own", (Trainer,), {"training_step": step}))
    with pytest.raises(error, match=text):
        t.fit(cases.batches())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"accumulate": 0}, "accumulate is an integer from 1 on, not 0"),
        ({"keep": 1.5}, "keep is an integer"),
        ({"schedule_every": "batch"}, "schedule_every is 'epoch' or 'step', not 'batch'"),
        ({"on_nan": "ignore"}, "on_nan is 'raise' or 'skip', not 'ignore'"),
        ({"save_every": 5}, "save_every needs a directory"),
        ({"metrics": {"loss": len}}, "metrics has one named 'loss'"),
    ],
)
def test_options_out_of_range(options, text):
    with pytest.raises(ValueError, match=text):
        cases.trainer(**options)


# ---------------------------------------------------------------------------------------------- reading the device
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"optimizer": "adam"}, r"optimizer is an object, as gg.optim.Adam\(model.parameters\(\)\), not 'adam'"),
        ({"optimizer": gg.optim.Adam}, "optimizer is an object"),
        ({"optimizer": None}, "optimizer is an object"),
        ({"schedule": "cosine"}, "schedule is an object, as gg.optim.lr_scheduler.StepLR"),
        ({"scaler": True}, r"scaler is an object, as gg.GradScaler\(\), not True"),
        ({"early_stopping": 3}, r"early_stopping is an object, as gg.train.EarlyStopping\(patience=3\), not 3"),
        ({"autocast": "bfloat16"}, r"autocast is an object, as gg.autocast\('bfloat16'\)"),
        ({"loss": gg.nn.CrossEntropyLoss}, r"loss is a class: write CrossEntropyLoss\(\)"),
        ({"loss": "mse"}, r"loss is a function loss\(output, y\)"),
        ({"metrics": ["accuracy"]}, r"metrics are functions f\(output, y\) by name"),
        ({"metrics": {"accuracy": "accuracy"}}, "metrics are functions"),
    ],
)
def test_options_that_are_no_objects(options, text):
    model = cases.Net()
    given = {"optimizer": gg.optim.SGD(model.parameters(), 0.1), "loss": gg.nn.cross_entropy, **options}
    with pytest.raises(TypeError, match=text):
        Trainer(model, given.pop("optimizer"), **given)


def test_a_monitor_without_validation_is_found_at_the_start():
    t = cases.trainer(early_stopping=EarlyStopping(2, monitor="val_accuracy"))
    with pytest.raises(ValueError, match="monitor='val_accuracy' needs validation data"):
        t.fit(cases.batches())
    assert t.step == 0


def test_an_optimizer_of_another_model_is_told():
    loss = gg.nn.MSELoss()
    model, other = cases.Net(), gg.optim.SGD(cases.Net().parameters(), 0.1)
    optimizer = gg.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match=r"the optimizer has none of the model's parameters.*SGD\(model.parameters"):
        Trainer(model, other, loss)
    with pytest.warns(UserWarning, match="the optimizer has none of the model's parameters"):  # it may mean them
        Own(model, other)
    with pytest.raises(ValueError, match="the schedule is of another optimizer"):
        Trainer(model, optimizer, loss, schedule=gg.optim.lr_scheduler.StepLR(other, 3))
    with pytest.raises(ValueError, match="the EMA has none of the model's parameters"):
        Trainer(model, optimizer, loss, ema=gg.optim.EMA(cases.Net()))
    Trainer(model, gg.optim.SGD(model.last.parameters(), 0.1), loss, ema=gg.optim.EMA(model.last))
    lazy = gg.nn.Sequential(gg.nn.Linear(None, 2), gg.nn.Linear(2, 1))
    t = Trainer(lazy, gg.optim.SGD(gg.nn.Linear(1, 1).parameters(), 0.1), loss, loggers=[], progress=False)
    with pytest.raises(ValueError, match="the optimizer has none"):  # told as soon as the model has parameters
        t.fit([(np.ones((4, 3), np.float32), np.ones((4, 1), np.float32))])


class Own(Trainer):
    """Its step may train something beside the model."""

    def training_step(self, batch):
        return gg.mean(self.model(batch))


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_inputs_that_make_the_model_compute_in_float64_are_told_once(dtype):
    t, data = cases.trainer(), [(x.astype(dtype), y) for x, y in cases.batches()]
    with pytest.warns(UserWarning, match=rf"x comes as {dtype} and .* weights are float32.*x.astype") as seen:
        t.fit(data, epochs=2)
    assert len(seen) == 1 and seen[0].filename == __file__


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_that_a_model_is_made_for_are_not_told(dtype):
    class Words(gg.nn.Module):
        def __init__(self):
            self.words, self.last = gg.nn.Embedding(9, 4), gg.nn.Linear(4, 2)

        def forward(self, x):
            return self.last(gg.mean(self.words(x["i"]), 1))

    model, y = Words(), np.zeros(6, np.int64)
    cases.trainer(model=model, metrics={}).fit([({"i": np.ones((6, 3), np.int64)}, y)])
    line = gg.nn.Linear(3, 2).to(dtype)
    cases.trainer(model=line, metrics={}).fit([(np.ones((6, 3), dtype), y)])


lr = gg.optim.lr_scheduler
LENGTHS = [
    (lambda o: lr.OneCycleLR(o, 0.1, total_steps=18), {}, 18),
    (lambda o: lr.OneCycleLR(o, 0.1, epochs=2, steps_per_epoch=9), {"accumulate": 3}, 18),
    (lambda o: lr.CosineAnnealingLR(o, 6), {"accumulate": 3}, 6),
    (lambda o: lr.SequentialLR(o, [lr.LinearLR(o, 0.1, total_iters=4), lr.CosineAnnealingLR(o, 14)], [4]), {}, 18),
    (lambda o: lr.CosineAnnealingLR(o, 18), {"schedule_every": "step"}, None),
    (lambda o: lr.CosineAnnealingLR(o, 2), {}, None),
    (lambda o: lr.CosineAnnealingLR(o, 50), {}, None),
    (lambda o: lr.StepLR(o, 18), {}, None),
]


@pytest.mark.parametrize(("make", "options", "n"), LENGTHS)
def test_a_schedule_as_long_as_the_steps_of_a_run_is_told(make, options, n):
    t = cases.trainer()
    t = cases.trainer(model=t.model, optimizer=lambda ps: t.optimizer, schedule=make(t.optimizer), **options)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        t.fit(cases.batches(), epochs=2)
    texts = [str(w.message) for w in seen]
    assert len(texts) == (n is not None)
    if n:
        assert f"the schedule has {n} steps" in texts[0] and "schedule_every='step'" in texts[0]
        assert seen[0].filename == __file__


@pytest.mark.parametrize("epochs", [1.5, "2", None])
def test_epochs_are_whole(epochs):
    t = cases.trainer()
    with pytest.raises(TypeError, match="epochs is an integer, not"):
        t.fit(cases.batches(), epochs=epochs)
    assert t.step == 0
    t.fit(cases.batches(), epochs=np.int64(1))


def test_data_that_are_no_batches():
    x, y = cases.arrays(16)
    for data, text in (
        (
            (x, y),
            r"a batch is \(x, y\), not a tensor of shape \(16, 5\). Of arrays write gg.data.DataLoader\(gg.data.A",
        ),
        ([(x, y, y)], "a batch is .*, not 3 parts; override training_step"),
    ):
        with pytest.raises(ValueError, match=text):
            cases.trainer().fit(data)


def test_nothing_waits_for_the_device_between_logs(monkeypatch):
    standin = importlib.import_module("standin")
    gg.array.register(standin.StandIn(), "standin")
    try:
        gg.set_default_device("standin")
        reads = []
        t = cases.trainer(log_every=4)
        t.schedule, t.schedule_every = gg.optim.lr_scheduler.ExponentialLR(t.optimizer, 0.9), "step"
        data = [(gg.tensor(x), gg.tensor(y)) for x, y in cases.batches()]
        plain = lambda batch: gg.mean(t.model.last(gg.nn.relu(t.model.first(batch[0]))) ** 2)
        t.training_step = lambda batch: {"loss": plain(batch), "other": gg.mean(batch[0])}
        monkeypatch.setattr(standin.Array, "get", counted(standin.Array.get, reads, t))
        monkeypatch.setattr(standin.Array, "__float__", counted(standin.Array.__float__, reads, t))
        t.fit(data, epochs=1)
        assert {step for step in reads if step < 9} == {4, 8}
    finally:
        gg.set_default_device("cpu")
        gg.array.unregister("standin")


def counted(read, reads, t):
    return lambda self, *args: (reads.append(t.step), read(self, *args))[1]


def test_sums_in_files_are_exact():
    a, b = Means(), Means()
    for value in (0.1, 1 / 3, 1e300, 5e-324):
        a.add({"x": value, "y": gg.tensor(np.array(value))}, 3)
    b.load_state_dict(a.state_dict())
    assert a.state_dict() == b.state_dict() and a.read() == b.read()


# ---------------------------------------------------------------------------------------------- what goes wrong
class Bad(gg.nn.Module):
    """A model whose output is not finite in one call."""

    def __init__(self, at):
        self.layer, self.at, self.calls = gg.nn.Linear(5, 2), at, 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * (np.float32("nan") if self.calls == self.at else np.float32(1))


@pytest.mark.devices
def test_a_loss_that_is_not_finite(tmp_path, default_device):
    t = cases.trainer(tmp_path, model=Bad(6), save_every=2, log_every=3)
    where = "at step 6" if default_device == "cpu" else "at a step from 5 to 6"  # seen as the next one reads the device
    with pytest.raises(
        NonFiniteLossError, match=rf"the loss is nan {where}, in epoch 1; no checkpoint .*clip_norm=1.0"
    ):
        t.fit(cases.batches(), epochs=2)
    assert sorted(n for n in os.listdir(tmp_path) if n.startswith("step"))[-1] == "step-000000004.safetensors"
    again = cases.trainer(tmp_path, model=Bad(0))
    again.fit(cases.batches(), epochs=2, resume=True)
    assert again.epoch == 2 and np.isfinite(again.history["loss"]).all()


@pytest.mark.devices
def test_losses_that_are_not_finite_are_skipped_and_counted():
    t, u = cases.trainer(model=Bad(6), on_nan="skip"), cases.trainer(model=Bad(0))
    t.fit(cases.batches(), epochs=1)
    data = cases.batches()
    u.fit([*data[:5], *data[6:]], epochs=1)
    assert cases.plain(t.model.state_dict()) == cases.plain(u.model.state_dict())
    assert t.history["loss"] == u.history["loss"] and t.skipped == 1 and t.history["skipped"] == [1.0]
    with pytest.raises(ValueError, match=r"epoch 1: each of its updates was skipped, .*\(on_nan='skip'\)"):
        cases.trainer(model=Bad(1), on_nan="skip").fit(cases.batches(8))


@pytest.mark.parametrize("inputs", [lambda x: x, lambda x: {"a": x, "b": x[:, :0]}], ids=["array", "dict"])
def test_a_batch_that_holds_nan_is_named(inputs):
    class Any(gg.nn.Linear):
        def forward(self, x):
            return super().forward(x["a"] if isinstance(x, dict) else x)

    data = cases.batches()
    data[2][0][1, 3:] = np.nan, np.inf
    t = cases.trainer(model=Any(5, 2))
    name = "x['a']" if isinstance(inputs(data[0][0]), dict) else "x"
    with pytest.raises(NonFiniteLossError) as seen, np.errstate(all="ignore"):
        t.fit([(inputs(x), y) for x, y in data])
    said = str(seen.value)
    assert f"at step 3, in epoch 1; no checkpoint was written since. {name} of that batch holds 2 NaN or" in said
    assert "among 40: fill them" in said and "learning rate" not in said


def spoiled(t, at):
    """The trainer's step, in one of which the loss is finite and the gradient is not."""
    step, calls = t.training_step, []

    def bad(batch):
        calls.append(1)
        values = step(batch)
        if len(calls) == at:
            values["loss"] = values["loss"] + gg.sum(gg.sqrt(t.model.first.weight * 0.0))
        return values

    t.training_step = bad
    return t


@pytest.mark.devices
@pytest.mark.parametrize("keep", [1, 3])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, keep):
    t = spoiled(cases.trainer(tmp_path, save_every=1, keep=keep, metrics={}), 4)
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteLossError, match="weights are NaN.*at step 4.*no check"),
    ):
        t.fit(cases.batches())
    last = sorted(n for n in os.listdir(tmp_path) if n.startswith("step"))[-1]
    assert last == "step-000000003.safetensors"
    again = cases.trainer(tmp_path, keep=keep, metrics={})
    again.fit(cases.batches(), resume=True)
    assert again.epoch == 1 and np.isfinite(again.history["loss"]).all()


@pytest.mark.devices
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_gradients_that_are_not_finite_are_skipped(clip_norm):
    t = spoiled(cases.trainer(on_nan="skip", clip_norm=clip_norm), 4)
    with np.errstate(all="ignore"):
        history = t.fit(cases.batches())
    assert t.skipped == 1 and np.isfinite(history["loss"]).all()
    assert all(np.isfinite(to_host(p.array)).all() for p in t.model.parameters())


@pytest.mark.devices
def test_a_dropped_update_does_not_count():
    """Of four batches of an update one has a loss that is NaN: the other three are not in the history."""
    x = cases.batches(64)
    t, u = cases.trainer(model=Bad(4), on_nan="skip", accumulate=4), cases.trainer(model=Bad(0), accumulate=4)
    assert t.fit(x)["loss"] == u.fit(x[4:])["loss"] and t.skipped == 1
    assert cases.plain(t.model.state_dict()) == cases.plain(u.model.state_dict())


class Watching:
    """A schedule that takes a value."""

    def __init__(self):
        self.seen = []

    def step(self, value):
        self.seen.append(value)

    def state_dict(self):
        return {}


@pytest.mark.parametrize("accumulate", [1, 4, 9])
def test_a_schedule_gets_the_mean_of_an_update(accumulate):
    schedule = Watching()
    t = cases.trainer(schedule=schedule, schedule_every="step", accumulate=accumulate)
    losses, step = [], t.training_step
    t.training_step = lambda batch: (losses.append((step(batch), len(batch[0]))), losses[-1][0])[1]
    t.fit(cases.batches())
    pairs = [(float(values["loss"]), n) for values, n in losses]
    groups = [pairs[i : i + accumulate] for i in range(0, 9, accumulate)]
    want = [sum(v * n for v, n in group) / sum(n for _, n in group) for group in groups]
    assert schedule.seen == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("at", [0, 3, 8, "validation"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("data", [cases.loader, cases.Loader, cases.batches])
def test_after_an_error_a_fit_goes_on_where_it_was(at, accumulate, data):
    """In the same process, and without `resume`: the rows of the step that failed come again, and no others."""
    t, whole = cases.trainer(accumulate=accumulate), cases.trainer(accumulate=accumulate)
    t.model.dropout = whole.model.dropout = gg.nn.Identity()  # the step that failed has drawn its numbers
    train, validate, step = data(), cases.batches(20), t.training_step
    left = [1]

    def failing(batch):
        if left and t.step == at and t.model.training:
            raise RuntimeError(left.pop())
        return step(batch)

    def unable(batch):
        if left and at == "validation":
            raise RuntimeError(left.pop())
        return step(batch)

    t.training_step, t.validation_step = failing, unable
    whole.validation_step = whole.training_step
    with pytest.raises(RuntimeError):
        t.fit(train, validate, 2)
    t.fit(train, validate, 2)
    whole.fit(data(), validate, 2)
    assert t.history == whole.history and (t.step, t.epoch) == (whole.step, whole.epoch)
    assert cases.plain(t.model.last.state_dict()) == cases.plain(whole.model.last.state_dict())


@pytest.mark.parametrize("folder", [True, False])
def test_no_epoch_was_the_best(tmp_path, folder):
    """The last weights stay, and what another run has left there is not handed out."""
    if folder:
        cases.trainer(tmp_path).fit(cases.batches(), epochs=1)
        os.remove(tmp_path / "step-000000009.safetensors")
        os.remove(tmp_path / "m.csv")
    t = cases.trainer(tmp_path if folder else None, early_stopping=EarlyStopping(2, restore_best=True))
    t.validation_step = lambda batch: {"loss": float("nan")}
    with pytest.warns(UserWarning, match="no epoch was the best.*the weights are the last"):
        history = t.fit(cases.batches(), cases.batches(8), 5)
    assert t.epoch == 2 and len(history["loss"]) == 2
    with pytest.raises(ValueError, match="there is no best model yet"):
        t.best()


def test_a_folder_that_cannot_be_written_is_found_at_the_start(tmp_path, monkeypatch):
    t = cases.trainer(directory=tmp_path, loggers=[])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="Permission denied"):
        t.fit(cases.batches())
    assert t.step == 0


def test_data_of_unknown_length():
    dataset = gg.data.Dataset.from_generator(lambda: iter(cases.batches()))
    assert cases.trainer().fit(dataset, dataset, 2) == cases.trainer().fit(cases.batches(), cases.batches(), 2)


def test_data_without_batches():
    t = cases.trainer()
    with pytest.raises(ValueError, match=r"the training data have no batches: \[\]"):
        t.fit([])
    with pytest.raises(ValueError, match=r"the validation data have no batches: \[\]"):
        t.fit(cases.batches(), [])
    with pytest.raises(ValueError, match=r"the data have no batches"):
        t.fit(cases.batches(), iter([]))
    with pytest.raises(ValueError, match=r"the data have no batches"):
        t.predict([])
    t = cases.trainer()
    with pytest.raises(ValueError, match=r"epoch 2 had no batches.*a DataLoader or a list, no generator"):
        t.fit(iter(cases.batches()), epochs=2)
    assert t.epoch == 1


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, gg.OutOfMemoryError])
def test_what_a_step_raises_passes_and_the_run_goes_on_later(tmp_path, error):
    t = cases.trainer(tmp_path, save_every=1)
    handler, step = signal.getsignal(signal.SIGINT), t.training_step
    t.training_step = lambda batch: step(batch) if t.step < 5 else raising(error)
    with pytest.raises(error):
        t.fit(cases.Loader(), epochs=2)
    assert signal.getsignal(signal.SIGINT) is handler and t.model.training
    t.training_step = step
    t.fit(cases.Loader(), epochs=2, resume=True)
    whole = cases.trainer()
    whole.fit(cases.Loader(), epochs=2)
    assert cases.outcome(t)["parts"] == cases.outcome(whole)["parts"] and t.history == whole.history


def raising(error):
    raise error


def test_a_full_disk_leaves_the_checkpoints_that_are_there(tmp_path, monkeypatch):
    t = cases.trainer(tmp_path, save_every=3)
    really = os.fsync

    def full(f):
        if t.step == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(f)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; not written"):
        t.fit(cases.Loader(), epochs=1)
    assert sorted(os.listdir(tmp_path)) == ["m.csv", "step-000000003.safetensors"]
    monkeypatch.undo()
    t = cases.trainer(tmp_path)
    t.fit(cases.Loader(), epochs=1, resume=True)
    assert t.step == 9


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_worker_that_dies(tmp_path, workers):
    """Its error passes, and the run goes on with other workers."""
    data = cases.loader(num_workers=workers)
    t = cases.trainer(tmp_path, save_every=1)
    step, t.training_step = t.training_step, lambda batch: (kill(data, t.step), step(batch))[1]
    with pytest.raises(gg.data.WorkerError):
        t.fit(data, epochs=2)
    t.training_step = step
    t.fit(cases.loader(num_workers=workers - 1), epochs=2, resume=True)
    whole = cases.trainer()
    whole.fit(cases.loader(), epochs=2)
    assert cases.outcome(t)["parts"] == cases.outcome(whole)["parts"] and t.history == whole.history
    data.close()


def kill(data, step):
    if step == 5:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)


# ---------------------------------------------------------------------------------------------- Ctrl-C
def pressing(t, at, times=1, number=signal.SIGINT):
    """The trainer's step, in which somebody presses Ctrl-C, or sends another signal."""
    step = t.training_step

    def pressed(batch):
        if t.step + 1 == at:
            for _ in range(times):
                signal.raise_signal(number)
        return step(batch)

    t.training_step = pressed


def test_ctrl_c_ends_the_step_saves_and_returns(tmp_path, capsys):
    handler = signal.getsignal(signal.SIGINT)
    t = cases.trainer(tmp_path / "run")
    pressing(t, 5)
    t.fit(cases.Loader(), cases.batches(20), 2)
    assert t.interrupted and t.step == 5 and signal.getsignal(signal.SIGINT) is handler
    path = str(tmp_path / "run" / "step-000000005.safetensors")
    assert capsys.readouterr().out == f"interrupted in epoch 1 after step 5: saved {path}; resume=True goes on\n"
    again = cases.trainer(tmp_path / "run", seed=4)
    again.fit(cases.Loader(), cases.batches(20), 2, resume=True)
    whole = cases.trainer(tmp_path / "whole")
    whole.fit(cases.Loader(), cases.batches(20), 2)
    assert cases.outcome(again) == cases.outcome(whole) and not again.interrupted
    t, data = cases.trainer(), cases.Loader()
    pressing(t, 5)
    t.fit(data, cases.batches(20), 2)
    del t.training_step
    t.fit(data, cases.batches(20), 2)  # in the same process
    assert cases.outcome(t) == cases.outcome(whole)


def test_sigterm_ends_the_step_saves_and_ends_the_program(tmp_path, capsys):
    handler, path = signal.getsignal(signal.SIGTERM), tmp_path / "run" / "step-000000005.safetensors"
    t = cases.trainer(tmp_path / "run")
    pressing(t, 5, number=signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"):
        t.fit(cases.Loader(), cases.batches(20), 2)
    assert t.interrupted and t.step == 5 and signal.getsignal(signal.SIGTERM) is handler and t.model.training
    assert capsys.readouterr().out == f"interrupted in epoch 1 after step 5: saved {path}; resume=True goes on\n"
    again = cases.trainer(tmp_path / "run", seed=4)
    again.fit(cases.Loader(), cases.batches(20), 2, resume=True)
    whole = cases.trainer(tmp_path / "whole")
    whole.fit(cases.Loader(), cases.batches(20), 2)
    assert cases.outcome(again) == cases.outcome(whole)


def test_a_handler_of_the_programs_own_gets_sigterm_after_all_is_saved(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append((number, t.step)))
    try:
        t = cases.trainer(tmp_path / "run")
        pressing(t, 3, number=signal.SIGTERM)
        t.fit(cases.Loader(), epochs=2)
        assert heard == [(signal.SIGTERM, 3)] and t.interrupted and len(list((tmp_path / "run").iterdir())) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("error", ["step", "save"])
def test_an_error_after_sigterm_is_not_hidden_by_the_end_of_the_program(tmp_path, own, error):
    heard = []
    mine = lambda number, frame: (heard.append(number), sys.exit(3))
    before = signal.signal(signal.SIGTERM, mine) if own else None
    t = cases.trainer(tmp_path / "run")

    def fail(*args):
        signal.raise_signal(signal.SIGTERM)
        raise OSError(28, "No space left on device")

    setattr(t, {"step": "training_step", "save": "save"}[error], fail)
    try:
        with pytest.raises(OSError, match="No space left"):
            t.fit(cases.Loader(), epochs=1)
        assert heard == [signal.SIGTERM] * own
    finally:
        if own:
            signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("at", ["training", "validation"])
def test_sigterm_that_the_workers_hear_first(tmp_path, at):
    """A cluster sends it to all processes of a job: batches end, and what was trained is saved."""

    class Dying:
        def __len__(self):
            return 9

        def __iter__(self):
            for i, batch in enumerate(cases.batches()):
                if i == 4:
                    signal.raise_signal(signal.SIGTERM)
                    raise gg.data.WorkerError("worker 0 of the DataLoader was killed by SIGTERM")
                yield batch

    t = cases.trainer(tmp_path / "run")
    with pytest.raises(SystemExit):
        t.fit(*{"training": [Dying()], "validation": [cases.Loader(), Dying()]}[at])
    assert t.interrupted and t.step == {"training": 4, "validation": 9}[at]
    again = cases.trainer(tmp_path / "run", seed=4)
    data = {"training": cases.batches, "validation": cases.Loader}[at]
    again.fit(data(), cases.batches(), 2, resume=True)
    whole = cases.trainer(tmp_path / "whole")
    whole.fit(data(), cases.batches(), 2)
    assert cases.outcome(again) == cases.outcome(whole)


def test_ctrl_c_twice_leaves_at_once(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    t = cases.trainer(tmp_path, save_every=2)
    pressing(t, 5, times=2)
    with pytest.raises(KeyboardInterrupt):
        t.fit(cases.Loader())
    assert signal.getsignal(signal.SIGINT) is handler and t.step == 4
    assert "step-000000004.safetensors" in os.listdir(tmp_path)


def test_ctrl_c_while_validating(tmp_path, capsys):
    t = cases.trainer(tmp_path / "run")
    t.validation_step = lambda batch: (signal.raise_signal(signal.SIGINT), t.training_step(batch))[1]
    t.fit(cases.Loader(), cases.batches(20), 1)
    assert t.interrupted and t.epoch == 0 and "after step 9: saved" in capsys.readouterr().out
    again = cases.trainer(tmp_path / "run")
    again.fit(cases.Loader(), cases.batches(20), 1, resume=True)
    whole = cases.trainer(tmp_path / "whole")
    whole.fit(cases.Loader(), cases.batches(20), 1)
    assert cases.outcome(again) == cases.outcome(whole)


def test_without_a_directory_and_in_another_thread(capsys):
    t = cases.trainer()
    pressing(t, 3)
    t.fit(cases.batches())
    assert capsys.readouterr().out == "interrupted in epoch 1 after step 3: not saved: no directory\n"
    found = []
    thread = threading.Thread(target=lambda: found.append(cases.trainer().fit(cases.batches())))
    thread.start()
    thread.join()
    assert len(found[0]["loss"]) == 1


def test_where_ctrl_c_is_ignored_it_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        t = cases.trainer()
        pressing(t, 3)
        t.fit(cases.batches())
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN and not t.interrupted and t.step == 9
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------------------------------------- the best epoch
VALUES = [5.0, 3.0, 4.0, 2.9, 3.5, 3.4, 3.3, 1.0]


def scripted(values, **options):
    """A trainer whose validation answers these, epoch by epoch."""
    t = cases.trainer(**options)
    t.validation_step = lambda batch: {"loss": values[t.epoch]}
    return t


@pytest.mark.parametrize(
    ("stopping", "values", "epochs", "best"),
    [
        (EarlyStopping(2), VALUES, 6, 2.9),
        (EarlyStopping(1), VALUES, 3, 3.0),
        (EarlyStopping(2, min_delta=0.2), VALUES, 4, 3.0),
        (EarlyStopping(2, mode="max"), VALUES, 3, 5.0),
        (EarlyStopping(3), [np.nan] * 8, 3, None),
        (EarlyStopping(), VALUES, 8, 1.0),
    ],
)
def test_early_stopping(stopping, values, epochs, best):
    t = scripted(values, early_stopping=stopping)
    assert len(t.fit(cases.batches(16), cases.batches(16), 8)["val_loss"]) == epochs
    assert stopping.best == best


def test_a_fit_says_why_it_ended_early_or_trained_nothing(capsys):
    t = scripted(VALUES, early_stopping=EarlyStopping(2))
    t.fit(cases.batches(16), cases.batches(16), 8)
    assert capsys.readouterr().out == "early stopping after epoch 6: 2 epochs not better than 2.9\n"
    t.fit(cases.batches(16), cases.batches(16), 20)
    said = "2 epochs not better than 2.9; trained nothing: trainer.early_stopping.since = 0 lets fit go on\n"
    assert capsys.readouterr().out == f"early stopping after epoch 6: {said}"
    t = scripted([np.nan, np.inf], early_stopping=EarlyStopping(2))
    t.fit(cases.batches(16), cases.batches(16), 8)
    said = "early stopping after epoch 2: 2 epochs, and val_loss was never a finite number\n"
    assert capsys.readouterr().out == said
    t = cases.trainer()
    t.fit(cases.batches(16), epochs=2)
    assert capsys.readouterr().out == ""
    t.fit(cases.batches(16), epochs=2)
    assert capsys.readouterr().out == "trained nothing: 2 epochs are done, and epochs=2 counts them, too\n"


def test_batches_that_are_dicts():
    x, y = cases.arrays(16)
    t = cases.trainer()
    with pytest.raises(
        ValueError, match="a batch is \\(x, y\\), not a dict of 'x', 'label'. .* override training_step"
    ):
        t.fit([{"x": x, "label": y}])
    t.training_step = lambda batch: t.loss(t.model(batch["x"]), batch["label"])
    assert len(t.fit([{"x": x, "label": y}])["loss"]) == 1
    t, seen = cases.trainer(), []
    model = t.model.forward
    t.model.forward = lambda x: (seen.append(list(x)), model(x["a"] + x["b"]))[1]
    t.fit([({"a": x, "b": x}, y)])
    assert seen == [["a", "b"]]


@pytest.mark.parametrize("folder", [True, False])
def test_the_best_weights(tmp_path, folder):
    saved = []
    t = scripted(VALUES, early_stopping=EarlyStopping(2, restore_best=True), directory=tmp_path if folder else None)
    validate = t.validation_step
    t.validation_step = lambda batch: (saved.append((t.epoch, cases.plain(t.model.state_dict()))), validate(batch))[1]
    with pytest.raises(ValueError, match="there is no best model yet"):
        t.best()
    t.fit(cases.batches(16), cases.batches(8), 8)
    assert t.epoch == 6 and cases.plain(t.model.state_dict()) == dict(saved)[3]
    t.export(tmp_path / "model.safetensors")
    found = gg.checkpoints.load(tmp_path / "model.safetensors")
    assert cases.plain(found) == dict(saved)[3]
    if folder:
        best = gg.load(tmp_path / "best.safetensors")
        assert (best["epoch"], best["step"], best["values"]["val_loss"]) == (4, 8, 2.9)


def test_stopping_out_of_range():
    for options, text in (({"patience": 0}, "patience"), ({"mode": "less"}, "mode"), ({"min_delta": -1}, "min_delta")):
        with pytest.raises(ValueError, match=f"EarlyStopping: {text} is"):
            EarlyStopping(**options)
    with pytest.raises(ValueError, match="monitor='error' is not among what an epoch has: loss, accuracy, lr"):
        cases.trainer(early_stopping=EarlyStopping(monitor="error")).fit(cases.batches())


def test_a_schedule_that_takes_a_value_gets_the_one_that_is_monitored():
    t = scripted(VALUES)
    schedule = gg.optim.lr_scheduler.ReduceLROnPlateau(t.optimizer, patience=0, factor=0.5)
    t = scripted(VALUES, optimizer=lambda ps: t.optimizer, model=t.model, schedule=schedule)
    history = t.fit(cases.batches(16), cases.batches(16), 6)
    assert history["lr"] == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]  # what an epoch was trained by


def test_modules_are_as_they_were():
    t = cases.trainer()
    t.model.eval()
    t.model.norm.train()
    t.fit(cases.batches(), cases.batches(8))
    assert [m.training for m in t.model.modules()] == [m is t.model.norm for m in t.model.modules()]


# ---------------------------------------------------------------------------------------------- what is written
def test_the_console_and_functions_of_ones_own(capsys):
    class Own(Logger):
        def log(self, kind, step, epoch, values):
            seen.append((kind, step, epoch, sorted(values)))

    seen = []
    cases.trainer(loggers=[Console(), Own()]).fit(cases.batches(), cases.batches(8), 2)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1, step 9: loss 0.") and ", val_accuracy " in second and second.endswith(", lr 0.1")
    names = ["accuracy", "loss", "lr"]
    assert [s for s in seen if s[0] == "step"] == [("step", n, -(-n // 9), names) for n in (4, 8, 12, 16)]
    assert [s[:3] for s in seen if s[0] == "epoch"] == [("epoch", 9, 1), ("epoch", 18, 2)]


def test_a_csv_file(tmp_path):
    path = tmp_path / "logs" / "m.csv"
    log = CSVFile(path)
    log.start(0, 0)
    log.log("step", 1, 1, {"loss": 0.1})
    log.log("epoch", 1, 1, {"loss": 0.1, "val,x": 1 / 3})
    log.log("step", 2, 2, {"loss": float("nan")})
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == ["kind", "step", "epoch", "loss", "val,x"]
    assert [(r["kind"], r["step"], r["val,x"]) for r in rows] == [
        ("step", "1", ""), ("epoch", "1", repr(1 / 3)), ("step", "2", ""),
    ]  # fmt: skip
    whole = path.read_text()
    path.write_text(whole + "step,3,2,0.")  # cut off
    CSVFile(path).start(3, 1)
    assert path.read_text() == whole
    CSVFile(path).start(1, 0)  # the epoch was not counted when the checkpoint of step 1 was written
    assert [line[:6] for line in path.read_text().splitlines()] == ["kind,s", "step,1"]


def test_a_csv_file_that_is_not_this_runs(tmp_path):
    """Neither rows of another run nor another file are deleted."""
    path = tmp_path / "m.csv"
    fit = lambda epochs, **options: cases.trainer(loggers=[CSVFile(path)]).fit(cases.batches(), None, epochs, **options)
    fit(1)
    whole = path.read_text()
    with pytest.raises(FileExistsError, match="m.csv has rows of a run, of steps after 0.*resume=True"):
        fit(2)
    assert path.read_text() == whole
    t = cases.trainer(loggers=[CSVFile(tmp_path / "other.csv")])
    t.fit(cases.batches(), None, 1)
    t.fit(cases.batches(), None, 2)  # goes on: its own rows stay
    assert (tmp_path / "other.csv").read_text().startswith(whole)
    for text in ("my,own,data\n1,2,3\n", "one line"):
        path.write_text(text)
        with pytest.raises(FileExistsError, match="m.csv is there, and no file of gpugrad.train.CSVFile"):
            fit(1)
        assert path.read_text() == text


def scalars(folder):
    """(tag, step, value) of all event files, in the order of their names."""
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = []
    for name in sorted(os.listdir(folder)):
        data = (folder / name).read_bytes()
        while data:
            (n,) = struct.unpack("<Q", data[:8])
            event = events.Event.FromString(data[12 : 12 + n])
            data = data[16 + n :]
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            if event.session_log.status:
                found.append(("from here", event.step, None))
    return found


def test_tensorboard_files(tmp_path):
    pytest.importorskip("tensorboardX")
    cases.trainer(loggers=[TensorBoard(tmp_path)]).fit(cases.batches(), cases.batches(8), 1)
    found = scalars(tmp_path)
    assert [(tag, step) for tag, step, _ in found if tag.endswith("/loss")] == [
        ("step/loss", 4), ("step/loss", 8), ("epoch/loss", 9),
    ]  # fmt: skip
    assert {tag for tag, _, _ in found} >= {"epoch/val_loss", "epoch/val_accuracy", "step/lr", "step/accuracy"}


def test_tensorboard_is_told_where_a_run_goes_on(tmp_path):
    pytest.importorskip("tensorboardX")
    log = TensorBoard(tmp_path)
    log.start(7, 1)
    log.close()
    assert ("from here", 8, None) in scalars(tmp_path)


def test_without_tensorboardx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"need tensorboardX: pip install 'gpugrad\[train\]'"):
        TensorBoard(tmp_path)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_is_for_terminals(capsys, monkeypatch, progress):
    cases.trainer(progress=progress).fit(cases.batches())
    assert capsys.readouterr().err == ""  # no terminal
    monkeypatch.setattr(sys, "stderr", Terminal())
    cases.trainer(progress=progress).fit(cases.batches(), epochs=2)
    said = sys.stderr.getvalue()
    assert ("epoch 1/2" in said and "epoch 2/2" in said and "loss=0." in said) == progress and bool(said) == progress


def test_the_example_of_the_docstring_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = textwrap.dedent(inspect.getdoc(Trainer).split("\n\n")[1])
    names = {"gg": gg, "model": cases.Net(), "batches": cases.batches(), "validation_batches": cases.batches(20)}
    exec(example, names)
    assert len(names["history"]["val_accuracy"]) == 10 and names["history"]["val_accuracy"][-1] > 0.5

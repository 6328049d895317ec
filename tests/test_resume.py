"""A run that is cut off anywhere goes on to the same bits, and takes no checkpoint of something else."""

import copy
import os
import warnings

import numpy as np
import pytest
import trainer_cases as cases

import gpugrad as gg
from gpugrad.train import EarlyStopping, ResumeError

EPOCHS, STEPS = 3, 27
DATA = {"list": cases.batches, "loader": cases.loader, "of one's own": cases.Loader, "by gg.random": cases.Shuffled}


class Killed(BaseException):
    """What ends a run at once, without its doing anything more."""


def run(folder, data=cases.loader, kills=(), make=cases.everything, **options):
    """A run that dies in each life in the middle of the step that comes after so many."""
    options = {"save_every": 2, "early_stopping": EarlyStopping(9, monitor="loss"), **options}
    for kill in (*kills, None):
        saved = folder.exists() and any(n.startswith("step") for n in os.listdir(folder))
        t = make(folder, seed=99 if saved else 0, **options)  # the generator's state comes from the checkpoint
        t.training_step, t.validation_step = dying(t.training_step, kill), t.training_step
        try:
            t.fit(data(), cases.batches(20), EPOCHS, resume=True)
            assert kill is None
        except Killed:
            pass
    return t


def dying(step, n):
    left = [np.inf if n is None else n]

    def killed(batch):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return step(batch)

    return killed


def same_files(a, b):
    assert sorted(os.listdir(a)) == sorted(os.listdir(b))
    assert (a / "m.csv").read_text() == (b / "m.csv").read_text()
    best = [gg.load(folder / "best.safetensors", "cpu") for folder in (a, b)]
    assert cases.plain(best[0]) == cases.plain(best[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(folder, trainer) of a run that nothing disturbed, by the kind of its data."""
    made = {}

    def get(kind, **options):
        key = kind, *sorted(options)
        if key not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            made[key] = folder, run(folder, DATA[kind], **options)
        return made[key]

    return get


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("kills", [(0,), (1, 1), (3,), (8,), (9,), (10, 7, 9), (26, 0)], ids=str)
def test_a_run_that_is_killed_goes_on_to_the_same_bits(tmp_path, whole, kind, kills):
    folder, a = whole(kind)
    b = run(tmp_path / "run", DATA[kind], kills)
    assert a.step == b.step == STEPS and a.epoch == EPOCHS and len(a.history["val_loss"]) == EPOCHS
    assert cases.outcome(a) == cases.outcome(b)
    same_files(folder, tmp_path / "run")


@pytest.mark.parametrize("options", [{"accumulate": 4}, {"schedule_every": "step"}, {"save_every": None}], ids=str)
def test_with_other_options(tmp_path, whole, options):
    folder, a = whole("loader", **options)
    b = run(tmp_path / "run", cases.loader, (5, 11), **options)
    assert cases.outcome(a) == cases.outcome(b)
    same_files(folder, tmp_path / "run")


@pytest.mark.devices
@pytest.mark.parametrize("rule", ["Adam", "RMSprop", "Adagrad", "SGD"])
def test_on_each_device(tmp_path, rule):
    make = lambda folder, **o: cases.trainer(folder, optimizer=lambda ps: getattr(gg.optim, rule)(ps, 0.01), **o)
    a = run(tmp_path / "a", make=make)
    b = run(tmp_path / "b", kills=(7, 13), make=make)
    assert cases.outcome(a) == cases.outcome(b) and a.optimizer.iterations == b.optimizer.iterations == STEPS


@pytest.mark.parametrize("kill", [4, 9, 12])
def test_validation_data_that_are_shuffled_go_on_too(tmp_path, kill):
    def live(name, seed, kill):
        t = cases.trainer(tmp_path / name, save_every=2)
        t.training_step, t.validation_step = dying(t.training_step, kill), t.training_step
        checks = gg.data.DataLoader(gg.data.ArrayDataset(*cases.arrays(30)), 7, shuffle=True, seed=seed)
        try:
            t.fit(cases.loader(), checks, EPOCHS, resume=True)
        except Killed:
            return None
        return cases.outcome(t)

    assert live("b", 5, kill) is None
    assert live("a", 5, None) == live("b", 6, None)  # the seed is the checkpoint's


def test_a_program_that_was_edited_is_told(tmp_path):
    lr = gg.optim.lr_scheduler

    def go_on(epochs, rate=0.1, rows=66, size=8, T_max=50, **options):
        t = cases.trainer()
        optimizer = gg.optim.SGD(t.model.parameters(), rate, 0.9, weight_decay=options.pop("decay", 0.0))
        schedule = lr.CosineAnnealingLR(optimizer, T_max)
        t = cases.trainer(
            tmp_path, model=t.model, optimizer=lambda ps: optimizer, schedule=schedule, **options
        )  # fmt: skip
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            t.fit(cases.loader(rows, size), epochs=epochs, resume=True)
        assert all([w.filename == __file__ for w in seen])
        return [line.strip() for w in seen for line in str(w.message).split("\n")[1:]]

    assert go_on(1) == [] and go_on(2) == []
    last = "To change what the checkpoint's counts of: trainer.load(path), set it, then fit without resume"
    assert go_on(3, rate=0.5) == ["optimizer's initial_lr: 0.1 there, 0.5 here; the checkpoint's counts", last]
    assert go_on(4, decay=0.5, T_max=9) == [
        "schedule's T_max: 50 there, 9 here; the checkpoint's counts",
        "optimizer's weight_decay: 0.0 there, 0.5 here; the checkpoint's counts", last,
    ]  # fmt: skip
    assert go_on(5, size=33, clip_norm=1.0, accumulate=2) == [
        "accumulate: 1 there, 2 here; this program's counts",
        "clip_norm: None there, 1.0 here; this program's counts",
        "training data's batch_size: 8 there, 33 here; this program's counts",
        "training data's batches: 9 there, 2 here; this program's counts",
    ]


def test_checkpoints_without_settings_are_taken(tmp_path):
    t = cases.trainer()
    state = {k: v for k, v in t.state_dict().items() if k != "settings"}
    gg.save(tmp_path / "old.safetensors", state)
    cases.trainer(clip_norm=1.0).fit(cases.batches(), epochs=1, resume=tmp_path / "old.safetensors")


def test_more_epochs_are_as_if_asked_for_at_once(tmp_path):
    at_once = cases.everything(tmp_path / "a")
    at_once.fit(cases.Loader(), None, 3)
    bit_by_bit, data = cases.everything(tmp_path / "b"), cases.Loader()
    for epochs in (1, 1, 3):
        bit_by_bit.fit(data, None, epochs)
    assert cases.outcome(at_once) == cases.outcome(bit_by_bit)
    later = cases.everything(tmp_path / "a", seed=1)
    assert later.fit(cases.Loader(), None, 3, resume=True) == at_once.history  # nothing is left to do
    assert cases.outcome(later) == cases.outcome(at_once)


def test_other_generators_are_saved_too(tmp_path):
    class Noisy(cases.Trainer):
        def training_step(self, batch):
            x, y = batch
            return super().training_step((x + gg.random.normal(x.shape, generator=self.noise), y))

        validation_step = cases.Trainer.training_step

    def make(folder, seed=0, **options):
        noise = gg.random.Generator(seed)
        t = cases.trainer(folder, seed=seed, cls=Noisy, also={"noise": noise}, **options)
        t.noise = noise
        return t

    assert cases.outcome(run(tmp_path / "a", make=make)) == cases.outcome(run(tmp_path / "b", kills=(7,), make=make))


# ---------------------------------------------------------------------------------------------- which checkpoint
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    a = cases.trainer(tmp_path, save_every=2)
    a.fit(cases.Loader(), None, 1)
    names = sorted(p for p in os.listdir(tmp_path) if p.startswith("step"))
    assert names == [f"step-{n:09d}.safetensors" for n in (6, 8, 9)]
    for name in names[1:]:
        data = bytearray((tmp_path / name).read_bytes())
        data[-1] ^= 1
        (tmp_path / name).write_bytes(data)
    b = cases.trainer(tmp_path, seed=5)
    with pytest.warns(UserWarning, match="is damaged.*going on from the checkpoint before it") as told:
        b.fit(cases.Loader(), None, 1, resume=True)
    assert len(told) == 2 and cases.outcome(a)["parts"] == cases.outcome(b)["parts"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    before = cases.outcome(b)
    with pytest.warns(UserWarning), pytest.raises(gg.CheckpointError, match="000000006.safetensors is no whole"):
        b.fit(cases.Loader(), None, 2, resume=True)
    assert cases.outcome(b) == before


def test_a_folder_of_another_run_is_not_written_over(tmp_path):
    cases.trainer(tmp_path).fit(cases.batches(), None, 1)
    with pytest.raises(FileExistsError, match=r"step-000000009.safetensors: resume=True goes on with it; a run f"):
        cases.trainer(tmp_path).fit(cases.batches(), None, 1)
    t = cases.trainer(tmp_path)
    t.fit(cases.batches(), None, 2, resume=tmp_path / "step-000000009.safetensors")
    assert t.step == 18
    with pytest.raises(FileExistsError, match=r"up to step-000000018.safetensors.*a run from step 9 on takes another"):
        cases.trainer(tmp_path).fit(cases.batches(), None, 3, resume=tmp_path / "step-000000009.safetensors")
    with pytest.raises(ValueError, match="the Trainer has no directory; give one, or resume=path"):
        cases.trainer().fit(cases.batches(), None, 1, resume=True)
    with pytest.raises(FileNotFoundError):
        cases.trainer().fit(cases.batches(), None, 1, resume=tmp_path / "none")


def test_only_the_last_checkpoints_are_kept(tmp_path):
    (tmp_path / "step-mine.safetensors").write_text("not of a run")
    cases.trainer(tmp_path, save_every=1, keep=2).fit(cases.batches(), None, 1)
    kept = ["best.safetensors", "m.csv", "step-000000008.safetensors", "step-000000009.safetensors"]
    assert sorted(os.listdir(tmp_path)) == [*kept, "step-mine.safetensors"]


# ---------------------------------------------------------------------------------------------- of something else
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: cases.trainer(model=cases.Net(7)), r"model first.weight: \[5, 6\] in the checkpoint, here \[5, 7\]"),
        (lambda: cases.trainer(model=gg.nn.Linear(5, 2)), r"model bias: missing in the checkpoint, here \[2\]\n"),
        (
            lambda: cases.trainer(model=gg.nn.Linear(5, 2)),
            r"model last.weight: \[6, 2\] in the checkpoint, here missing",
        ),
        (lambda: cases.trainer(optimizer=gg.optim.Adam), "optimizer: SGD in the checkpoint, here Adam"),
        (cases.everything, "ema: none in the checkpoint, here EMA\n  scaler: none in the checkpoint, here GradS"),
        (
            lambda: cases.trainer(optimizer=halves),
            r"optimizer: groups of \[6\] parameters in the checkpoint, here \[3",
        ),
    ],
)
def test_a_checkpoint_of_something_else_lists_what_differs_and_changes_nothing(tmp_path, make, text):
    cases.trainer(tmp_path).fit(cases.batches(), None, 1)
    t = make()
    before = copy.deepcopy(cases.outcome(t))
    with pytest.raises(ResumeError, match=text) as caught:
        t.fit(cases.batches(), None, 2, resume=tmp_path / "step-000000009.safetensors")
    assert "step-000000009.safetensors: it is of something else" in str(caught.value)
    assert cases.outcome(t) == before


def halves(parameters):
    ps = list(parameters)
    return gg.optim.SGD([{"params": ps[:3]}, {"params": ps[3:]}], 0.1, 0.9)


def test_a_part_that_does_not_take_its_state_leaves_all_as_it_was(tmp_path):
    cases.everything(tmp_path).fit(cases.batches(), None, 1)
    t = cases.everything(seed=3)
    before = cases.outcome(t)
    load = t.scaler.load_state_dict

    def refuse(state):
        load(state)
        if state["scale"] != 65536:
            raise KeyError("scale")

    t.scaler.load_state_dict = refuse
    with pytest.raises(ResumeError, match="scaler does not take what was saved: 'scale'"):
        t.load(tmp_path / "step-000000009.safetensors")
    assert cases.outcome(t) == before


def test_states_of_another_kind_or_version(tmp_path):
    t = cases.trainer()
    with pytest.raises(ResumeError, match=r"it is of version 2, and this gpugrad knows 1: update gpugrad"):
        t.load_state_dict({**t.state_dict(), "version": 2})
    with pytest.raises(ResumeError, match="it lacks what a Trainer's state has"):
        t.load_state_dict({"version": 1, "parts": {}})
    gg.save(tmp_path / "mine", {"weights": 1})
    with pytest.raises(ResumeError, match="mine: this is not a Trainer's state: gg.load reads it"):
        t.load(tmp_path / "mine")


def test_data_that_are_shorter_than_where_a_run_goes_on(tmp_path):
    cases.trainer(tmp_path, save_every=4).fit(cases.batches(), None, 1)
    with pytest.raises(ResumeError, match="the training data end before batch 8"):
        cases.trainer().fit(cases.batches(20), None, 1, resume=tmp_path / "step-000000008.safetensors")


@pytest.mark.parametrize(
    "forged",
    [
        {"random": {"x": 1}}, {"random_of_epoch": 3}, {"means": [1]}, {"means": 3}, {"means": [{}, {}]},
        {"early_stopping": {}}, {"early_stopping": {"best": "a", "since": 0}}, {"updates": "a"}, {"loaders": 3},
        {"kinds": 3}, {"parts": None}, {"parts": {}}, {"loop": []}, {"loop": {"step": "abc"}},
        {"loop": {"history": 3}}, {"loop": {"history": {"loss": ["x"]}}}, {"loop": {"_batch": -1}},
        {"parts": {"model": {}, "optimizer": 1}}, {"parts": {"optimizer": {}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_forged_state_changes_nothing(tmp_path, forged):
    saved = cases.trainer(tmp_path)
    saved.fit(cases.batches(), None, 1)
    state = gg.load(tmp_path / "step-000000009.safetensors")
    for name, value in forged.items():
        state[name] = {**state[name], **value} if isinstance(value, dict) and name in ("loop", "parts") else value
    if forged == {"parts": {}}:
        state["parts"] = {}
    gg.save(tmp_path / "forged", state)
    t = cases.trainer(seed=5)
    before = cases.outcome(t)
    with pytest.raises(ResumeError, match="forged: it "):
        t.load(tmp_path / "forged")
    assert cases.outcome(t) == before


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (lambda: cases.loader(size=16), "batch size 8, and here it is 16"),
        (lambda: cases.loader(size=4), "batch size 8, and here it is 4"),
        (lambda: cases.loader(rows=40), "batches 9, and here it is 5"),
    ],
)
def test_other_batches_are_refused_before_anything_is_loaded(tmp_path, data, text):
    t = cases.trainer(tmp_path, save_every=4)
    step = t.training_step
    t.training_step = lambda batch: step(batch) if t.step < 5 else raising()
    with pytest.raises(Killed):
        t.fit(cases.loader(), None, 1)
    again = cases.trainer(tmp_path, seed=5)
    before, here = cases.outcome(again), data()
    at = here.state_dict()
    with pytest.raises(ResumeError, match=f"step-000000004.safetensors: the training data do not take.*{text}"):
        again.fit(here, None, 1, resume=True)
    assert cases.outcome(again) == before and here.state_dict() == at
    again.load(tmp_path / "step-000000004.safetensors")
    with pytest.raises(ResumeError, match=f"the training data do not take where this run is: .*{text}"):
        again.fit(here, None, 1)
    again.fit(cases.loader(), None, 1)
    assert again.step == 9


def raising():
    raise Killed


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("loader", [True, False])
def test_shuffled_datasets_go_on_to_the_same_bits(tmp_path, seed, loader):
    def data():
        dataset = gg.data.Dataset.from_tensor_slices(cases.arrays()).shuffle(30, seed=seed)
        return gg.data.DataLoader(dataset, 8, seed=4) if loader else dataset.batch(8)

    whole = cases.trainer()
    whole.fit(data(), data(), 4)
    t = cases.trainer(tmp_path, save_every=1)
    step = t.training_step
    t.training_step = lambda batch: step(batch) if t.step < 13 else raising()
    t.validation_step = step
    with pytest.raises(Killed):
        t.fit(data(), data(), 4)
    again = cases.trainer(tmp_path, seed=7)
    again.fit(data(), data(), 4, resume=True)
    assert cases.outcome(again) == cases.outcome(whole)

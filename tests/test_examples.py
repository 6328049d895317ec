"""The examples' short forms do what they say; the kernel of one of them is its reference; on a GPU's stand-in, too."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.testing import check_kernel

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("burgers", "digits", "regression", "transformer", "waves")


def ran(name: str, *arguments: str) -> str:
    """What an example prints, run as its reader runs it."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in {text}"
    return float(found[1].replace(",", ""))


def loaded(name: str, monkeypatch: pytest.MonkeyPatch):
    """An example as a module, which finds its `common`: bench/ has one, too."""
    if name != "common":
        monkeypatch.setitem(sys.modules, "common", loaded("common", monkeypatch))
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def learnt(name: str, text: str) -> None:
    """AssertionError unless the short form reached what it can reach."""
    if name == "burgers":
        assert number(r"L2 error ([\d.]+)%", text) < 55
    if name == "digits":
        assert number(r"perceptron: test accuracy ([\d.]+)%", text) > 75
        assert number(r"convnet: test accuracy ([\d.]+)%", text) > 85
    if name == "regression":
        assert number(r"largest difference .*: ([\d.e+-]+)", text) < 1e-6
        slopes = [float(w) for w in re.findall(r"w = ([\d.]+)", text)]
        assert len(slopes) == 4 and np.ptp(slopes) < 0.05
    if name == "transformer":
        assert number(r"transformer ([\d.]+)", text) < 35  # of 98 characters
        assert 5 < number(r"5-gram ([\d.]+)", text) < 12
    if name == "waves":
        assert number(r"misfit [\d.]+ -> ([\d.]+)", text) < 0.9 * number(r"misfit ([\d.]+)", text)
        assert number(r"kept ([\d.]+) MB", text) < 0.2 * number(r"keeps ([\d.]+) MB", text)


def drawn(picture: Path) -> None:
    """AssertionError unless something was drawn on every part of the picture, as wide as it is high."""
    assert picture.read_bytes().startswith(b"\x89PNG")
    ink = importlib.import_module("matplotlib.image").imread(picture)[..., :3].min(axis=-1) < 0.95
    parts = np.array_split(ink, round(ink.shape[1] / ink.shape[0]), axis=1)
    assert all(0.001 < part.mean() < 0.95 for part in parts)


@pytest.mark.parametrize("name", NAMES)
def test_the_short_form(name, tmp_path):
    picture = tmp_path / "out.png"
    learnt(name, ran(name, "--short", "--device", "cpu", "--output", str(picture)))
    drawn(picture)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "digits")) for n in NAMES])
def test_the_short_form_on_a_gpu(name, host, monkeypatch, capsys):
    host.allocator.guarded = False
    loaded(name, monkeypatch).main(["--short", "--device", "standin"])
    learnt(name, capsys.readouterr().out)


def test_every_example_is_told_of():
    """Each has the options of all, and its place in the README."""
    text = (EXAMPLES.parent / "README.md").read_text("utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert path.name == "common.py" or f"examples/{path.name}" in text
        assert path.stem in (*NAMES, "common", "memory_mlp")


def test_the_waves_kernels_are_their_reference(host, monkeypatch):
    waves = loaded("waves", monkeypatch)
    rng = np.random.default_rng(0)
    fields, cells = rng.standard_normal((2, 2, 5, 4)), rng.uniform(0.1, 0.4, (2, 5, 4))
    assert check_kernel(waves.wave, *fields, *cells, device="standin", dtypes=["float32", "float64"])


def test_nvrtc_compiles_the_waves_kernels(monkeypatch):
    compiler = pytest.importorskip("cupy.cuda.compiler")
    core = pytest.importorskip("cupy._core.core")
    nvrtc = pytest.importorskip("nvrtc")
    try:
        nvrtc.version()
    except RuntimeError as e:
        pytest.skip(f"NVRTC is not installed: {e}")
    code = loaded("waves", monkeypatch).wave.kernels.forward.code
    names = [f"{k}<{t}>" for k in ("wave", "wave_grad", "wave_speed_grad") for t in ("float", "double", "__half")]
    program = compiler._NVRTCProgram(code, "waves.cu", name_expressions=names, method="cubin")
    _, mangled = program.compile((*core.assemble_cupy_compiler_options(("-std=c++17",)), "-arch=sm_80"))
    assert set(mangled) == set(names)


def test_the_waves_gradient_is_that_of_all_steps(monkeypatch):
    """Of the whole recording, checkpoints included, by central differences in float64."""
    waves = loaded("waves", monkeypatch)
    survey = waves.Survey(16, edge=3, shots=2, steps=30, period=6)
    speed = np.random.default_rng(0).uniform(0.2, 0.35, (16, 16))
    gg.testing.check_grads(lambda c: gg.sum(survey.record(c, every=7) ** 2), [speed], order=1)


def test_burgers_exact_solution_solves_the_equation(monkeypatch):
    burgers = loaded("burgers", monkeypatch)
    x, t = np.meshgrid(np.linspace(-1, 1, 401), np.linspace(0.02, 0.3, 400), indexing="ij")
    u = burgers.exact(x, t)
    u_x, u_t = np.gradient(u, x[1, 0] - x[0, 0], axis=0), np.gradient(u, t[0, 1] - t[0, 0], axis=1)
    left = u_t + u * u_x - burgers.VISCOSITY * np.gradient(u_x, x[1, 0] - x[0, 0], axis=0)
    assert np.abs(left[5:-5, 5:-5]).max() < 0.02 * np.abs(u_t).max()
    assert np.abs(u[[0, -1]]).max() < 1e-9
    assert np.abs(burgers.exact(x[:, :1], np.full((401, 1), 1e-6)) + np.sin(np.pi * x[:, :1])).max() < 1e-3


def test_the_5_gram_model_is_a_distribution(monkeypatch):
    """After every context, seen or not, the probabilities of all characters add up to 1."""
    transformer = loaded("transformer", monkeypatch)
    rng = np.random.default_rng(0)
    text = rng.choice(transformer.V, 3000, p=rng.dirichlet(np.full(transformer.V, 0.05)))
    model = transformer.NGrams(text)
    for context in (text[:4], text[700:704], rng.integers(0, transformer.V, 4)):
        after = [model.probabilities(np.append(context, c))[-1] for c in range(transformer.V)]
        assert np.isclose(sum(after), 1) and min(after) > 0
    again = model.probabilities(text)
    assert np.exp(-np.log(again).mean()) < np.exp(-np.log(np.bincount(text)[text] / len(text)).mean())


def test_the_transformers_reader_looks_back_only(monkeypatch):
    """What it sees at a place is the same whatever follows, and differs by each of the last characters."""
    transformer = loaded("transformer", monkeypatch)
    rng = np.random.default_rng(0)
    text = rng.integers(3, 7, 4000)
    reader = transformer.Reader(text, order=5, least=10)
    seen = reader(text[:50])
    assert seen.shape == (50, 4 + 1 + 4) and seen.min() >= 0 and seen.max() < reader.rows
    np.testing.assert_array_equal(reader(np.append(text[:40], rng.integers(3, 7, 10)))[:40], seen[:40])
    for back in range(5):
        other = text[:50].copy()
        other[49 - back] = 20  # not in the text
        assert (reader(other)[49] != seen[49]).any() == (back < 4 or seen[49, -1] != reader.known[-1][2])


def test_the_transformers_held_out_loss_is_that_of_every_character(monkeypatch):
    """Of a model that knows nothing but the last character, by its own scores."""
    transformer = loaded("transformer", monkeypatch)
    rng = np.random.default_rng(0)
    text = rng.integers(1, 9, 70)
    table = rng.standard_normal((transformer.V, transformer.V))

    class Pairs:
        length = 16

        def __call__(self, seen):
            return gg.tensor(table)[seen.array[..., 0]]

    loss, n = transformer.held_out_loss(Pairs(), transformer.Reader(text, order=2, least=1), text, batch=3)
    scores = table[np.append(0, text[:-1])]
    each = np.log(np.exp(scores).sum(-1)) - scores[np.arange(70), text]
    assert n == 64 and np.isclose(loss, each[:64].mean())


def test_the_digits_that_are_neither_turned_nor_moved_are_themselves(monkeypatch):
    digits = loaded("digits", monkeypatch)
    images, labels = np.random.default_rng(0).random((5, 64), np.float32), np.arange(5)
    still = gg.data.DataLoader(digits.Warped(images, labels, 0.0, 0.0, 0.0), batch_size=5)
    (x, y), *_ = still
    np.testing.assert_allclose(x.numpy().reshape(5, 64), images, atol=1e-6)
    np.testing.assert_array_equal(y.numpy(), labels)
    (moved, _), *_ = gg.data.DataLoader(digits.Warped(images, labels, 0.0, 0.0, 1.0), batch_size=5)
    assert np.abs(moved.numpy() - x.numpy()).max() > 0.05


def test_the_readme_shows_small_pictures_that_exist():
    root = EXAMPLES.parent
    shown = re.findall(r"!\[[^\]]+\]\((docs/pictures/[^)]+)\)", (root / "README.md").read_text("utf-8"))
    assert {Path(p).stem for p in shown} == set(NAMES)
    for p in shown:
        drawn(root / p)
        assert (root / p).stat().st_size < 60_000

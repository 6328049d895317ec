"""`gpugrad memory SCRIPT.py`: the script runs as Python would run it, and every report tells what it costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpugrad import cli

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "memory_mlp.py"

LOOP = """
import numpy as np
import gpugrad as gg

v = gg.Variable(np.ones((100, 100), np.float32))
optimizer = gg.optim.SGD([v], learning_rate=0.1)
for i in range({n}):
    with gg.GradientTape(persistent=True) as tape:
        h = gg.exp(v * 0.1)
        a, b = gg.sum(h), gg.mean(h)
    tape.gradient(a, v)
    optimizer.apply_gradients([(tape.gradient(b, v), v)])
    print("step", i)
"""
GRAPH = """
import numpy as np
import gpugrad.torch as torch

w = torch.tensor(np.ones((100, 100), np.float32), requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.1)
for i in range(9):
    optimizer.zero_grad()
    for _ in range(2):
        torch.exp(w * 0.1).sum().backward()
    optimizer.step()
"""


PARALLEL = """
import numpy as np
import gpugrad as gg

v, w = [gg.Variable(np.ones((100, 100), np.float32)) for _ in range(2)]
for i in range(9):
    with gg.GradientTape() as first, gg.GradientTape() as second:
        a, b = gg.sum(gg.exp(v * 0.1)), gg.sum(gg.exp(w * 0.1))
    gg.optim.SGD(learning_rate=0.1).apply_gradients([(first.gradient(a, v), v)])
    gg.optim.SGD(learning_rate=0.1).apply_gradients([(second.gradient(b, w), w)])
"""
PENALTY = """
import numpy as np
import gpugrad.tensorflow as tf

v = tf.Variable(np.ones((100, 100), np.float32))
for i in range(9):
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            a = tf.reduce_sum(tf.exp(v * 0.1))
        penalty = tf.reduce_sum(inner.gradient(a, v) ** 2)
    v.assign_sub(0.1 * outer.gradient(penalty, v))
"""


GAN = """
import numpy as np
import gpugrad as gg

d, g = [gg.Variable(np.ones((n, n), np.float32)) for n in (100, 50)]
one, other = [gg.optim.SGD(learning_rate=0.1) for _ in range(2)]
for i in range(12):
    with gg.GradientTape() as tape:
        loss = gg.sum(gg.exp(d * 0.1))
    one.apply_gradients([(tape.gradient(loss, d), d)])
    with gg.GradientTape() as tape:
        loss = gg.sum(gg.exp(g * 0.1))
    other.apply_gradients([(tape.gradient(loss, g), g)])
"""
QUEUE = """
import queue, threading
import numpy as np
import gpugrad as gg

done = queue.Queue()
def train():
    v = gg.Variable(np.ones((100, 100), np.float32))
    for i in range(20):
        with gg.GradientTape() as tape:
            loss = gg.sum(gg.exp(v))
        v.assign_sub(0.1 * tape.gradient(loss, v))
        done.put(i)

threading.Thread(target=train).start()
while done.get() < 19:
    pass
"""


@pytest.fixture
def script(tmp_path):
    def write(text, name="train.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def gpugrad(*arguments, cwd=None, text=""):
    """The command in a process of its own: (exit status, stdout, stderr)."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gpugrad", "memory", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, input=text, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_the_example(tmp_path):
    reports = {e: tmp_path / f"report.{e}" for e in ("html", "png", "json")}
    small = ("--batch", 64, "--hidden", 64, "--depth", 3)
    options = [a for e, path in reports.items() for a in (f"--{e}", path)]
    status, out, err = gpugrad(*options, EXAMPLE, *small)
    assert status == 0, err
    data = json.loads(reports["json"].read_text())
    ways = {w["name"]: w for w in data["ways"]}
    assert list(ways) == ["as written", "not persistent", "persistent", "uses=2", "recompute"]
    assert "can only be used to compute one set" in ways["not persistent"]["failed"]
    assert ways["uses=2"]["how"].startswith("GradientTape(uses=2) at memory_mlp.py:")
    assert ways["as written"]["runs"] == 3
    for name in ("as written", "persistent", "uses=2", "recompute"):
        assert ways[name]["failed"] is None and ways[name]["gradients"] in ("-", "equal"), ways[name]
        assert ways[name]["peak"] > ways[name]["saved"] > 3 * 64 * 64 * 4
    top = ways["as written"]["lines"][0]
    assert top["line"].startswith("memory_mlp.py:") and top["source"] in EXAMPLE.read_text()
    assert f"{top['line']} holds" in out and top["source"] in out
    assert out.startswith("step 0: loss") and out.count("step 0") == 1  # the other ways are quiet
    assert reports["png"].read_bytes().startswith(b"\x89PNG")
    assert json.dumps(data["title"]).replace("<", "\\u003c") in reports["html"].read_text()
    status, _, err = gpugrad(*options, "--ways", "as-written", EXAMPLE, *small)  # over reports of its own
    assert status == 0, err


def test_as_python_runs_it(script, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sibling.py").write_text("NAME = 'sibling'\n")
    path = folder / "train.py"
    tell = """
import argparse, sys, os
from pathlib import Path
import sibling
main = sys.modules["__main__"]
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=int)
if __name__ == "__main__":
    print(parser.parse_args(), sys.argv, Path(__file__).name, sibling.NAME, main.__file__ == __file__, parser.prog)
    print(sys.path[0] == str(Path(__file__).resolve().parent), os.getcwd(), __doc__, __spec__)
    print(sys.stdin.read())
"""
    path.write_text(tell + LOOP.format(n=9))
    arguments = ["project/train.py", "--x", "3"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    plain = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=env, input="typed", capture_output=True, text=True, timeout=60
    )
    status, out, err = gpugrad("--ways", "as-written", "--steps", 1, *arguments, cwd=tmp_path, text="typed")
    assert status == plain.returncode == 0, err
    assert out.splitlines()[:3] == plain.stdout.splitlines()[:3]
    assert out.splitlines()[2] == "typed" and "step 2" in out and "step 5" not in out  # it is stopped


def test_fewer_steps_than_asked_for(script):
    path = script(LOOP.format(n=2))
    status, out, err = gpugrad("--ways", "persistent", "--json", "r.json", path, cwd=path.parent)
    assert status == 0, err
    assert out.count("step 1") == 1
    ways = json.loads(path.with_name("r.json").read_text())["ways"]
    assert [w["runs"] for w in ways] == [0, 0] and all(w["saved"] >= 40_000 and w["seconds"] > 0 for w in ways)
    assert "which recording makes slower" in out


def test_one_step(script):
    status, out, err = gpugrad("--ways", "uses", script(LOOP.format(n=1)))
    assert status == 0, err
    assert "uses=2 " in out and "train.py:9 holds" in out


def test_the_graph_of_tensors(script):
    path = script(GRAPH)
    status, _, err = gpugrad("--steps", 1, "--ways", "persistent", "--json", path.with_name("r.json"), path)
    assert status == 0, err
    ways = json.loads(path.with_name("r.json").read_text())["ways"]
    assert [[p[0] for p in w["phases"]].count("backward") for w in ways] == [2, 2]  # both walks are one step
    assert ways[1]["how"] == "backward(retain_graph=True)" and ways[1]["gradients"] == "equal"


@pytest.mark.parametrize("text", [PARALLEL, PENALTY, GAN], ids=["updates between", "a gradient of one", "in turn"])
def test_both_walks_are_one_step(script, text):
    path = script(text)
    status, _, err = gpugrad("--steps", 1, "--ways", "not-persistent", "--json", path.with_name("r.json"), path)
    assert status == 0, err
    ways = json.loads(path.with_name("r.json").read_text())["ways"]
    assert [[p[0] for p in w["phases"]].count("backward") for w in ways] == [2, 2]
    assert "asked once" in ways[0]["how"] and "twice" not in ways[0]["how"] and ways[1]["gradients"] == "equal"


@pytest.mark.parametrize(
    "text, code, said",
    [
        ("print(1)", 1, "train.py asked for no gradient: there was no tape.gradient"),
        ("import sys; sys.exit(7)", 7, "asked for no gradient, and ended with exit status 7"),
        ("import sys; sys.exit('words')", 1, "words\n"),
        ("def f():\n    raise KeyError('k')\nf()", 1, "train.py failed after 0 steps: KeyError: 'k'"),
        ("x = (", 1, "failed after 0 steps: SyntaxError: '(' was never closed"),
        ("import os; os._exit(9)", 9, "train.py ended with exit status 9 before a step was measured"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "train.py was ended by signal 9"),
        (LOOP.format(n=2) + "raise OSError('at the end')", 1, "train.py failed after 2 steps: OSError: at the end"),
    ],
)
def test_scripts_that_end_otherwise(script, text, code, said):
    path = script(text)
    status, out, err = gpugrad(path)
    assert status == code and said in err and "holds" not in out
    plain = subprocess.run(
        [sys.executable, path], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert err.startswith(plain.stderr)  # its traceback, as Python shows it


def test_training_in_another_thread(script):
    status, out, err = gpugrad("--ways", "persistent", script(QUEUE))
    assert status == 0 and not err and "train.py:11 holds 40.0 kB of the 40.0 kB" in out


def test_one_step_in_another_thread(script):
    status, out, err = gpugrad("--ways", "persistent", script(QUEUE.replace("20", "1").replace("19", "0")))
    assert status == 0 and not err and "train.py:11 holds 40.0 kB of the 40.0 kB" in out


def test_a_reader_that_has_seen_enough():
    ours, theirs = os.pipe()
    os.close(ours)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "gpugrad", "info"], stdout=theirs, stderr=subprocess.PIPE, env=env)
    os.close(theirs)
    assert done.returncode == 0 and not done.stderr


def test_files_of_one_name_are_two(script):
    model = "import gpugrad as gg\ndef f(x):\n    return gg.exp(x)\n"
    path = script("from one.model import f\nfrom two.model import f as g\n" + QUEUE.replace("gg.exp(v)", "f(v) * g(v)"))
    for folder in ("one", "two"):
        path.with_name(folder).mkdir()
        path.with_name(folder).joinpath("model.py").write_text(model)
    status, _, err = gpugrad("--ways", "as-written", "--json", path.with_name("r.json"), path)
    assert status == 0, err
    lines = {n["line"] for n in json.loads(path.with_name("r.json").read_text())["ways"][0]["lines"] if n["saved"]}
    assert lines >= {"model.py:3", "two/model.py:3"}


def test_an_exit_status_is_passed_on(script):
    status, out, _ = gpugrad("--ways", "as-written", script(LOOP.format(n=2) + "raise SystemExit(4)"))
    assert status == 4 and "holds" in out


def test_a_script_that_needs_its_input_twice(script):
    path = script("import sys\nassert sys.stdin.read() == 'typed'\n" + LOOP.format(n=9))
    status, out, err = gpugrad("--ways", "persistent", "--steps", 1, path, text="typed")
    assert status == 0, err
    assert "persistent: not run: AssertionError" in out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["none.py"], "there is no script none.py"),
        (["."], ". is a folder without a __main__.py; name a script"),
        ([], "the following arguments are required: SCRIPT.py"),
        (["--steps", "0", "train.py"], "'0' is not a positive integer"),
        (["--ways", "persistent,fast", "train.py"], "unknown way 'fast'; the ways are"),
        (["--device", "tpu", "train.py"], "--device: unknown device 'tpu'"),
        (["--html", "a.htm", "train.py"], "--html: 'a.htm' does not end in .html"),
        (["--png", "/no/such/a.png", "train.py"], "--png: there is no folder /no/such"),
        (["--json", "data.json", "train.py"], "--json: data.json exists and is no report of gpugrad memory"),
        (["--html", "notes.html", "train.py"], "--html: notes.html exists and is no report of gpugrad memory"),
        (["--json", "train.py", "train.py"], "--json: 'train.py' does not end in .json"),
    ],
)
def test_bad_arguments(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "data.json").write_text('{"mine": 1}')
    (tmp_path / "notes.html").write_text("<!doctype html><p>I ran gpugrad memory")
    with pytest.raises(SystemExit) as e:
        cli.main(["memory", *arguments])
    assert e.value.code == 2 and message in capsys.readouterr().err
    assert (tmp_path / "data.json").read_text() == '{"mine": 1}'


def test_a_picture_needs_matplotlib(script, monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        cli.main(["memory", "--png", "a.png", str(script("raise SystemExit('it ran')"))])
    assert "matplotlib is not installed. Install it with: pip install 'gpugrad[demo]'" in capsys.readouterr().err


def test_options_after_the_script_are_the_scripts(script, tmp_path):
    _, _, said = gpugrad("--ways", "persistent", script(LOOP.format(n=6)), "--html", "out.html", cwd=tmp_path)
    assert "--html after the script goes to the script" in said and not (tmp_path / "out.html").exists()

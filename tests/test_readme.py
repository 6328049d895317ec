"""The README's Python runs, in order and in one namespace, and prints what it says.

`print(...)  # -> text` is compared with what the line printed, once, `...` standing for anything. A block after the
HTML comment `<!-- no test -->` is left out.
"""

import ast
import doctest
import re
import sys
from pathlib import Path

import pytest

from gpugrad import explain

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"^(<!-- no test -->\s*\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r"# -> (.*?)\s*$")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text: str) -> list[str]:
    """The blocks to run, each behind as many empty lines as put it on its own lines of the file."""
    return ["\n" * text.count("\n", 0, m.start(2)) + m[2] for m in BLOCK.finditer(text) if not m[1]]


def promises(source: str) -> dict[int, str]:
    """{first line of a `print` call: the text its last line promises}. An arrow without a `print` is an error."""
    arrows = {i: m[1] for i, line in enumerate(source.splitlines(), 1) if (m := ARROW.search(line))}
    prints = {
        node.end_lineno: node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    loose = arrows.keys() - prints.keys()
    assert not loose, f"`# ->` on lines without a print: {sorted(loose)}"
    return {prints[i]: text for i, text in arrows.items()}


def run(text: str, name: str = "README.md") -> int:
    """Run the blocks of a Markdown text; how many there were. AssertionError where one printed something else."""
    printed: dict[int, list[str]] = {}

    def spy(*values: object, sep: str | None = " ", **_: object) -> None:
        printed.setdefault(sys._getframe(1).f_lineno, []).append((" " if sep is None else sep).join(map(str, values)))

    namespace = {"__name__": "__readme__", "print": spy}
    todo = blocks(text)
    for source in todo:
        exec(compile(source, name, "exec"), namespace)
        for line, want in promises(source).items():
            got = printed.get(line, [])
            same = len(got) == 1 and doctest.OutputChecker().check_output(want + "\n", got[0] + "\n", FLAGS)
            assert same, f"{name}:{line} promises {want!r} and printed {got}"
    return len(todo)


def test_the_page_on_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run((README.parent / "docs" / "training.md").read_text(encoding="utf-8"), "docs/training.md") >= 6


def test_the_page_beyond_the_gradient_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run((README.parent / "docs" / "beyond.md").read_text(encoding="utf-8"), "docs/beyond.md") >= 8


def test_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert run(README.read_text(encoding="utf-8")) >= 1


def fence(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```", ""])


def test_blocks_share_a_namespace_and_are_compared():
    text = "# x\n" + fence("a = 2") + fence("print(a + 1, 'b')  # -> 3 b", "print(", "    0.25", ")  # -> 0.2...")
    assert run(text + "<!-- no test -->\n" + fence("1 / 0") + "```\n1 / 0\n```\n") == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["print(1)  # -> 2"], r":2 promises '2' and printed \['1'\]"),
        (["if False:", "    print(1)  # -> 1"], r"printed \[\]"),
        (["for i in (1, 1):", "    print(i)  # -> 1"], r"printed \['1', '1'\]"),
        (["x = 1  # -> 1"], "without a print"),
    ],
)
def test_broken_promises_are_caught(lines: list[str], message: str):
    with pytest.raises(AssertionError, match=message):
        run(fence(*lines))


def test_an_error_names_the_line_of_the_file():
    with pytest.raises(ZeroDivisionError) as caught:
        run("one\n\n" + fence("a = 1", "1 / 0"))
    assert caught.traceback[-1].lineno == 4  # counted from 0


@pytest.mark.filterwarnings("ignore:The dtype of the watched tensor")
def test_the_page_on_none_prints_what_it_says(capsys):
    """Each block prints what stands in the block of text after it."""
    page = README.parent / "docs" / "none.md"
    text = page.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```python\n(.*?)^```\n+```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    namespace: dict = {}
    for m in found:
        source = "\n" * text.count("\n", 0, m.start(1)) + m[1]
        exec(compile(source, str(page), "exec"), namespace)
        assert capsys.readouterr().out.split() == m[2].split(), m[2]
    assert len(found) == text.count("```python") >= 12
    told = set(re.findall(r"^## (.*)$", text, re.MULTILINE))
    assert told == set(explain.ADVICE) - {explain.CONNECTED}

"""Reports of a step's memory: figures add up, every form says the same, and whatever is in a program stays text."""

import json
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gpugrad.profile import measure as measuring, picture
from gpugrad.profile.measure import measure
from gpugrad.profile.report import Cell, Comparison, Line, Way, duration

HOSTILE = 'x = "</script><b onload=alert(1)>&amp;\u2028<!-- \\'


def block(nbytes, born, died, op="mul", line="a.py:1", kind="saved"):
    text = HOSTILE if line == "a.py:1" else ""
    facts = {"op": op, "line": line, "kind": kind, "phase": None, "source": text, "device": "cpu"}
    return SimpleNamespace(nbytes=nbytes, born=born, died=died, **facts)


class Profile:
    """What `measure` reads of a MemoryProfile, made of its blocks."""

    device = "cpu"

    def __init__(self, blocks, phases):
        self.blocks = blocks
        self.phases = [SimpleNamespace(name=n, start=a, end=b) for n, a, b in phases]

    def timeline(self):
        moments = sorted({0.0, *[b.born for b in self.blocks], *[b.died for b in self.blocks if b.died is not None]})
        alive = lambda t: sum(b.nbytes for b in self.blocks if b.born <= t and (b.died is None or b.died > t))
        return np.array(moments), np.array([alive(t) for t in moments])

    @property
    def peak(self):
        return int(self.timeline()[1].max())

    @property
    def peak_at(self):
        moments, total = self.timeline()
        return float(moments[total.argmax()])

    def there(self, t):
        return [b for b in self.blocks if b.born <= t and (b.died is None or b.died > t)]

    def at_peak(self):
        return self.there(self.peak_at)

    def saved_at(self, t):
        return sum(b.nbytes for b in self.there(t) if b.kind == "saved")


BOOK = SimpleNamespace(to_dict=lambda: {"entries": []})
PHASES = [("forward", 0.0, 5.0), ("backward", 5.0, 8.0), ("backward", 8.0, 9.0), ("update", 9.0, 10.0)]
SMALL = [
    block(100, 1.0, 6.0),
    block(300, 2.0, 8.5, "exp", "a.py:2"),
    block(1000, 5.5, 5.75, "mul backward", kind="temporary"),
]


def measured(blocks=SMALL, **facts):
    way = Way("as written")
    measure(way, Profile(blocks, PHASES), 5.0, BOOK)
    for name, value in facts.items():
        setattr(way, name, value)
    return way


def comparison():
    other = measured(
        [block(100, 1.0, 6.0)], name="uses=2", how=f"GradientTape(uses=2) at {HOSTILE}", seconds=0.002, runs=3
    )
    failed = Way("not persistent", "GradientTape()", f"RuntimeError: {HOSTILE}")
    return Comparison(f"train.py {HOSTILE}", "cpu", [measured(seconds=0.001, runs=3), failed, other], ["a note"])


def test_a_way_says_what_its_blocks_say():
    way = measured()
    assert (way.saved, way.peak, way.peak_at, way.peak_phase) == (400, 1400, 5.5, "backward")
    assert way.freed == "100 B in the first gradient, 300 B in the second gradient" and way.duration == 10.0
    assert way.lines == [
        Line("a.py:2", "", 300, 300, {"exp": 300}),
        Line("a.py:1", HOSTILE, 100, 1100, {"mul": 100, "mul backward": 0}),
    ]


@pytest.mark.parametrize(
    "deaths, said",
    [
        ([6.0, 7.0], "in the first gradient"),
        ([8.5, 8.75], "in the second gradient"),
        ([9.5, 11.0], "after the gradients"),
        ([None, None], "later"),
        ([6.0, 9.5, None], "8 B in the first gradient, 8 B after the gradients, 8 B later"),
    ],
)
def test_when_what_was_saved_is_freed(deaths, said):
    assert measured([block(8, 1.0, d) for d in deaths]).freed == said


BLOCKS = st.lists(
    st.builds(
        lambda n, born, life, op, line, kind: block(n, born, None if life is None else born + life, op, line, kind),
        st.integers(0, 1000), st.integers(0, 60).map(float), st.none() | st.integers(1, 30).map(float),
        st.sampled_from("abcdefgh"), st.sampled_from([None, "a.py:1", "a.py:2"]), st.sampled_from(["saved", "other"]),
    ),
    max_size=40,
)  # fmt: skip


@settings(deadline=None)
@given(blocks=BLOCKS, samples=st.integers(4, 100), cells=st.integers(0, 6))
def test_parts_add_up_and_the_peak_is_among_them(blocks, samples, cells):
    profile = Profile(blocks, PHASES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "SAMPLES", samples)
        patch.setattr(measuring, "CELLS", cells)
        way = Way("x")
        measure(way, profile, 5.0, BOOK)
    moments, total = profile.timeline()
    of = dict(zip(moments.tolist(), total.tolist()))
    assert len(way.times) <= samples + 2 and way.times == sorted(way.times)
    assert np.sum([c.bytes for c in way.cells], axis=0).tolist() == [of[t] for t in way.times]
    assert max(of[t] for t in way.times) == way.peak and all(min(c.bytes) >= 0 for c in way.cells)
    assert sum(n.saved for n in way.lines) == sum(
        b.nbytes for b in blocks if b.kind == "saved" and b.line and b.born <= 5.0 and (b.died is None or b.died > 5.0)
    )


def test_json_holds_everything(tmp_path):
    c = comparison()
    c.save_json(tmp_path / "a.json")
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == c.to_dict() and read["schema"] == 1
    assert [Way.from_dict(w) for w in read["ways"]] == c.ways
    assert read["findings"][0].startswith("a.py:2 holds 300 B of the 400 B") and "uses=2" in " ".join(read["findings"])


class Page(HTMLParser):
    """The tags of a page, and the text of its elements with an id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.inside = [], {}, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = dict(attributes).get("id")

    def handle_data(self, data):
        self.text[self.inside] = self.text.get(self.inside, "") + data


def test_the_page_is_whole_and_needs_nothing_else():
    c = comparison()
    text = c.to_html()
    page = Page(text)
    assert json.loads(page.text["data"]) == c.to_dict()
    assert [tag for tag, _ in page.tags].count("script") == 2 and "b" not in [tag for tag, _ in page.tags]
    assert not any({"src", "href", "onload"} & attributes.keys() for _, attributes in page.tags)
    assert {"title", "findings", "ways", "by", "legend", "panels", "lines", "ledger", "notes"} <= {
        a.get("id") for _, a in page.tags
    }
    outside = [line for line in text.splitlines() if "//" in line.replace("// ", "") and "http" in line]
    assert all("http://www.w3.org/2000/svg" in line for line in outside)  # a name, not an address
    assert not any(word in text for word in ("url(", "@import", "fetch(", "XMLHttpRequest", "innerHTML", "eval("))


def test_a_notebook_shows_the_page():
    c = comparison()
    ((tag, attributes),) = Page(c._repr_html_()).tags
    assert tag == "iframe" and attributes["srcdoc"] == c.to_html()


def test_the_script_of_the_page_is_javascript(tmp_path):
    node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if node is None:
        pytest.skip("no node here")
    subprocess.run([node, "--check", Path(measuring.__file__).with_name("report.js")], check=True, timeout=60)


def test_the_table_has_all_ways():
    text = str(comparison())
    assert f"not persistent: not run: RuntimeError: {HOSTILE}" in text
    (row,) = [line for line in text.splitlines() if line.startswith("uses=2 ")]
    assert row.split() == "uses=2 100 B 100 B forward in the first gradient 2 ms -".split()


def test_nothing_saved_and_nothing_better_are_said():
    c = Comparison("f", "cpu", [measured([block(5, 1.0, 2.0, kind="temporary")]) for _ in range(2)])
    assert c.to_dict()["findings"] == [
        "Nothing is saved for a backward pass.", "None of the other ways that were tried has a lower peak than 5 B.",
    ]  # fmt: skip


def test_the_picture(tmp_path):
    c = comparison()
    c.plot(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG") and struct.unpack(">I", data[16:20]) == (1200,) and len(data) < 150_000
    areas = picture.areas_of(c.ways[0], ["mul"])
    assert sum(a for a in areas.values()).tolist() == np.sum([n.bytes for n in c.ways[0].cells], axis=0).tolist()


def test_the_picture_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install 'gpugrad\\[demo\\]'"):
        comparison().plot(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_durations():
    assert [duration(s) for s in (2.5, 0.0123, 4e-6)] == ["2.5 s", "12.3 ms", "4 us"]


def test_a_way_survives_its_process():
    way = measured()
    way.cells.append(Cell("mul", None, "other", [1, 2]))
    assert Way.from_dict(json.loads(json.dumps(asdict(way)))) == way


def test_the_document_shows_the_example():
    root = Path(__file__).resolve().parent.parent
    text = (root / "docs" / "memory.md").read_text(encoding="utf-8")
    source = (root / "examples" / "memory_mlp.py").read_text(encoding="utf-8").splitlines()
    shown = re.findall(r"memory_mlp\.py:(\d+)  (.+)", text)
    assert len(shown) >= 3 and all(source[int(number) - 1].strip() == line for number, line in shown)
    pictures = [root / "docs" / name for name in re.findall(r"\((\S+\.png)\)", text)]
    assert len(pictures) == 2 and all(p.stat().st_size < 150_000 for p in pictures)

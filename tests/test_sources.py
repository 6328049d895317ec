"""Datasets in files: .npy, CSV and Parquet against the arrays they were made of; and files that are none."""

import pickle
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import gpugrad as gg
from gpugrad.data import DataLoader, csv, npy, parquet

HOST = lambda t: gg.array.to_host(gg.core.raw(t))


# ---------------------------------------------------------------------------------------------- .npy
@pytest.fixture
def files(tmp_path):
    x, y = np.random.default_rng(0).standard_normal((50, 3, 2)).astype(np.float32), np.arange(50)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(x))
    return tmp_path, x, y


def test_mapped_files(files):
    folder, x, y = files
    d = npy(folder / "x.npy", folder / "y.npy")
    assert isinstance(d.arrays[0], np.memmap) and len(d) == 50
    copy = pickle.dumps(d)
    assert len(copy) < 1000  # the paths
    for some in (d, pickle.loads(copy), npy(folder / "fortran.npy", folder / "y.npy")):
        for a, b in DataLoader(some, 8, True, seed=1):
            np.testing.assert_array_equal(HOST(a), x[HOST(b)])
        for a, b in DataLoader(some, 8):
            np.testing.assert_array_equal(HOST(a), x[HOST(b)])
    a, b = d[-1]
    np.testing.assert_array_equal(a, x[-1])
    a[...] = 0  # a copy
    np.testing.assert_array_equal(d[49][0], x[-1])
    named = npy(image=folder / "x.npy", label=folder / "y.npy")
    assert pickle.loads(pickle.dumps(named))[3]["label"] == 3 == y[3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-7, 6), max_size=20))
def test_rows_in_any_order_and_repeated(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "seven.npy"
    data = np.arange(21).reshape(7, 3)
    if not path.exists():
        np.save(path, data)
    (found,) = npy(path).__getbatch__(np.array(rows, np.int64))
    np.testing.assert_array_equal(found, data[rows])


def test_npy_files_that_are_none(files, tmp_path):
    folder, _, _ = files
    whole = (folder / "x.npy").read_bytes()
    (folder / "cut.npy").write_bytes(whole[:-5])
    (folder / "head.npy").write_bytes(whole[:20])
    (folder / "text.npy").write_text("1,2,3\n")
    (folder / "empty.npy").write_bytes(b"")
    np.save(folder / "objects.npy", np.array([{}, None]), allow_pickle=True)
    np.save(folder / "short.npy", np.zeros(3))
    for name in ("cut", "head", "text", "empty", "objects"):
        with pytest.raises(ValueError, match=f"{name}.npy can't be read as a .npy file"):
            npy(folder / f"{name}.npy")
    with pytest.raises(FileNotFoundError, match="none.npy"):
        npy(folder / "none.npy")
    with pytest.raises(ValueError, match="as many rows"):
        npy(folder / "x.npy", folder / "short.npy")


# ---------------------------------------------------------------------------------------------- CSV
TABLE = """name,height,weight,ok,city
a,1.5,70,true,Rome
b,1.75,80,false,Bonn
c,1.25,55,true,Rome
"""


@pytest.fixture
def table(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def test_csv(table):
    d = csv(table, ["height", "city", "ok"], categories=["city"])
    (batch,) = DataLoader(d, 5)
    assert {k: v.tolist() for k, v in batch.items()} == {
        "height": [1.5, 1.75, 1.25], "city": [1, 0, 1], "ok": [True, False, True],
    }  # fmt: skip
    assert batch["city"].dtype == gg.int32 and batch["height"].dtype == gg.float32
    assert d.categories == {"city": ["Bonn", "Rome"]}
    x, y = csv(table, ["height", "weight"], target="ok")[:]
    np.testing.assert_array_equal(x, [[1.5, 70], [1.75, 80], [1.25, 55]])
    assert y.tolist() == [True, False, True]
    coded = csv(table, ["city"], categories={"city": ["Oslo", "Rome", "Bonn"]})
    assert coded[:]["city"].tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    "text, options, error, words",
    [
        (TABLE, {}, TypeError, r"column 'name' has values of type string.*categories=\[\"name\"\]"),
        (TABLE, {"columns": ["size"]}, ValueError, "no column 'size'; it has"),
        (TABLE, {"columns": []}, ValueError, "leaves no column"),
        (TABLE, {"columns": ["ok", "ok"]}, ValueError, "or has one twice"),
        (TABLE, {"columns": ["ok"], "target": "ok"}, ValueError, "leaves no column"),
        (TABLE, {"columns": ["city"], "categories": {"city": ["Rome"]}}, ValueError, "'Bonn'.*, not in categories"),
        (TABLE, {"columns": ["city"], "categories": {"city": ["Rome", "Rome"]}}, ValueError, "same text twice"),
        (TABLE, {"columns": ["ok"], "categories": ["town"]}, ValueError, "no column 'town'"),
        ("a,b\n1,2\n3,\n", {}, ValueError, "column 'b' has 1 nulls among 2"),
        ("a\n2024-01-01\n", {}, TypeError, "type date32"),
        ("a,b\n1,2\n1\n", {}, ValueError, "can't be read as CSV"),
        ("", {}, ValueError, "can't be read as CSV"),
    ],
)
def test_csv_that_is_refused(tmp_path, text, options, error, words):
    pytest.importorskip("pyarrow")
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(error, match=words) as seen:
        csv(path, **options)
    assert str(path) in str(seen.value)
    with pytest.raises(FileNotFoundError, match="none.csv"):
        csv(tmp_path / "none.csv")


HOLES = "n,x,city,ok,y\n1,0.5,Rome,true,0\n,nan,,,1\n3,2.5,Bonn,false,0\n"


def same(found, **wanted):
    for name, (values, dtype) in wanted.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == dtype


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_nulls_are_filled(tmp_path, kind):
    pytest.importorskip("pyarrow")
    import pyarrow.csv
    import pyarrow.parquet

    path = tmp_path / "holes"
    path.write_text(HOLES)
    if kind == "parquet":
        table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True))
        pyarrow.parquet.write_table(table, path, row_group_size=1)
    else:
        path.write_text(HOLES.replace(",nan,,", ",nan,none,"))  # an empty text is one
    read, city, nan = {"csv": csv, "parquet": parquet}[kind], ["city"], np.nan
    rows = lambda **o: read(path, **o).__getbatch__(np.arange(3))
    numbers = ["n", "x", "ok", "y"]
    kept = rows(columns=numbers, fill=nan)
    same(kept, n=([1, nan, 3], "f4"), x=([0.5, nan, 2.5], "f4"), ok=([1, nan, 0], "f4"), y=([0, 1, 0], "i8"))
    same(rows(columns=["n", "x", "ok"], fill=0), n=([1, 0, 3], "i8"), x=([0.5, 0, 2.5], "f4"), ok=([1, 0, 0], "?"))
    assert rows(columns=["n"], fill=np.inf)["n"][1] == np.inf and rows(columns=["ok"], fill=-1)["ok"][1] == -1
    each = {"n": -1, "x": 0.25, "ok": True} | ({"city": "none"} if kind == "parquet" else {})
    all_of = rows(categories=city, fill=each)
    same(all_of, n=([1, -1, 3], "i8"), x=([0.5, 0.25, 2.5], "f4"), ok=([1, 1, 0], "?"), city=([1, 2, 0], "i4"))
    x, y = read(path, ["n", "x"], "y", fill=nan).__getbatch__(np.arange(3))
    np.testing.assert_array_equal(x, np.array([[1, 0.5], [nan, nan], [3, 2.5]], "f4"))
    assert y.dtype == np.int64 and x.dtype == np.float32
    again = pickle.loads(pickle.dumps(read(path, ["n"], fill=nan)))
    same(again.__getbatch__(np.arange(3)), n=([1, nan, 3], "f4"))
    for options, error, words in (
        ({"columns": ["n"], "fill": {"x": 0.0}}, ValueError, r"'n' has 1 nulls among .*fill=0.0, a number; float"),
        ({"columns": ["n"], "fill": "0"}, TypeError, "fill='0' is a text"),
        ({"columns": ["n"], "fill": {"m": 0.0}}, ValueError, "no column 'm'"),
        ({"columns": ["n", "city"], "fill": 0}, TypeError, r"categories=\[\"city\"\]"),
    ):
        with pytest.raises(error, match=words):
            rows(**options)


# ---------------------------------------------------------------------------------------------- Parquet
N = 103


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Two files of 103 rows in row groups of 10, and their columns."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    folder, rng = tmp_path_factory.mktemp("parquet"), np.random.default_rng(1)
    columns = {
        "x": rng.standard_normal(N).astype(np.float32), "n": np.arange(N), "ok": rng.random(N) > 0.5,
        "city": np.array(["Rome", "Bonn", "Oslo"])[rng.integers(0, 3, N)], "v": rng.standard_normal((N, 4)),
    }  # fmt: skip
    paths = []
    for i, rows in enumerate((slice(60), slice(60, N))):
        some = {k: pa.array(a[rows]) for k, a in columns.items() if k != "v"}
        some["v"] = pa.FixedSizeListArray.from_arrays(pa.array(columns["v"][rows].ravel()), 4)
        paths.append(folder / f"{i}.parquet")
        pyarrow.parquet.write_table(pa.table(some), paths[-1], row_group_size=10)
    return paths, columns


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.integers(-N, N - 1), max_size=30), groups=st.integers(1, 3))
def test_any_rows_of_parquet(parts, rows, groups):
    paths, columns = parts
    d = parquet(paths, ["n", "v", "x", "ok", "city"], categories=["city"], groups=groups, dtype="float64")
    found = d.__getbatch__(np.array(rows, np.int64))
    for k in ("n", "v", "x", "ok"):
        np.testing.assert_array_equal(found[k], columns[k][rows])
    assert [d.categories["city"][i] for i in found["city"]] == columns["city"][rows].tolist()
    assert d.categories == {"city": ["Bonn", "Oslo", "Rome"]}


def test_parquet_is_read_about_once_an_epoch(parts, monkeypatch):
    """Shuffled: each row once, in another order each epoch; each group once, or twice at an edge."""
    paths, columns = parts
    d = pickle.loads(pickle.dumps(parquet(paths, ["x"], target="n", groups=3)))
    read = []
    kind = type(d._file(0))
    group = kind.read_row_group
    monkeypatch.setattr(kind, "read_row_group", lambda f, g, names: read.append(g) or group(f, g, names))
    orders = []
    loader = DataLoader(d, 7, True, seed=2)
    for _ in range(2):
        read.clear()
        seen = []
        for x, n in loader:
            np.testing.assert_array_equal(HOST(x)[:, 0], columns["x"][HOST(n)])
            seen += n.tolist()
        assert sorted(seen) == list(range(N)) and len(read) <= 12 and len(d._kept) <= 6
        orders.append(seen)
    assert orders[0] != orders[1]
    state = {"seed": 2, "epoch": 1, "batch": 5}
    loader.load_state_dict(state)
    assert [i for _, n in loader for i in n.tolist()] == orders[1][35:]
    read.clear()
    assert [i for _, n in DataLoader(d, 7) for i in n.tolist()] == list(range(N)) and len(read) <= 11
    assert d[5][1] == 5


def test_many_parquet_files_are_not_all_open(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    for i in range(40):
        pyarrow.parquet.write_table(pa.table({"a": np.arange(2) + 2 * i}), tmp_path / f"{i}")
    d = parquet([tmp_path / f"{i}" for i in range(40)], groups=3)
    (batch,) = DataLoader(d, 80)
    assert batch["a"].tolist() == list(range(80)) and len(d._open) == 16


def test_the_dtype_of_x(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table, path = tmp_path / "x.csv", tmp_path / "x.parquet"
    digits = "column 'a' has integers from 2\\*\\*24 on, .* dtype=: \"float64\" tells"
    for big, words in ((7, None), (2**24 + 1, digits), (2**53 + 1, digits), (-(2**63), digits)):
        table.write_text(f"a,c,y\n{big},1.5,0\n2,0.5,1\n")
        columns = {"a": np.array([big, 2]), "c": np.array([1.5, 0.5]), "y": np.array([0, 1])}
        pyarrow.parquet.write_table(pa.table(columns), path)
        for read, file in ((csv, table), (parquet, path)):
            x, _ = read(file, target="y", dtype="float32").__getbatch__(np.arange(2))
            assert x.dtype == np.float32 and x.tolist() == [[np.float32(big), 1.5], [2, 0.5]]
            x, _ = read(file, target="y", dtype="float64").__getbatch__(np.arange(2))
            assert x.tolist() == [[float(big), 1.5], [2, 0.5]]
            if words:
                with pytest.raises(ValueError, match=words):
                    read(file, target="y").__getbatch__(np.arange(2))
            else:
                x, y = read(file, target="y").__getbatch__(np.arange(2))
                assert x.dtype == np.float32 and y.dtype == np.int64
                x, y = read(file, target="c").__getbatch__(np.arange(2))
                assert x.dtype == np.int64 and y.dtype == np.float32
                x, y = read(file, target="c", dtype="float64").__getbatch__(np.arange(2))
                assert x.dtype == y.dtype == np.float64
            x, _ = read(file, ["a"], target="y").__getbatch__(np.arange(2))
            assert x.dtype == np.int64 and x.tolist() == [[big], [2]]
            with pytest.raises(ValueError, match="without a target dtype= is of columns of floats, not int32"):
                read(file, dtype="int32")
            batch = read(file, dtype="float64").__getbatch__(np.arange(2))
            assert [v.dtype for v in batch.values()] == [np.int64, np.float64, np.int64]


def test_floats_that_float32_does_not_tell_apart(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.csv
    import pyarrow.parquet

    rng = np.random.default_rng(0)
    hour = 1.7e9 + 0.25 + rng.permutation(3600)
    for values, left in (([1700000000.25, 1700000000.5], 1), (hour, 29), (rng.standard_normal(20_000), 0)):
        columns = {"t": np.array(values), "y": np.arange(len(values))}
        path, table = tmp_path / "x.parquet", tmp_path / "x.csv"
        pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=2000)
        pyarrow.csv.write_csv(pa.table(columns), table)
        for read, file in ((csv, table), (parquet, path)):
            for dtype in ("float32", "float64"):
                x, _ = read(file, target="y", dtype=dtype).__getbatch__(np.arange(len(values)))
                assert np.array_equal(x[:, 0], np.asarray(values, dtype))
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                x, _ = read(file, target="y").__getbatch__(np.arange(len(values)))
            assert x.dtype == np.float32 and len(seen) == bool(left)
            if left and (read is csv or len(values) == 2):
                said = f"column 't' has {len(values)} different .* float32 leaves {left}; .* dtype=\"float64\""
                assert re.search(said, str(seen[0].message))


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_floats_that_overflow(tmp_path, dtype):
    pytest.importorskip("pyarrow")
    path = tmp_path / "x.csv"
    path.write_text("a,y\n1e300,1\ninf,2\n-2,3\n")
    with pytest.raises(ValueError, match="column 'a' .* too large for float32; write dtype=\"float64\""):
        csv(path, target="y", dtype=dtype)
    assert csv(path, target="y", dtype="float64")[0][0] == 1e300
    path.write_text("a,y\n1e3,1\ninf,2\n-2,3\n")
    np.testing.assert_array_equal(csv(path, target="y", dtype=dtype)[:][0][:, 0], np.float32([1e3, np.inf, -2]))


def test_floats_come_in_the_default_dtype_in_a_worker_too(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"a": np.arange(4) / 2, "y": np.arange(4)}), tmp_path / "x")
    gg.set_default_dtype("float64")
    try:
        with DataLoader(parquet(tmp_path / "x", target="y"), 4, num_workers=1) as loader:
            ((x, y),) = loader
        assert x.dtype == np.float64 and y.dtype == np.int64
        assert parquet(tmp_path / "x").__getbatch__(np.arange(4))["a"].dtype == np.float64
    finally:
        gg.set_default_dtype("float32")
    model = gg.nn.Linear(1, 1)
    (x, _) = parquet(tmp_path / "x", target="y").__getbatch__(np.arange(4))
    assert model(gg.tensor(x)).dtype == np.float32


def test_a_csv_file_without_names(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "iris.csv"
    path.write_text("5.1,3.5,0\n4.9,3.0,1\n")
    with pytest.warns(UserWarning, match=r"names of the columns are \['5.1', '3.5', '0'\]; .* write names="):
        assert len(csv(path)) == 1
    x, y = csv(path, target="kind", names=["length", "width", "kind"])[:]
    np.testing.assert_array_equal(x, np.float32([[5.1, 3.5], [4.9, 3.0]]))
    assert y.tolist() == [0, 1]
    path.write_text("0,1,2\n5.1,3.5,0\n")
    assert len(csv(path, target="2")) == 1
    path.write_text("a;b\n1;2\n")
    with pytest.raises(ValueError, match="it has \\['a;b'\\]: write delimiter=';'"):
        csv(path, target="b")


def test_a_target_that_is_not_there(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    (tmp_path / "x.csv").write_text("a,y\n1,2\n")
    pyarrow.parquet.write_table(pa.table({"a": [1], "y": [2]}), tmp_path / "x.parquet")
    for read, name in ((csv, "x.csv"), (parquet, "x.parquet")):
        with pytest.raises(ValueError, match=rf"{name} has no column 'nope'; it has \['a', 'y'\]"):
            read(tmp_path / name, target="nope")


def test_parquet_that_is_refused(parts, tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    paths, _ = parts
    write = lambda name, **columns: pyarrow.parquet.write_table(pa.table(columns), tmp_path / name)
    with pytest.raises(FileNotFoundError, match="none"):
        parquet(tmp_path / "none")
    whole = paths[0].read_bytes()
    for bad in (b"", b"PAR1", whole[:-9], b"x" * 100):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(ValueError, match="bad can't be read as Parquet"):
            parquet(tmp_path / "bad")
    with pytest.raises(TypeError, match="column 'city' has values of type string"):
        parquet(paths[0])[0]
    with pytest.raises(ValueError, match="no column 'size'"):
        parquet(paths, ["size"])
    with pytest.raises(ValueError, match="no files, or groups=0"):
        parquet(paths, groups=0)
    with pytest.raises(ValueError, match="no files"):
        parquet([])
    write("null", a=pa.array([1.0, None]))
    with pytest.raises(ValueError, match="column 'a' has 1 nulls among 2"):
        parquet(tmp_path / "null")[0]
    write("one", a=pa.array([1.0, 2.0]))
    write("two", a=pa.array([1, 2]))
    write("three", b=pa.array([1, 2]))
    with pytest.raises(TypeError, match="column 'a' has int64 here and float32 elsewhere"):
        parquet([tmp_path / "one", tmp_path / "two"]).__getbatch__(np.arange(4))
    with pytest.raises(ValueError, match="three has no column 'a'"):
        parquet([tmp_path / "one", tmp_path / "three"])
    write("nothing", a=pa.array([], pa.float32()))
    with pytest.raises(ValueError, match="no batches: 0 elements"):
        DataLoader(parquet(tmp_path / "nothing"))


def test_without_pyarrow(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for f in (csv, parquet):
        with pytest.raises(ImportError, match=r"needs pyarrow .*'gpugrad\[data\]', in a clone pip install '.\[data\]'"):
            f("some")

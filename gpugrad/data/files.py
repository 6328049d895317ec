"""Datasets in files: `.npy` mapped into memory; CSV and Parquet by pyarrow (the extra `data`)."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype, default_float, is_float
from ..files import install
from ..generator import Generator
from .digits import check_integers, narrowed
from .rows import ArrayDataset, checked, taken
from .samplers import shuffled

Categories = Sequence[str] | Mapping[str, Sequence[Any]]
Fill = float | Mapping[str, Any] | None


# ---------------------------------------------------------------------------------------------- .npy
def npy(*paths: Any, **named: Any) -> NpyDataset:
    """The rows of `.npy` files, of which only what is asked for is read: (x[i], y[i], …), or {name: array[i]}.

    What a worker gets is the paths.  FileNotFoundError and ValueError, which name the file, for one that is not there,
    is none, or is cut off; ValueError for files of different lengths.
    """
    return NpyDataset(*paths, **named)


class NpyDataset(ArrayDataset):
    """What `npy` answers."""

    draws_nothing = True

    def __init__(self, *paths: Any, **named: Any) -> None:
        self._paths = [os.fspath(p) for p in paths], {k: os.fspath(p) for k, p in named.items()}
        super().__init__(*map(_mapped, self._paths[0]), **{k: _mapped(p) for k, p in self._paths[1].items()})

    def __reduce__(self) -> Any:
        return _npy_again, self._paths

    def __getitem__(self, i: Any) -> Any:
        return self._made([np.array(a[i]) for a in self.arrays.values()])

    def __getbatch__(self, indices: np.ndarray) -> Any:
        rows = checked(indices, len(self))
        order = np.argsort(rows, kind="stable")  # as they are in the file
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return self._made([taken(np.asarray(a[rows[order]]), back) for a in self.arrays.values()])


def _npy_again(paths: list[str], named: dict[str, str]) -> NpyDataset:
    return NpyDataset(*paths, **named)


def _mapped(path: str) -> np.memmap:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError as e:
        raise ValueError(f"{path} can't be read as a .npy file of numbers: {e}") from None


# ---------------------------------------------------------------------------------------------- tables
class _Reader:
    """How columns become arrays: which, with which numbers for their texts, and what an element is made of.

    columns     their names in order; None: all of the file
    tried       the columns whose floats were looked at, or need not be
    target      the column that is y: elements are (x, y), x being the others side by side in their common dtype
    categories  columns of texts as numbers: {name: [texts]}, numbered in that order, or names, of which each text that
                is found gets a number, in the order of the alphabet
    dtype       of all of x, and of columns of floats
    floats      of columns of floats, where dtype is None
    fill        what nulls become: a number, in columns of numbers; or {name: number, or text}
    nulls       the columns that may have some
    """

    def __init__(
        self, path: str, schema: Any, columns: Any, target: str | None, categories: Categories | None, dtype: Any,
        floats: Any, fill: Fill, nulls: Iterable[str],
    ) -> None:  # fmt: skip
        there = list(schema.names)
        names = [*(there if columns is None else columns)]
        if target is not None and target not in names:
            names.append(target)
        coded = {} if categories is None else dict(categories) if isinstance(categories, Mapping) else categories
        self.fill, self.nulls = fill, set(nulls)
        for what in (*names, *coded, *(fill if isinstance(fill, Mapping) else ())):
            if what not in there:
                other = next((d for d in ";\t|" if len(there) == 1 and d in there[0]), None)
                hint = f": write delimiter={other!r}" if other else ""
                raise ValueError(f"{path} has no column {what!r}; it has {there}{hint}")
        if not names or names == [target] or len(set(names)) < len(names):
            raise ValueError(f"{path}: columns={columns!r} with target={target!r} leaves no column, or has one twice")
        self.path, self.names, self.target = path, names, target
        self.dtype = None if dtype is None else as_dtype(dtype)
        if self.dtype is not None and target is None and not is_float(self.dtype):
            raise ValueError(f"{path}: without a target dtype= is of columns of floats, not {self.dtype}")
        self.floats = self.dtype if self.dtype is not None and is_float(self.dtype) else as_dtype(floats)
        self.tried = set(names if self.floats is self.dtype else ())  # where the caller has asked for it
        self.codes = {k: None if not isinstance(coded, dict) else _numbered(path, k, coded[k]) for k in coded}

    @property
    def categories(self) -> dict[str, list[Any]]:
        """The texts of each column that is numbered, in the order of their numbers."""
        return {k: list(code or ()) for k, code in self.codes.items()}

    def learn(self, name: str, values: Sequence[Any]) -> None:
        """Number the texts of a column."""
        texts = {v for v in values if v is not None}
        if None in values and isinstance(text := self._filling(name), str):
            texts.add(text)
        self.codes[name] = _numbered(self.path, name, sorted(texts))

    def _filling(self, name: str) -> Any:
        """What the nulls of a column become; None where nothing is said of it."""
        return self.fill.get(name) if isinstance(self.fill, Mapping) else None if name in self.codes else self.fill

    def _filled(self, name: str, column: Any) -> Any:
        """A column, or the numbers in its lists, without nulls.  ValueError where nothing is said of them."""
        value, kind = self._filling(name), str(column.type)
        if value is not None and name not in self.codes and (kind in _NUMBERS or kind == "null"):
            if isinstance(value, str):
                raise TypeError(f"{self.path}: column {name!r} has values of type {kind}; fill={value!r} is a text")
            if kind not in _FLOATS and name in self.nulls:  # also where this part has none: all have one dtype
                exact = value in (0, 1) if kind == "bool" else kind != "null" and float(value).is_integer()
                column = column if exact else column.cast("double")
                value = (bool if kind == "bool" else int)(value) if exact else value
        if not column.null_count:
            return column
        if value is None or str(column.type).startswith("fixed_size_list"):
            said = f"fill={{{name!r}: 'none'}}" if kind in _TEXTS else "fill=0.0, a number; float('nan') keeps them"
            raise ValueError(
                f"{self.path}: column {name!r} has {column.null_count} nulls among {len(column)} values; leave the "
                f"column out, or write {said}"
            )
        return column.fill_null(value)

    def array(self, name: str, column: Any) -> np.ndarray:
        """One column as an array.  ValueError for a null, TypeError for what is neither a number nor numbered."""
        lists = str(column.type).startswith("fixed_size_list")  # a row of numbers in each place
        if not lists or column.null_count:
            column = self._filled(name, column)
        if (code := self.codes.get(name)) is not None:
            values = column.to_pylist()
            if unknown := {v for v in values if v not in code}:
                raise ValueError(
                    f"{self.path}: column {name!r} has {sorted(map(repr, unknown))[:3]}, not in categories"
                )
            return np.array([code[v] for v in values], np.int32)
        kind, width = str(column.type), ()
        if lists:
            width = (column.type.list_size,)
            column = self._filled(name, column.combine_chunks().flatten())
            kind = str(column.type)
        if kind not in _NUMBERS:
            hint = f'; write categories=["{name}"] to number its texts' if kind in _TEXTS else ""
            raise TypeError(f"{self.path}: column {name!r} has values of type {kind}, which is no number{hint}")
        a = column.to_numpy(zero_copy_only=False).reshape(-1, *width) if width else np.asarray(column)
        return narrowed(a, self.floats, self.path, name, self.tried) if a.dtype.kind == "f" else a

    def element(self, arrays: dict[str, np.ndarray]) -> Any:
        """What is answered for the rows of these arrays."""
        if self.target is None:
            return {k: arrays[k] for k in self.names}
        xs = {k: arrays[k] for k in self.names if k != self.target}
        dtype = self.dtype
        if dtype is None and any([is_float(x.dtype) for x in xs.values()]):
            dtype = self.floats  # int64 beside float32 would be float64
            for k, x in xs.items():
                check_integers(x, dtype, self.path, k)
        side = [x if x.ndim == 2 else x[:, None] for x in xs.values()]
        return np.concatenate(side, 1, dtype=dtype, casting="unsafe"), arrays[self.target]


_NUMBERS = {f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)} | {"halffloat", "float", "double", "bool"}
_FLOATS = {"halffloat", "float", "double"}
_TEXTS = {"string", "large_string", "string_view"}


def _numbers(names: Sequence[str]) -> bool:
    """Whether names are a line of values: all of them numbers, and not those of the columns, from 0 or 1 on."""
    try:
        values = [float(name) for name in names]
    except ValueError:
        return False
    return all([values != list(range(first, first + len(names))) for first in (0, 1)])


def _numbered(path: str, name: str, texts: Sequence[Any]) -> dict[Any, int]:
    code = {text: i for i, text in enumerate(texts)}
    if len(code) != len(texts):
        raise ValueError(f"{path}: categories of {name!r} has the same text twice: {list(texts)!r:.80}")
    return code


def csv(
    path: Any, columns: Sequence[str] | None = None, target: str | None = None, categories: Categories | None = None,
    delimiter: str = ",", *, dtype: Any = None, names: Sequence[str] | None = None, fill: Fill = None,
) -> ArrayDataset:  # fmt: skip
    """A CSV file with a first line of names, as a dataset in memory; pyarrow finds the types of its columns.

    columns     the names of those to read; None: all
    target      the column that is y: elements are (x, y), x being the others side by side; None: {name: value}
    categories  columns of texts to number: their names, or {name: [texts]}
    dtype       of x, beside a target, and of all columns of floats.  None: floats come in the default dtype, float32,
                as numbers of Python do; integers, as labels and indices, stay integers, but beside floats in x they
                become such; ValueError for those from 2**24 on (float64: 2**53), which that can't tell apart, and for
                floats that overflow it; a warning for a column of floats of which it makes different ones equal, as
                times in seconds.  Of digits in whole numbers say dtype="float32"
    names       of the columns of a file that has no line of names
    fill        a number for nulls, which are empty or "nan", "NA", "null" in the file: float("nan") keeps them as NaN,
                and makes columns of integers floats; or {name: number}, and for categories {name: text}
    FileNotFoundError and ValueError name the file.  ValueError for nulls without `fill`, TypeError for a column of
    texts or dates.  A warning where the first line has numbers for names.
    """
    path, (pyarrow, reader) = os.fspath(path), _pyarrow("csv")
    try:
        table = reader.read_csv(
            path, reader.ReadOptions(column_names=names), reader.ParseOptions(delimiter=delimiter)
        )  # fmt: skip
    except pyarrow.ArrowInvalid as e:
        raise ValueError(f"{path} can't be read as CSV: {e}") from None
    if names is None and _numbers(there := table.column_names):
        warnings.warn(
            f"{path}: the names of the columns are {there!r:.60}; if that is a line of values, write names=[...]",
            stacklevel=2,
        )
    nulls = [k for k in table.column_names if table.column(k).null_count]
    rows = _Reader(path, table.schema, columns, target, categories, dtype, default_float(), fill, nulls)
    for name, code in rows.codes.items():
        if code is None:
            rows.learn(name, table.column(name).unique().to_pylist())
    made = rows.element({k: rows.array(k, table.column(k)) for k in rows.names})
    out = ArrayDataset(**made) if target is None else ArrayDataset(*made)
    out.categories = rows.categories  # type: ignore[attr-defined]
    return out


def parquet(
    paths: Any, columns: Sequence[str] | None = None, target: str | None = None, categories: Categories | None = None,
    groups: int = 4, *, dtype: Any = None, fill: Fill = None,
) -> ParquetDataset:  # fmt: skip
    """Parquet files one after the other, read by row groups as rows are asked for; columns that are not, never.

    paths       one path or a list
    columns, target, categories, dtype, fill   as in `csv`
    groups      shuffled, row groups come in random order, and rows are mixed among so many at a time, so that each is
                read about once an epoch; twice as many are kept
    It needs no workers: pyarrow decodes in threads of its own, a seventh of the time of an epoch (16 columns, batches
    of 1024 rows); two workers, each of which decodes what it needs, take 1.4 times as long.
    FileNotFoundError and ValueError name the file.  ValueError for nulls without `fill`, TypeError for a column of
    texts or dates.
    """
    return ParquetDataset(paths, columns, target, categories, groups, dtype, fill=fill)


_OPEN = 16  # files at a time: a process may have few


class ParquetDataset:
    """What `parquet` answers."""

    draws_nothing = True

    def __init__(
        self, paths: Any, columns: Sequence[str] | None, target: str | None, categories: Categories | None, groups: int,
        dtype: Any = None, floats: Any = None, fill: Fill = None,
    ) -> None:  # fmt: skip
        self._fill = fill
        self._given = paths, columns, target, categories, groups
        self._dtype, self._floats = (
            dtype,
            default_float() if floats is None else floats,
        )  # a worker has no default of ours
        listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not listed or groups < 1:
            raise ValueError(f"parquet: no files, or groups={groups}, which is a number from 1 on")
        self._paths = [os.fspath(p) for p in listed]
        self._open: OrderedDict[int, Any] = OrderedDict()
        schemas, sizes = [], []
        self._homes: list[tuple[int, int]] = []  # of each row group: the file, and its number there
        for i in range(len(self._paths)):
            f = self._file(i)
            schemas.append(f.schema_arrow)
            self._homes += [(i, g) for g in range(f.num_row_groups)]
            sizes += [f.metadata.row_group(g).num_rows for g in range(f.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._readers: list[_Reader] = []
        self._groups = groups
        self._kept: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()
        nulls = set() if fill is None else set(self._nulls())
        rest = dtype, self._floats, fill, nulls
        first = _Reader(os.fspath(listed[0]), schemas[0], columns, target, categories, *rest)
        for name, code in first.codes.items():
            if code is None:  # one column, a row group at a time
                texts: set[Any] = set()
                for i, g in self._homes:
                    texts.update(self._file(i).read_row_group(g, [name]).column(0).unique().to_pylist())
                first.learn(name, list(texts))
        self.categories = first.categories
        for p, schema in zip(self._paths, schemas):
            self._readers.append(_Reader(p, schema, first.names, target, self.categories, *rest))

    def __reduce__(self) -> Any:
        rest = self._groups, self._dtype, self._floats, self._fill
        return ParquetDataset, (*self._given[:3], self.categories or None, *rest)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, i: int) -> Any:
        batch = self.__getbatch__(np.asarray([i]))
        return {k: v[0] for k, v in batch.items()} if isinstance(batch, dict) else tuple([v[0] for v in batch])

    def __getbatch__(self, indices: np.ndarray) -> Any:
        rows = checked(indices, len(self))
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        found: dict[str, np.ndarray] = {}
        for g in np.unique(groups) if len(rows) else [0]:
            at = np.flatnonzero(groups == g)
            for name, a in self._group(int(g)).items():
                part = taken(a, rows[at] - self._starts[g])
                if name not in found:
                    found[name] = np.empty((len(rows), *part.shape[1:]), part.dtype)
                elif part.dtype != found[name].dtype or part.shape[1:] != found[name].shape[1:]:
                    raise TypeError(f"parquet: column {name!r} has {part.dtype} here and {found[name].dtype} elsewhere")
                found[name][at] = part
        return self._readers[0].element(found)

    def _nulls(self) -> Iterator[str]:
        """The columns that have nulls in some row group, or do not say."""
        for i, g in self._homes:
            group = self._file(i).metadata.row_group(g)
            for column in map(group.column, range(group.num_columns)):
                told = column.statistics
                if told is None or not told.has_null_count or told.null_count:
                    yield column.path_in_schema.split(".")[0]

    def _file(self, i: int) -> Any:
        """A file, of which the last few are kept open."""
        if i not in self._open:
            self._open[i] = _opened(self._paths[i])
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(i)
        return self._open[i]

    def _group(self, g: int) -> dict[str, np.ndarray]:
        """The columns of a row group, of which the last few are kept."""
        if g in self._kept:
            self._kept.move_to_end(g)
            return self._kept[g]
        i, number = self._homes[g]
        reader, self._readers[i].tried = self._readers[i], self._readers[0].tried
        try:
            table = self._file(i).read_row_group(number, reader.names)
        except OSError as e:
            raise OSError(f"{reader.path}: row group {number} can't be read: {e}") from None
        self._kept[g] = {k: reader.array(k, table.column(k)) for k in reader.names}
        if len(self._kept) > 2 * self._groups:
            self._kept.popitem(last=False)
        return self._kept[g]

    def shuffled(self, generator: Generator) -> np.ndarray:
        """The numbers of all rows in random order: row groups, and rows among a few groups that follow each other."""
        order = shuffled(len(self._homes), generator)
        parts = []
        for first in range(0, len(order), self._groups):
            chosen = order[first : first + self._groups].tolist()
            some = [np.arange(int(self._starts[g]), int(self._starts[g + 1])) for g in chosen]
            rows = np.concatenate(some)
            parts.append(rows[shuffled(len(rows), generator)])
        return np.concatenate(parts) if parts else np.arange(0)


def _pyarrow(part: str) -> tuple[Any, Any]:
    """(pyarrow, its module for these files).  ImportError that says which extra has it."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as e:
        raise ImportError(f"gg.data.{part} needs pyarrow ({e}): {install('data')}") from None
    return pyarrow, getattr(pyarrow, part)


def _opened(path: str) -> Any:
    pyarrow, parquet = _pyarrow("parquet")
    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as e:
        raise ValueError(f"{path} can't be read as Parquet: {e}") from None

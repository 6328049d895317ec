"""Floor 0: cuBLASLt on one device, through nvmath-python's bindings.  It knows sizes and addresses, not arrays.

A `Problem` is turned into a `Plan` once: all descriptors made, the heuristic asked.  After that a product is one call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

MIB = 2**20
LIMIT = 2**31 - 1  # of sizes and leading dimensions: "usually only values that can be expressed as int32_t"
PER_THREAD = 2  # the address that says: the default stream of the thread that asks
TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32
IN_FLOAT32 = 2  # CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: others add up parts of a long sum as halves
REFUSED = {8, 15}  # CUBLAS_STATUS_ARCH_MISMATCH and _NOT_SUPPORTED: there is no algorithm
_SCALARS = {0: np.array([0, 1], np.float32), 1: np.array([0, 1], np.float64)}  # alpha and beta, by cudaDataType

# dtype: its cudaDataType, the cublasComputeType_t it is multiplied in, the cudaDataType of alpha and beta
TYPES = {"float32": (0, 68, 0), "float64": (1, 70, 1), "float16": (2, 68, 0), "bfloat16": (14, 68, 0)}


class Matrix(NamedTuple):
    """A column-major matrix: whether it is to be transposed, elements from column to column, from matrix to matrix."""

    transposed: bool
    ld: int
    stride: int = 0


class Problem(NamedTuple):
    """D (m, n) = op(A) (m, k) @ op(B) (k, n), plus D if `add`, column-major, `batch` of them; then the epilogue."""

    dtype: str
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    d: Matrix
    batch: int = 1
    add: bool = False
    tf32: bool = False
    epilogue: str = "DEFAULT"
    aux_ld: int = 0

    def __str__(self) -> str:
        """As the row-major product that it is: out^T = y^T @ x^T."""
        many = f" {self.batch} times" if self.batch > 1 else ""
        after = "" if self.epilogue == "DEFAULT" else f" with {self.epilogue}"
        return f"({self.n}, {self.k}) @ ({self.k}, {self.m}) of {self.dtype}{many}{after}"


class Blas:
    """cuBLASLt for one device: the bindings `lt`, a handle, and a workspace for each stream.

    stream() is the address of the current stream; allocate(nbytes) answers (what keeps the memory, its address).
    `alone`: the library has no other device, so nobody need switch to this one.
    """

    __slots__ = ("_allocate", "_workspaces", "alone", "handle", "lt", "nbytes", "stream")

    def __init__(
        self, lt: Any, stream: Callable[[], int], allocate: Callable[[int], tuple[Any, int]], nbytes: int, alone: bool
    ) -> None:
        self.lt, self.stream, self._allocate, self.nbytes, self.alone = lt, stream, allocate, nbytes, alone
        self.handle = lt.create()
        self._workspaces: dict[int, tuple[Any, int]] = {}

    def workspace(self, stream: int) -> int:
        """The address of `nbytes` that the products of this stream share, kept from the first of them on."""
        key = -threading.get_ident() if stream == PER_THREAD else stream
        found = self._workspaces.get(key)
        if found is None:
            found = self._workspaces[key] = self._allocate(self.nbytes)
        return found[1]


class Plan:
    """How cuBLASLt does a problem: called with the addresses of A, B and D, and of the epilogue's vector and matrix.

    Two threads may call one plan.  RuntimeError, with what was asked, if cuBLASLt fails.
    """

    __slots__ = (
        "_algo",
        "_blas",
        "_cells",
        "_known",
        "_layouts",
        "_lock",
        "_made",
        "_mm",
        "_pointed",
        "_problem",
        "_scratch",
    )

    def __init__(self, blas: Blas, problem: Problem) -> None:
        lt, p = blas.lt, problem
        data, compute, scale = TYPES[p.dtype]
        self._blas, self._problem, self._made = blas, problem, []
        create, destroy = lt.matmul_desc_create, lt.matmul_desc_destroy
        self._mm = self._own(create(TF32 if p.tf32 else compute, scale), destroy)
        names = lt.MatmulDescAttribute
        self._set(names.TRANSA, p.a.transposed)
        self._set(names.TRANSB, p.b.transposed)
        self._set(names.EPILOGUE, lt.Epilogue[p.epilogue])
        if p.aux_ld:
            self._set(names.EPILOGUE_AUX_LD, p.aux_ld)
        shapes = (p.m, p.k, p.a), (p.k, p.n, p.b), (p.m, p.n, p.d)
        self._layouts = [self._layout(data, rows, cols, x) for rows, cols, x in shapes]
        self._cells = np.zeros(2, np.int64)  # the addresses of the epilogue's vector and matrix, for cuBLASLt to read
        self._pointed: tuple[int, int] | None = None
        self._lock = threading.Lock() if p.epilogue != "DEFAULT" else None
        self._algo: Any = np.zeros(1, lt.matmul_heuristic_result_dtype)
        self._scratch = False
        scalars = _SCALARS[scale]
        alpha, beta = [scalars.ctypes.data + scalars.itemsize * i for i in (1, p.add)]
        a, b, d = self._layouts
        self._known = lt.matmul, blas.handle, self._mm, alpha, a, b, beta, d, self._algo.ctypes.data

    def __del__(self) -> None:
        for handle, destroy in self._made:
            destroy(handle)

    def _own(self, handle: int, destroy: Callable[[int], None]) -> int:
        self._made.append((handle, destroy))
        return handle

    def _set(self, attribute: Any, value: int) -> None:
        lt = self._blas.lt
        _put(lt.matmul_desc_set_attribute, lt.get_matmul_desc_attribute_dtype, self._mm, attribute, value)

    def _layout(self, data: int, rows: int, cols: int, x: Matrix) -> int:
        lt, names = self._blas.lt, self._blas.lt.MatrixLayoutAttribute
        if x.transposed:
            rows, cols = cols, rows
        layout = self._own(lt.matrix_layout_create(data, rows, cols, x.ld), lt.matrix_layout_destroy)
        if self._problem.batch > 1:
            for name, value in ((names.BATCH_COUNT, self._problem.batch), (names.STRIDED_BATCH_OFFSET, x.stride)):
                _put(lt.matrix_layout_set_attribute, lt.get_matrix_layout_attribute_dtype, layout, name, value)
        return layout

    def _point(self, vector: int, aux: int) -> None:
        if self._pointed == (vector, aux):  # a bias stays where it is, as a rule
            return
        lt, cells = self._blas.lt, self._cells
        cells[0], cells[1] = self._pointed = vector, aux
        names, at = lt.MatmulDescAttribute, cells.ctypes.data
        lt.matmul_desc_set_attribute(self._mm, names.BIAS_POINTER, at, 8)
        if self._problem.aux_ld:
            lt.matmul_desc_set_attribute(self._mm, names.EPILOGUE_AUX_POINTER, at + 8, 8)

    def choose(self, alignment: int, vector: int = 0, aux: int = 0) -> bool:
        """Ask the heuristic for an algorithm for addresses that are multiples of `alignment` bytes: is there one?"""
        lt, blas, (a, b, d) = self._blas.lt, self._blas, self._layouts
        if self._lock is not None:
            self._point(vector, aux)  # the heuristic looks at how they are aligned
        names, count, wanted = lt.MatmulPreferenceAttribute, np.zeros(1, np.int32), lt.matmul_preference_create()
        try:
            values = {f"MIN_ALIGNMENT_{x}_BYTES": alignment for x in "ABCD"} | {"MAX_WORKSPACE_BYTES": blas.nbytes}
            if self._problem.dtype in ("float16", "bfloat16"):
                values["REDUCTION_SCHEME_MASK"] = IN_FLOAT32
            for name, value in values.items():
                setter, dtype_of = lt.matmul_preference_set_attribute, lt.get_matmul_preference_attribute_dtype
                _put(setter, dtype_of, wanted, names[name], value)
            results, found = self._algo.ctypes.data, count.ctypes.data
            lt.matmul_algo_get_heuristic(blas.handle, self._mm, a, b, d, d, wanted, 1, results, found)
        except lt.cuBLASLtError as e:
            if e.status not in REFUSED:
                raise RuntimeError(f"cuBLASLt cannot plan {self._problem}: {e}") from e
            return False
        finally:
            lt.matmul_preference_destroy(wanted)
        self._scratch = bool(self._algo["workspace_size"][0])
        return bool(count[0]) and not self._algo["state"][0]

    def __call__(self, a: int, b: int, d: int) -> None:
        blas = self._blas
        matmul, handle, mm, alpha, first, second, beta, out, algo = self._known
        stream = blas.stream()
        if self._scratch:
            space, nbytes = blas.workspace(stream), blas.nbytes
        else:
            space = nbytes = 0
        try:
            matmul(handle, mm, alpha, a, first, b, second, beta, d, out, d, out, algo, space, nbytes, stream)
        except blas.lt.cuBLASLtError as e:
            raise RuntimeError(f"cuBLASLt failed at {self._problem}: {e}") from e

    def fused(self, a: int, b: int, d: int, vector: int, aux: int) -> None:
        """The same with an epilogue, whose addresses are in the descriptor: one thread at a time."""
        assert self._lock is not None
        with self._lock:
            self._point(vector, aux)
            self(a, b, d)


def _put(setter: Callable[..., None], dtype_of: Callable[[Any], Any], handle: int, attribute: Any, value: int) -> None:
    cell = np.array([value], dtype_of(attribute))
    setter(handle, attribute, cell.ctypes.data, cell.nbytes)


def plan(blas: Blas, problem: Problem, alignment: int, vector: int = 0, aux: int = 0) -> Plan | None:
    """The plan for a problem whose addresses are multiples of `alignment` bytes; None if cuBLASLt has no algorithm."""
    made = Plan(blas, problem)
    return made if made.choose(alignment, vector, aux) else None


_found: dict[int, Blas | None] = {}


def of_cupy(cupy: Any, index: int) -> Blas | None:
    """cuBLASLt for CuPy's arrays on the GPU `index`; None without nvmath-python, or where it finds no cuBLAS."""
    if index not in _found:
        _found[index] = _of_cupy(cupy, index)
    return _found[index]


def _of_cupy(cupy: Any, index: int) -> Blas | None:
    try:
        from nvmath.bindings import cublasLt  # pyright: ignore[reportMissingImports]
    except Exception:  # not installed, or broken: there is CuPy's product
        return None
    cuda = cupy.cuda
    hopper = int(cuda.Device(index).compute_capability[:-1]) >= 9

    def allocate(nbytes: int) -> tuple[Any, int]:
        memory = cuda.alloc(nbytes)
        return memory, memory.ptr

    with cuda.Device(index):
        try:
            return Blas(
                cublasLt,
                lambda: cuda.get_current_stream().ptr,
                allocate,
                (32 if hopper else 4) * MIB,  # what cuBLAS takes for itself
                cuda.runtime.getDeviceCount() == 1,
            )
        except (RuntimeError, cublasLt.cuBLASLtError):  # no library or driver, or one that is too old
            return None

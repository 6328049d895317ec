"""cuBLASLt on the CPU, for tests: a stand-in for the module `nvmath.bindings.cublasLt`, over host memory.

It has the calls, enums and attribute dtypes of the real module that gpugrad uses (`test_gemm.py` compares them where
that is installed), and cuBLASLt's semantics: column-major layouts with leading dimensions, operations on A and B,
batches at a stride, alpha and beta, epilogues with their bias and auxiliary matrix, the workspace, the alignments that
the heuristic was told.  It touches only the addresses that the descriptors name.  What the real library refuses, it
refuses, some of it sooner: NVIDIA leaves the use of a wrong leading dimension or a misaligned address undefined.
"""

import ctypes
import itertools
from enum import IntEnum

import ml_dtypes
import numpy as np

INVALID_VALUE, NOT_SUPPORTED = 7, 15  # cublasStatus_t
DATA = {0: np.dtype("float32"), 1: np.dtype("float64"), 2: np.dtype("float16"), 14: np.dtype(ml_dtypes.bfloat16)}
# cublasComputeType_t: (the type of alpha and beta, the types of matrices)
COMPUTE = {68: (0, {0, 2, 14}), 70: (1, {1}), 77: (0, {0})}
NEEDS = 4096  # bytes of workspace that an algorithm with k above 16 asks for


class cuBLASLtError(Exception):
    def __init__(self, status, why=""):
        self.status = status
        super().__init__(f"status {status}: {why}")


class MatmulDescAttribute(IntEnum):
    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8
    EPILOGUE_AUX_POINTER = 11
    EPILOGUE_AUX_LD = 12


class MatrixLayoutAttribute(IntEnum):
    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class MatmulPreferenceAttribute(IntEnum):
    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


class Epilogue(IntEnum):
    DEFAULT = 1
    BIAS = 4
    RELU_BIAS = 6
    GELU_BIAS = 36
    RELU_AUX_BIAS = 134
    DRELU_BGRAD = 152
    GELU_AUX_BIAS = 164
    DGELU_BGRAD = 208


_DESC = dict(zip(MatmulDescAttribute, (np.int32, np.int32, np.uint32, np.int64, np.int64, np.int64)))
_LAYOUT = dict(zip(MatrixLayoutAttribute, (np.int32, np.int64)))
_PREFERENCE = dict(zip(MatmulPreferenceAttribute, (np.uint64, *(np.uint32,) * 5)))
_RESULT = np.dtype(
    [
        ("algo", [("data_", "<u8", (8,))]),
        ("workspace_size", "<u8"),
        ("state", "<i4"),
        ("waves_count", "<f4"),
        ("reserved", "<i4", (4,)),
    ]
)


def refuse(status, why):
    raise cuBLASLtError(status, why)


def memory(address, shape, dtype, strides):
    """The elements at an address: `strides` in bytes, none of them negative."""
    nbytes = sum((n - 1) * s for n, s in zip(shape, strides)) + dtype.itemsize
    buffer = (ctypes.c_char * nbytes).from_address(address)
    return np.ndarray(shape, dtype, buffer, 0, strides)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))


def gelu_slope(x):
    t = np.tanh(0.7978845608028654 * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x)


def short(x):
    """float32 rounded to the 10 bits of TF32."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64) + 0x1000
    return (bits & 0xFFFFE000).astype(np.uint32).view(np.float32)


class Desc:
    def __init__(self, compute, scale):
        self.compute, self.scale = compute, scale
        self.values = dict.fromkeys(MatmulDescAttribute, 0) | {MatmulDescAttribute.EPILOGUE: Epilogue.DEFAULT}

    def __getattr__(self, name):
        return self.values[MatmulDescAttribute[name]]


class Layout:
    def __init__(self, data, rows, cols, ld):
        self.data, self.rows, self.cols, self.ld = data, rows, cols, ld
        self.values = {MatrixLayoutAttribute.BATCH_COUNT: 1, MatrixLayoutAttribute.STRIDED_BATCH_OFFSET: 0}

    def __getattr__(self, name):
        return self.values[MatrixLayoutAttribute[name]]

    def span(self, address):
        """From the first element to the last."""
        last = (self.BATCH_COUNT - 1) * self.STRIDED_BATCH_OFFSET + (self.cols - 1) * self.ld + self.rows
        return address, address + last * DATA[self.data].itemsize

    def at(self, address):
        """(batch, rows, columns)."""
        dtype = DATA[self.data]
        strides = (self.STRIDED_BATCH_OFFSET, 1, self.ld)
        return memory(address, (self.BATCH_COUNT, self.rows, self.cols), dtype, [s * dtype.itemsize for s in strides])


class Preference:
    def __init__(self):
        names = MatmulPreferenceAttribute
        self.values = dict.fromkeys(names, 256) | {names.MAX_WORKSPACE_BYTES: 0, names.REDUCTION_SCHEME_MASK: 7}


class CublasLt:
    """An instance stands for the module: `heuristics` and `products` count its calls.

    `without` is a set of (epilogue's name, dtype's name) for which there is no algorithm.
    """

    cuBLASLtError = cuBLASLtError
    MatmulDescAttribute, MatrixLayoutAttribute = MatmulDescAttribute, MatrixLayoutAttribute
    MatmulPreferenceAttribute, Epilogue = MatmulPreferenceAttribute, Epilogue
    matmul_heuristic_result_dtype = _RESULT

    def __init__(self):
        self.heuristics = self.products = 0
        self.without = {("RELU_AUX_BIAS", "float64"), ("DRELU_BGRAD", "float64")}
        self.without |= {("GELU_AUX_BIAS", "float64"), ("DGELU_BGRAD", "float64")}
        self.last = self.wanted = None  # the descriptors of the last product; the last heuristic's preferences
        self._numbers = itertools.count(0x1000, 0x10)
        self._live, self._algos = {}, {}

    @property
    def live(self):
        """How many descriptors have been made and not destroyed."""
        return len(self._live)

    def create(self):
        return 0x77

    # ------------------------------------------------------------------------------------------ descriptors
    def _new(self, thing):
        number = next(self._numbers)
        self._live[number] = thing
        return number

    def _get(self, number, kind):
        found = self._live.get(number)
        return found if isinstance(found, kind) else refuse(INVALID_VALUE, f"{number} is no {kind.__name__}")

    def _drop(self, number, kind):
        self._get(number, kind)
        del self._live[number]

    def _set(self, thing, attribute, dtypes, address, nbytes):
        if attribute not in dtypes or nbytes != np.dtype(dtypes[attribute]).itemsize:
            refuse(INVALID_VALUE, f"{nbytes} bytes for the attribute {attribute!r}")
        thing.values[attribute] = int(memory(address, (1,), np.dtype(dtypes[attribute]), (nbytes,))[0])

    def matmul_desc_create(self, compute, scale):
        return self._new(Desc(compute, scale))

    def matmul_desc_destroy(self, desc):
        self._drop(desc, Desc)

    def matmul_desc_set_attribute(self, desc, attribute, address, nbytes):
        self._set(self._get(desc, Desc), attribute, _DESC, address, nbytes)

    def get_matmul_desc_attribute_dtype(self, attribute):
        return _DESC[attribute]

    def matrix_layout_create(self, data, rows, cols, ld):
        return self._new(Layout(data, rows, cols, ld))

    def matrix_layout_destroy(self, layout):
        self._drop(layout, Layout)

    def matrix_layout_set_attribute(self, layout, attribute, address, nbytes):
        self._set(self._get(layout, Layout), attribute, _LAYOUT, address, nbytes)

    def get_matrix_layout_attribute_dtype(self, attribute):
        return _LAYOUT[attribute]

    def matmul_preference_create(self):
        return self._new(Preference())

    def matmul_preference_destroy(self, preference):
        self._drop(preference, Preference)

    def matmul_preference_set_attribute(self, preference, attribute, address, nbytes):
        self._set(self._get(preference, Preference), attribute, _PREFERENCE, address, nbytes)

    def get_matmul_preference_attribute_dtype(self, attribute):
        return _PREFERENCE[attribute]

    # ------------------------------------------------------------------------------------------ what fits together
    def _sizes(self, desc, a, b, d):
        """(m, n, k, batch); refused where the descriptors do not fit together."""
        for x in (a, b, d):
            if x.data not in DATA or min(x.rows, x.cols, x.BATCH_COUNT) < 1 or x.ld < x.rows:
                refuse(INVALID_VALUE, f"a layout of {x.rows} rows, {x.cols} columns, ld {x.ld}, batch {x.BATCH_COUNT}")
            if max(x.rows, x.cols, x.ld) > 2**31 - 1:
                refuse(NOT_SUPPORTED, "a size above int32")
            if x.STRIDED_BATCH_OFFSET < 0 or (x.BATCH_COUNT > 1 and x is d and not x.STRIDED_BATCH_OFFSET):
                refuse(INVALID_VALUE, f"a batch at stride {x.STRIDED_BATCH_OFFSET}")
        m, k = (a.cols, a.rows) if desc.TRANSA else (a.rows, a.cols)
        k2, n = (b.cols, b.rows) if desc.TRANSB else (b.rows, b.cols)
        if {desc.TRANSA, desc.TRANSB} - {0, 1} or k != k2 or (d.rows, d.cols) != (m, n):
            refuse(INVALID_VALUE, f"op(A) ({m}, {k}), op(B) ({k2}, {n}), D ({d.rows}, {d.cols})")
        if len({x.BATCH_COUNT for x in (a, b, d)}) > 1:
            refuse(INVALID_VALUE, "batches of different counts")
        scale, data = COMPUTE.get(desc.compute, (None, set()))
        if desc.scale != scale or a.data not in data or not a.data == b.data == d.data:
            refuse(
                NOT_SUPPORTED, f"compute type {desc.compute}, scale type {desc.scale}, data {a.data, b.data, d.data}"
            )
        return m, n, k, d.BATCH_COUNT

    def _epilogue(self, desc, d, m, batch):
        if desc.EPILOGUE not in set(Epilogue):
            refuse(NOT_SUPPORTED, f"epilogue {desc.EPILOGUE}")
        epilogue = Epilogue(desc.EPILOGUE)
        if (epilogue.name, DATA[d.data].name) in self.without:
            refuse(NOT_SUPPORTED, f"{epilogue.name} for {DATA[d.data]}")
        if epilogue is not Epilogue.DEFAULT:
            if batch > 1 or not desc.BIAS_POINTER:
                refuse(INVALID_VALUE, f"{epilogue.name} with bias pointer {desc.BIAS_POINTER}, batch {batch}")
        if "AUX" in epilogue.name or "GRAD" in epilogue.name:
            multiple = 128 if "RELU" in epilogue.name else 8
            if not desc.EPILOGUE_AUX_POINTER or desc.EPILOGUE_AUX_LD % multiple or desc.EPILOGUE_AUX_LD < m:
                refuse(INVALID_VALUE, f"auxiliary ld {desc.EPILOGUE_AUX_LD} for {m} rows, pointer or ld is wrong")
        return epilogue

    def matmul_algo_get_heuristic(self, handle, desc, a, b, c, d, preference, wanted, results, count):
        self.heuristics += 1
        if handle != 0x77 or wanted < 1 or c != d:
            refuse(INVALID_VALUE, "the handle, the number of algorithms or C's layout")
        layouts = [self._get(x, Layout) for x in (a, b, d)]
        self.wanted = preference = self._get(preference, Preference).values
        task = self._get(desc, Desc)
        m, _, k, batch = self._sizes(task, *layouts)
        self._epilogue(task, layouts[2], m, batch)
        alignments = [preference[MatmulPreferenceAttribute[f"MIN_ALIGNMENT_{x}_BYTES"]] for x in "ABCD"]
        if any(x.bit_count() != 1 or x < DATA[layouts[0].data].itemsize for x in alignments):
            refuse(INVALID_VALUE, f"alignments {alignments}")
        needs = NEEDS if k > 16 else 0
        result = memory(results, (1,), _RESULT, (_RESULT.itemsize,))
        memory(count, (1,), np.dtype("int32"), (4,))[0] = found = int(
            preference[MatmulPreferenceAttribute.MAX_WORKSPACE_BYTES] >= needs
        )
        if found:
            number = len(self._algos) + 1
            extra = [task.BIAS_POINTER & -task.BIAS_POINTER & 255, task.EPILOGUE_AUX_POINTER & 15]
            self._algos[number] = (desc, a, b, d, alignments, needs, extra)
            result["algo"]["data_"][0] = number
            result["workspace_size"], result["state"] = needs, 0

    # ------------------------------------------------------------------------------------------ the product
    def matmul(self, handle, desc, alpha, a, adesc, b, bdesc, beta, c, cdesc, d, ddesc, algo, space, nbytes, stream):
        self.products += 1
        number = int(memory(algo, (8,), np.dtype("uint64"), (8,))[0])
        if number not in self._algos or handle != 0x77 or (c, cdesc) != (d, ddesc):
            refuse(INVALID_VALUE, "the handle, the algorithm or C")
        *made_for, alignments, needs, (vector, aux) = self._algos[number]
        if made_for != [desc, adesc, bdesc, ddesc]:
            refuse(INVALID_VALUE, "the algorithm is of another problem")
        task = self._get(desc, Desc)
        layouts = [self._get(x, Layout) for x in (adesc, bdesc, ddesc)]
        m, n, _, batch = self._sizes(task, *layouts)
        epilogue = self._epilogue(task, layouts[2], m, batch)
        if any(address % least for address, least in zip((a, b, c, d), alignments)):
            refuse(INVALID_VALUE, f"addresses {a, b, c, d} for alignments {alignments}")
        if (vector and task.BIAS_POINTER % vector) or (task.EPILOGUE_AUX_POINTER & 15) != aux:
            refuse(INVALID_VALUE, "the epilogue's addresses are aligned less than those that the heuristic saw")
        if nbytes < needs or (needs and space % 256) or stream != self.stream():
            refuse(INVALID_VALUE, f"{nbytes} bytes of workspace at {space}, stream {stream}")
        if needs:
            ctypes.memset(space, 0xFF, needs)
        self.last = task, layouts
        spans = [x.span(address) for x, address in zip(layouts, (a, b, d))]
        if any(first < spans[2][1] and spans[2][0] < last for first, last in spans[:2]):
            refuse(INVALID_VALUE, "D overlaps A or B")
        dtype, scale = DATA[layouts[2].data], DATA[task.scale]
        left, right, out = [x.at(address) for x, address in zip(layouts, (a, b, d))]
        left, right = left.astype(scale), right.astype(scale)
        if task.compute == 77:
            left, right = short(left), short(right)
        left = left.swapaxes(1, 2) if task.TRANSA else left
        right = right.swapaxes(1, 2) if task.TRANSB else right
        alpha, beta = [memory(x, (1,), scale, (scale.itemsize,))[0] for x in (alpha, beta)]
        with np.errstate(all="ignore"):
            value = alpha * (left @ right)
            if beta:
                value = value + beta * out.astype(scale)
            out[...] = value if epilogue is Epilogue.DEFAULT else self._after(task, epilogue, value, dtype, m, n)

    def stream(self):
        """The stream that products are expected on."""
        return 0x5

    def _after(self, task, epilogue, value, dtype, m, n):
        """The epilogue of value (1, m, n), which writes the auxiliary matrix or the bias' gradient."""
        size, ld = dtype.itemsize, task.EPILOGUE_AUX_LD
        vector = memory(task.BIAS_POINTER, (m,), dtype, (size,))
        if "BIAS" in epilogue.name:
            value = value + vector.astype(value.dtype)[:, None]
        if epilogue in (Epilogue.RELU_BIAS, Epilogue.GELU_BIAS):
            return np.maximum(value, 0) if epilogue is Epilogue.RELU_BIAS else gelu(value)
        if epilogue in (Epilogue.RELU_AUX_BIAS, Epilogue.DRELU_BGRAD):
            mask = memory(task.EPILOGUE_AUX_POINTER, (n, ld // 8), np.dtype("uint8"), (ld // 8, 1))
            if epilogue is Epilogue.RELU_AUX_BIAS:
                bits = np.ones((n, ld), bool)  # the rest of a column is nobody's to read
                bits[:, :m] = value[0].T > 0
                mask[...] = np.packbits(bits, axis=1, bitorder="little")
                return np.maximum(value, 0)
            value = np.where(np.unpackbits(mask, axis=1, bitorder="little")[:, :m].T != 0, value, 0)
        elif epilogue in (Epilogue.GELU_AUX_BIAS, Epilogue.DGELU_BGRAD):
            before = memory(task.EPILOGUE_AUX_POINTER, (m, n), dtype, (size, ld * size))
            if epilogue is Epilogue.GELU_AUX_BIAS:
                before[...] = value[0]
                return gelu(value)
            value = value * gelu_slope(before.astype(value.dtype))
        if epilogue in (Epilogue.DRELU_BGRAD, Epilogue.DGELU_BGRAD):
            vector[...] = value[0].astype(dtype).astype(value.dtype).sum(axis=1)  # of D as it is stored
        return value

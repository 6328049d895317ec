"""CUDA kernels on the CPU, for tests: the `.cu` files, unchanged, built by g++.

Every CUDA thread of a block is a fiber, and fibers change over only at `__syncthreads` and at warp operations.  That
makes visible what a GPU may hide:

- a barrier that part of a block does not reach, lanes missing from a mask: an error that says so;
- a missing barrier: results that differ between `SCHEDULES`, the orders in which warps, lanes and blocks take turns;
- an access outside an array: `Allocator` puts arrays against forbidden pages, and watches the rest of their own;
- an index outside a shared or local array: trapped;
- outputs that are not written, dynamic shared memory that is read before: filled with NaN;
- arguments of the wrong number, kind or width: TypeError before the launch.

    module = HostModule(code, name_expressions=["relu<float>"], folder=tmp_path)
    module.get_function("relu<float>")((grid,), (block,), (x, out, np.int64(n)), order=SCHEDULES[1])

Not there: tensor cores (wmma, mma), inline PTX, cp.async, textures, cooperative grids.  Not modelled: races between
blocks and the order of memory operations; static shared memory keeps what the last block left.  The functions of libm
are not the device's: compare with tolerances.  A warp operation must be reached by all lanes of its mask that exist,
exited ones count as missing, as CUDA has it (hardware is more tolerant).  Fibers change over by 15 instructions on
x86-64, and by `ucontext`, some ten times slower, elsewhere (or with -DCUDAHOST_UCONTEXT).
"""

from .guard import Allocator as Allocator
from .library import HostLibrary as HostLibrary
from .module import SCHEDULES as SCHEDULES, HostKernel as HostKernel, HostModule as HostModule

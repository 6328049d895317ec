"""What all tests share: `cuda` tests need a GPU; the front doors, or with --against what they stand for."""

import importlib
import os
import shutil
import signal

import pytest

import gpugrad as gg
from gpugrad import amp, backprop
from gpugrad.arming import Armed, armed
from gpugrad.array import register, unregister
from gpugrad.op import every


def pytest_addoption(parser):
    parser.addoption("--against", action="store_true", help="run tests/seeds and tests/doors on TensorFlow and PyTorch")
    parser.addoption("--no-pool", action="store_true", help="every GPU array an allocation, for compute-sanitizer")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as what a shell starts in the background has it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--no-pool"):  # in a block of CuPy's pool, what is beside an array belongs to the program, too
        import cupy

        cupy.cuda.set_allocator(None)


def pytest_collection_modifyitems(items):
    if gg.device_count():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


def pytest_generate_tests(metafunc):
    """A test marked `devices` runs on each; one marked `numpy`, too, on the CPU alone."""
    if metafunc.definition.get_closest_marker("devices") and not metafunc.definition.get_closest_marker("numpy"):
        gpu = [pytest.param("cuda", marks=pytest.mark.cuda)] if gg.device_count() else []
        metafunc.parametrize("default_device", ["cpu", "standin", *gpu], indirect=True)


@pytest.fixture(autouse=True)
def default_device(request):
    """Where new arrays land: on the device of the parameter, else on the CPU, or on the GPU in tests marked `cuda`."""
    device = getattr(request, "param", None if request.node.get_closest_marker("cuda") else "cpu")
    if device == "standin":
        request.getfixturevalue("host").allocator.guarded = False
    gg.set_default_device(device)
    yield device
    gg.set_default_device(None)


@pytest.fixture(autouse=True)
def unarmed():
    """A test that enters an autocast or a vmap leaves no function armed: tests count calls."""
    yield
    if not armed(backprop.backprop, amp._SLOT) and not armed(next(iter(every)), "_level"):
        return
    for f in [*every, *[f for f, _ in amp.listed()]]:
        while what := next((v for v in (f.__kwdefaults__ or {}).values() if isinstance(v, Armed)), None):
            was = what.run
            f.__code__, f.__kwdefaults__ = was.__code__, was.__kwdefaults__
            vars(f).update({k: v for k, v in vars(was).items() if k == "spoken"})


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory):
    """Where the host build puts its libraries: one folder for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cudahost"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def host_library(build_folder):
    """gpugrad's kernels on the CPU, one set for the session (tests/cudahost)."""
    pytest.importorskip("cupy")  # its headers, and NVIDIA's that its extra brings
    if shutil.which("g++") is None:
        pytest.skip("the host build needs g++")
    cudahost = importlib.import_module("cudahost")
    try:
        cudahost.module.include_folders()
    except FileNotFoundError as e:
        pytest.skip(str(e))
    return cudahost.HostLibrary(build_folder)


@pytest.fixture
def host(host_library):
    """`host_library` taking part in gpugrad's dispatch, as the device `standin`."""
    host_library.order, host_library.allocator.guarded = 0, True
    register(host_library, "standin")
    yield host_library
    unregister("standin")
    host_library.check()


@pytest.fixture
def library(request):
    """The module of this name, gpugrad's front door or, with --against, the real one."""

    def load(name):
        if request.config.getoption("--against"):
            return pytest.importorskip(name)
        return importlib.import_module(f"gpugrad.{name}")

    return load


@pytest.fixture
def tf(library):
    return library("tensorflow")


@pytest.fixture
def torch(library):
    return library("torch")

"""What all tests share: `cuda` tests need a GPU; the front doors, or with --against what they stand for."""

import importlib

import pytest

import gpugrad as gg


def pytest_addoption(parser):
    parser.addoption("--against", action="store_true", help="run tests/seeds and tests/doors on TensorFlow and PyTorch")


def pytest_collection_modifyitems(items):
    if gg.device_count():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(autouse=True)
def on_the_cpu(request):
    """Tests are written for the CPU's dtypes and messages; those for a GPU ask for it."""
    if request.node.get_closest_marker("cuda"):
        yield
        return
    gg.set_default_device("cpu")
    yield
    gg.set_default_device(None)


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

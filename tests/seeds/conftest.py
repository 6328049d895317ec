"""The four documents that gpugrad makes real.  `pytest tests/seeds --against` runs them on TensorFlow and PyTorch."""

import importlib

import pytest


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

"""What all tests share: `cuda` tests run only where there is a GPU."""

import pytest

import gpugrad as gg


def pytest_addoption(parser):
    parser.addoption("--against", action="store_true", help="tests/seeds on TensorFlow and PyTorch themselves")


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

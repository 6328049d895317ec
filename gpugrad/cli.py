"""Floor 9: the command `gpugrad`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from . import demo
from .array import cupy_or_reason, default_device, device, device_count
from .files import install, resource
from .profile.report import GENERATOR, is_report
from .profile.script import ScriptError, compare_script
from .profile.ways import WAYS, chosen


def _positive(text: str) -> int:
    try:
        n = int(text)
    except ValueError:
        n = 0
    if n < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return n


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpugrad", description="Automatic differentiation for NumPy and CuPy arrays.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("demo", help="train on handwritten digits and show what the tape kept")
    show.add_argument("--epochs", type=_positive, default=120, help="passes over the training set (%(default)s)")
    show.add_argument("--batch", type=_positive, default=64, help="digits a step (%(default)s)")
    show.add_argument("--seed", type=int, default=0, help="of the split, the weights and the order (%(default)s)")
    show.add_argument("--device", help="cpu, cuda or cuda:1 (default: the GPU if there is one)")
    show.add_argument("--output", type=Path, default=Path("gpugrad-demo.png"), help="the picture (%(default)s)")
    show.add_argument("--no-plot", action="store_true", help="draw no picture")
    commands.add_parser("info", help="versions, devices, driver, memory, and what the kernels need")
    show = commands.add_parser(
        "memory", help="run a training script and show which line of it holds the memory, and what would free it",
        usage="gpugrad memory [options] SCRIPT.py [ARGS...]",
        description="Runs the script once a way, each in a process of its own: as written, with tapes that are not "
        "persistent, persistent, freed after their last use, and with layers computed again. The script needs to know "
        "nothing of this. It is stopped when its steps are measured; files that it writes it writes each time.",
    )  # fmt: skip
    show.add_argument(
        "--steps",
        type=_positive,
        default=3,
        help="steps to time; the next is recorded, or the last one (%(default)s)",
    )
    show.add_argument("--skip", type=_positive, default=1, help="steps before those (%(default)s)")
    ways = ", ".join([w.replace(" ", "-") for w in WAYS[1:]])
    show.add_argument("--ways", type=_ways, help=f"beside the script as written, of {ways} (default: all)")
    show.add_argument("--device", help="cpu, cuda or cuda:1 (default: what the script says)")
    for ending, what in _REPORTS.items():
        show.add_argument(f"--{ending}", type=Path, metavar="PATH", help=f"write {what}")
    show.add_argument("script", metavar="SCRIPT.py", help="what to run")
    show.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS", help="its own arguments")
    return parser


_REPORTS = {"html": "a page with areas over time", "png": "a picture (needs matplotlib)", "json": "all figures"}


def _ways(text: str) -> list[str]:
    try:
        return chosen([w.strip().replace("-", " ") for w in text.split(",")])
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _writable(parser: argparse.ArgumentParser, option: str, path: Path, ending: str) -> None:
    """An error now, not after the work, for a file that cannot be written."""
    if not path.resolve().parent.is_dir():
        parser.error(f"{option}: there is no folder {path.resolve().parent}")
    if path.is_dir():
        parser.error(f"{option}: {path} is a folder; name a file in it that ends in {ending}")
    if path.suffix.lower() != ending:  # matplotlib would add an ending, or write another format
        parser.error(f"{option}: {str(path)!r} does not end in {ending}")
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        parser.error(f"{option}: {path} cannot be written")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.  0: done; 2: the arguments are wrong; 130: interrupted; else what a script ended with."""
    parser = _parser()
    args = parser.parse_args(argv)
    status = 0
    try:
        if args.command == "info":
            print("\n".join(info()))
        elif args.command == "memory":
            status = _memory(parser, args)
        else:
            output = None if args.no_plot else args.output
            if output is not None:
                _writable(parser, "--output", output, ".png")
            if args.seed < 0:
                parser.error("--seed: must be 0 or more")
            demo.run(args.device, args.epochs, args.batch, args.seed, output)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, RuntimeError) as e:
        if args.command == "demo" and args.device is not None and "device" in str(e):
            parser.error(f"--device: {e}")
        raise
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return status


def _memory(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Measure a script and write the reports.  Answers the script's exit status."""
    if not os.path.exists(args.script):
        parser.error(f"there is no script {args.script}")
    if os.path.isdir(args.script) and not os.path.exists(os.path.join(args.script, "__main__.py")):
        parser.error(f"{args.script} is a folder without a __main__.py; name a script")
    wanted = {e: path for e in _REPORTS if (path := getattr(args, e)) is not None}
    for ending, path in wanted.items():
        _writable(parser, f"--{ending}", path, f".{ending}")
        if path.exists() and path.stat().st_size and not is_report(path, ending):
            parser.error(f"--{ending}: {path} exists and is no report of {GENERATOR}; name another file, or remove it")
    if args.device is not None:
        try:
            device(args.device)
        except (ValueError, RuntimeError) as e:
            parser.error(f"--device: {e}")
    if "png" in wanted and find_spec("matplotlib") is None:
        parser.error(f"--png: matplotlib is not installed. Install it with: {install('demo')}")
    ours = [a for a in args.args if a.partition("=")[0] in [f"--{e}" for e in _REPORTS]]
    if ours:  # a script may have such options, too
        given = " and ".join(ours)
        print(f"gpugrad memory: {given} after the script goes to the script; what is meant for us comes before it",
              file=sys.stderr)  # fmt: skip
    try:
        found, status = compare_script(args.script, args.args, args.ways, args.steps, args.skip, args.device)
    except ScriptError as e:
        print(f"gpugrad memory: {e}", file=sys.stderr)
        return e.status
    write = {"html": found.save_html, "png": found.plot, "json": found.save_json}
    for ending, path in wanted.items():
        write[ending](path)
    print(f"\n{found}")
    for ending, path in wanted.items():
        print(f"{_REPORTS[ending].partition(' (')[0]}: {path}")
    return status


def info() -> list[str]:
    """What `gpugrad info` prints."""
    lines = [f"gpugrad {_version('gpugrad')}, Python {platform.python_version()}, {platform.platform()}"]
    lines += [_line(name, _version(name)) for name in ("numpy", "ml_dtypes", "optree", "nvmath-python")]
    cupy, reason = cupy_or_reason()
    if cupy is None:
        lines.append(_line("cupy", f"no GPU: {reason}"))
    else:
        runtime = cupy.cuda.runtime
        lines.append(_line("cupy", f"{cupy.__version__}, CUDA {_cuda(runtime.runtimeGetVersion())}"))
        for i in range(device_count()):
            gpu = cupy.cuda.Device(i)
            name, digits = runtime.getDeviceProperties(i)["name"].decode(), gpu.compute_capability  # "90", "120"
            with gpu:
                free, total = runtime.memGetInfo()
            memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
            lines.append(_line(f"cuda:{i}", f"{name}, compute capability {digits[:-1]}.{digits[-1]}, {memory}"))
    most = "" if cupy is None else f", up to CUDA {_cuda(cupy.cuda.runtime.driverGetVersion())}"
    lines.append(_line("driver", _driver() + most))
    lines.append(_line("kernels", os.path.dirname(resource("kernels", "common.cuh"))))
    lines.append(_line("NVRTC", _nvrtc()))
    lines.append(_line("cuBLASLt", _cublaslt() if cupy is not None else "not looked for: no GPU"))
    lines.append(_line("default", f"new tensors land on {default_device()}"))
    return lines


def _line(name: str, what: str) -> str:
    return f"{name:<13} {what}"


def _cuda(number: int) -> str:
    """13000 -> 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _nvrtc() -> str:
    """Its version, or what is wrong."""
    try:
        from cupy.cuda import nvrtc
    except ImportError:
        return "not found: CuPy, which calls it, is not installed"
    try:
        major, minor = nvrtc.getVersion()  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as e:  # CuPy raises what its loader raises
        return f"not found: {_first(e)}"
    return f"{major}.{minor}"


def _cublaslt() -> str:
    """Its version, or why products are CuPy's."""
    try:
        from nvmath.bindings import cublasLt  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        return f"not used, products are CuPy's: {_first(e)}; install it with: pip install nvmath-python"
    try:
        found = device("cuda").library.blas(device("cuda"))
        if found is not None:
            n, space = found.lt.get_version(), found.nbytes // 2**20
            return f"{n // 10000}.{n // 100 % 100}.{n % 100}, {space} MiB of workspace for each stream"
        handle = cublasLt.create()
        cublasLt.destroy(handle)
    except (RuntimeError, cublasLt.cuBLASLtError) as e:  # no library or driver, or one that is too old
        return f"not used, products are CuPy's: {_first(e)}"
    return "not used, products are CuPy's: it was not there when it was first asked for"


def _first(e: Exception) -> str:
    """The first line of what an error says."""
    return str(e).strip().partition("\n")[0] or type(e).__name__


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _driver() -> str:
    try:
        import pynvml
    except ImportError:
        return "unknown: pynvml is not installed (pip install nvidia-ml-py)"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as e:
        return f"none: {e}"
    try:
        text = pynvml.nvmlSystemGetDriverVersion()
        return text.decode() if isinstance(text, bytes) else text
    finally:
        pynvml.nvmlShutdown()

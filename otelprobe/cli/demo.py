"""`otelprobe demo`: the full flow against an embedded provider and API, healthy or with faults switched on."""

import argparse
import gc
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from otelprobe.cli.inputs import BAD_CONFIG, add_settings, flags_of, telling_faults
from otelprobe.cli.once import Report, add_output, run_plans

if TYPE_CHECKING:
    from otelprobe.demo.faults import Fault
    from otelprobe.demo.server import Demo


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "demo",
        help="run the full flow against an embedded provider and API, healthy or with a fault",
        description="Start an identity provider and an API on loopback, run the full flow against them, print the waterfall.",
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME", help="switch a fault on (may be repeated)"
    )
    parser.add_argument("--list-faults", action="store_true", help="list the faults and what each is to be called")
    parser.add_argument("--serve", action="store_true", help="do not run the flow: keep the servers up, print its file")
    parser.add_argument("--tls", action="store_true", help="serve by TLS, with a CA of the demo's own")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port of the provider; the API takes the next")
    add_output(parser)
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo; exit codes as of `once`."""
    return telling_faults(lambda: _demo(args))


def _demo(args: argparse.Namespace) -> int:
    from otelprobe.demo import FAULTS, DemoExtraMissingError, UnknownFaultError, start_demo  # noqa: PLC0415 - an extra

    if args.list_faults:
        print("\n".join(_list(FAULTS.values())))
        return 0
    try:
        demo = start_demo(args.fault, tls=args.tls, port=args.port)
    except (DemoExtraMissingError, UnknownFaultError, OSError) as error:
        print(f"otelprobe: {error}", file=sys.stderr)
        return BAD_CONFIG
    with demo:
        os.environ.update(demo.environment)
        return _serve(demo) if args.serve else _run_flow(demo, args)


def _run_flow(demo: "Demo", args: argparse.Namespace) -> int:
    """Run the demo's flow file through the same doors as anybody's."""
    from otelprobe.config.load import load  # noqa: PLC0415 - `--list-faults` reads nothing
    from otelprobe.config.settings import load_settings  # noqa: PLC0415
    from otelprobe.demo import flow_yaml  # noqa: PLC0415
    from otelprobe.plan import build  # noqa: PLC0415

    settings = load_settings(flags_of(args))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "demo.yaml")
        path.write_text(flow_yaml(demo), encoding="utf-8")
        config = load([path])
    plans = build(config, location=settings.location)
    report = Report.of(args, settings)
    code = run_plans(plans, config, settings, report)
    if not report.machine and not args.fault and sys.stderr.isatty():
        print("next: otelprobe demo --list-faults, then otelprobe demo --fault stale-key-cache", file=sys.stderr)
    return code


def _serve(demo: "Demo") -> int:
    """Print the flow file and how to run it; keep the servers up until told to stop."""
    from otelprobe.demo import flow_yaml  # noqa: PLC0415 - an extra

    gc.enable()  # it was off for a short run, see __main__
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(flow_yaml(demo))
    for name, value in demo.environment.items():
        print(f"# export {name}={value}")
    print("# provider and API are up; stop them with Ctrl-C", flush=True)
    stop.wait()
    return 0


def _list(faults: "Iterable[Fault]") -> Iterator[str]:
    yield f"{'fault':24} {'reason (blame)':42} what is broken"
    for fault in faults:
        expected = "passes" if fault.reason is None else f"{fault.reason} ({fault.blame})"
        note = "" if fault.shown else "  [not seen by the demo flow]"
        yield f"{fault.name:24} {expected:42} {fault.help}{note}"

"""The command line's front door: finds the command, imports only that one, and turns what it gives into an exit code."""

import argparse
import atexit
import errno
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from otelprobe import __version__

COMMANDS = {
    "run": ("run", "run flows on their schedule until told to stop (sidecar, Deployment)"),
    "once": ("once", "run flows once, print the waterfall, exit with the verdict (CronJob, CI)"),
    "init": ("init", "write a commented flow file from what a provider offers"),
    "validate": ("validate", "check flow files and report every fault with file and line"),
    "plan": ("plan", "print the wired flows; touches no network, shows no secret"),
    "schema": ("schema", "print the JSON schema of flow files for editors"),
    "posture": ("posture", "check good practice from outside and report findings (text, JSON, SARIF)"),
    "explain": ("explain", "say what a reason means, who should look and what to check first"),
    "audit": ("audit", "check an audit file: any edit, deletion and reordering is found"),
    "jwt": ("jwt", "decode, verify, sign and attack tokens, make keys and key sets; nothing leaves the machine"),
    "demo": ("demo", "run the full flow against an embedded provider and API, healthy or with a fault"),
}
"""Command to module of `otelprobe.cli` and one line of help."""

_EPILOG = """exit codes:
  0  every flow passed
  1  a flow failed
  2  the flow file or the settings are wrong
  3  flows passed, but telemetry was not delivered (only with --require-delivery)
  4  no flow failed, but one ended in error (the prober could not tell), or the report could not be written
  130, 143  interrupted, after a flush
"""


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a write to standard output ends with where it leads to a disk that is full or broken."""


def build_parser(chosen: str | None, words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Give the parser; only the chosen command's own options are imported and added, and it may refuse the words first."""
    parser = argparse.ArgumentParser(
        prog="otelprobe",
        description="Checks authentication end to end and tells by OpenTelemetry whose fault it is.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"otelprobe {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, text) in COMMANDS.items():
        if name == chosen:
            command = import_module(f"otelprobe.cli.{module}")
            command.add_parser(commands)
            if hasattr(command, "check_words"):
                command.check_words(words)
        else:
            commands.add_parser(name, help=text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    _open_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    with _no_collection():
        try:
            args = build_parser(chosen, words).parse_args(words)
            return _run(args)
        except BrokenPipeError:
            # The reader of our output has gone (`| head`): say nothing more, and let the shell see it as it expects.
            _throw_away_output()
            sys.stderr.close()
            return 141
        except OSError as error:
            if error.errno not in _NO_ROOM or error.filename is not None:
                raise
            _throw_away_output()
            sys.stderr.write(f"otelprobe: the output could not be written: {error.strerror}\n")
            return 4
        except KeyboardInterrupt:
            # Ctrl-C before a command has taken signals into its own hands, or in one that does not.
            return 130


def _run(args: argparse.Namespace) -> int:
    """Run the command, and have all that it printed written while a failure can still be told."""
    code = int(import_module(f"otelprobe.cli.{COMMANDS[args.command][0]}").run(args))
    sys.stdout.flush()
    return code


def _throw_away_output() -> None:
    from otelprobe.cli.streams import throw_away_output  # noqa: PLC0415 - as good as never needed

    throw_away_output()


def _open_streams() -> None:
    """Open what a parent closed (`>&-`): Python has no stream there, and the next socket would get its descriptor."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            from pathlib import Path  # noqa: PLC0415 - as good as never needed

            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out of a short run: it costs a fifth of it (tests/benchmarks/cold_start.py).

    What start-up makes stays to the end, so looking through it again and again finds nothing; and at the exit the
    operating system takes it back sooner than the collector. A command that serves turns the collector on again.
    """
    before = gc.isenabled()
    gc.disable()
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        if before:
            gc.enable()


if __name__ == "__main__":
    sys.exit(main())

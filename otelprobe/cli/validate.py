"""`otelprobe validate`: every fault of the flow files at once; missing secrets and files on this machine too."""

import argparse

from otelprobe.cli.inputs import add_files, read_config, read_settings, telling_faults
from otelprobe.config.faults import ConfigError
from otelprobe.plan import build


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "validate",
        help="check flow files and report every fault with file and line",
        description="Check flow files and report every fault with file, line, path and mend. Touches no network.",
    )
    add_files(parser)
    parser.add_argument(
        "--no-secrets", action="store_true", help="do not look for the secrets and files that flows name (in CI)"
    )


def run(args: argparse.Namespace) -> int:
    """Check; 0 if all is well, 2 with the faults on standard error."""
    return telling_faults(lambda: _validate(args))


def _validate(args: argparse.Namespace) -> int:
    from otelprobe.config.checks import check_files, check_secrets  # noqa: PLC0415 - only this command looks

    config = read_config(read_settings(args))
    faults = [] if args.no_secrets else [*check_secrets(config), *check_files(config)]
    try:
        plans = build(config)
    except ConfigError as error:
        raise ConfigError([*error.faults, *faults]) from None
    if faults:
        raise ConfigError(faults)
    steps = sum(len(plan.steps) for plan in plans)
    print(f"{_count(len(plans), 'flow')} with {_count(steps, 'step')}: good")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

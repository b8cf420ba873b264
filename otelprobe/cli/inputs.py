"""What every command that reads flow files has in common: its options, the settings, the plans, and the faults told."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from otelprobe.config.faults import ConfigError
from otelprobe.config.load import load
from otelprobe.config.models import Config
from otelprobe.config.settings import Settings, load_settings
from otelprobe.plan import FlowPlan, build

BAD_CONFIG = 2
"""Exit code: the flow file or the settings are wrong."""


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the positional flow files and directories."""
    parser.add_argument(
        "config", nargs="*", metavar="FILE", help="flow files or directories of them (default: OTELPROBE_CONFIG)"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings that are the same for every command that runs flows."""
    group = parser.add_argument_group("settings (each also as OTELPROBE_NAME or in .env)")
    group.add_argument("--state-dir", metavar="DIR", help="where to remember keys and tokens' ends between runs")
    group.add_argument("--spool-dir", metavar="DIR", help="where to keep telemetry that could not be delivered")
    group.add_argument("--location", metavar="NAME", help="where this prober stands, as an attribute of all it tells")
    group.add_argument("--workers", metavar="N", help="how many flows run at once (default: 64)")
    group.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="default: info")
    group.add_argument("--log-format", choices=("text", "json"), help="default: text")


def flags_of(args: argparse.Namespace) -> dict[str, object]:
    """Give the settings among the arguments; None means not given."""
    names = Settings.__dataclass_fields__.keys() - {"warnings", "config"}
    flags = {name: getattr(args, name, None) for name in names}
    return flags | {"config": ":".join(args.config) if getattr(args, "config", None) else None}


def read_settings(args: argparse.Namespace) -> Settings:
    """Read the settings and tell of variables that mean nothing. ConfigError names every fault."""
    settings = load_settings(flags_of(args))
    for warning in settings.warnings:
        print(f"otelprobe: {warning}", file=sys.stderr)
    return settings


def read_config(settings: Settings) -> Config:
    """Read the flow files that the command or OTELPROBE_CONFIG names."""
    return load([Path(path) for path in settings.config])


def read_plans(settings: Settings, only: Sequence[str] = ()) -> tuple[Config, tuple[FlowPlan, ...]]:
    """Read and wire the flows, or just those that `only` names. ConfigError lists every fault."""
    from otelprobe.config.faults import Fault, suggest  # noqa: PLC0415 - only a wrong name needs it

    config = read_config(settings)
    plans = build(config, location=settings.location)
    names = [plan.name for plan in plans]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ConfigError([Fault("--flow", None, name, f"no such flow; {suggest(name, names)}") for name in unknown])
    return config, tuple(plan for plan in plans if not only or plan.name in only)


def telling_faults(command: Callable[[], int]) -> int:
    """Run a command; print faults of the flow files or settings, one a line, and give exit code 2."""
    try:
        return command()
    except ConfigError as error:
        print(error, file=sys.stderr)
        count = len(error.faults)
        print(f"{count} fault{'' if count == 1 else 's'}", file=sys.stderr)
        return BAD_CONFIG

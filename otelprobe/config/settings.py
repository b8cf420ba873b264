"""Settings of the process: command line flags over OTELPROBE_* variables over a .env file over defaults.

What is watched stands in flow files; what differs from one place of running to the next stands here. pydantic-settings
reads variables and .env; it is imported only where there are any, because that costs as much as a whole short run.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from otelprobe.config.decode import BAD, Member, plan_for
from otelprobe.config.faults import ConfigError, Fault, nearest
from otelprobe.config.models import Name
from otelprobe.fields import DurationOrZero, Listen, Scalar, parse_address
from otelprobe.quick import dataclass
from otelprobe.sharding import ALL, Shard

_LOOPBACK = Listen("127.0.0.1", 8399)

PREFIX = "OTELPROBE_"
ENV_FILE = ".env"
_IGNORED = ("OTELPROBE_DEMO_", "OTELPROBE_BROWSER")
_SHARD = re.compile(r"([0-9]{1,5})/(?:([0-9]{1,5})|@(.+))")
_COUNT = re.compile(r"[0-9]{1,4}")
_SWITCH = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}


def parse_shard(value: object) -> Shard:
    """Read `0/3` as the first of three parts, `0/@FILE` as the first of as many as the file says."""
    match = _SHARD.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("not a shard: write index/count, the first is 0, as in 0/3, or index/@FILE")
    if match[2] and int(match[1]) >= int(match[2]):
        raise ValueError("no such shard: they are counted from 0, so the last of three is 2/3")
    return Shard(int(match[1]), count_file=FilePath(match[3])) if match[3] else Shard(int(match[1]), int(match[2]))


def parse_listen(value: object) -> Listen | None:
    """Read `host:port`, `:port` (every address) or `none`."""
    if value == "none":
        return None
    try:
        return parse_address(value)
    except ValueError as error:
        raise ValueError(f"{error}, or none") from None


def parse_paths(value: object) -> tuple[str, ...]:
    """Read paths separated by `:`."""
    paths = tuple(p for p in value.split(os.pathsep) if p) if isinstance(value, str) else ()
    if not paths:
        raise ValueError(f"not a list of paths: write /etc/otelprobe, more of them separated by {os.pathsep}")
    return paths


def parse_workers(value: object) -> int:
    """Accept 1 to 1024."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not _COUNT.fullmatch(text) or not 1 <= int(text) <= 1024:
        raise ValueError("not a number of workers: write 1 to 1024")
    return int(text)


def parse_switch(value: object) -> bool:
    """Accept true or false, and in a variable what is usual there: 1, yes, on and their opposites."""
    found = _SWITCH.get(str(value).lower())
    if found is None:
        raise ValueError("not a switch: write true or false")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one process; each is a flag `--log-level`, a variable `OTELPROBE_LOG_LEVEL`, or a line in `.env`."""

    config: Annotated[tuple[str, ...], Scalar(parse_paths, {"type": "string"})] = ()
    """Flow files and directories, separated by `:`, if the command names none."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much is told on standard error: `debug`, `info`, `warning` or `error`; for `run`."""

    log_format: Literal["text", "json"] = "text"
    """`text` or `json` on standard error; for `run`."""

    color: Literal["auto", "always", "never"] = "auto"
    """Colour in the terminal: `auto`, `always` or `never`; for `once` and `demo`."""

    state_dir: str | None = None
    """State that outlives the process."""

    spool_dir: str | None = None
    """Spool for telemetry that was not delivered."""

    location: Name | None = None
    """Where this prober stands, such as `eu-west`; `otelprobe.location` on all it sends."""

    # Loopback, because nothing is open that nobody asked for; a pod sets :8399.
    listen: Annotated[Listen | None, Scalar(parse_listen, {"type": "string"})] = _LOOPBACK
    """Address of the health endpoints, or `none`; for `run`."""

    # Many, because flows mostly wait.
    workers: Annotated[int, Scalar(parse_workers, {"type": "integer"})] = 64
    """How many flows run at once, 1 to 1024."""

    shard: Annotated[Shard, Scalar(parse_shard, {"type": "string"})] = ALL
    """Which part of the flows is run here, `index/count` or `index/@FILE`; for `run`."""

    start_jitter: DurationOrZero = 10.0
    """Time over which the first runs are spread; for `run`."""

    require_delivery: Annotated[bool, Scalar(parse_switch, {"type": "boolean"})] = False
    """Exit code 3 if telemetry was not delivered; for `once`."""

    exit_zero: Annotated[bool, Scalar(parse_switch, {"type": "boolean"})] = False
    """Exit code 0 whatever the verdict, as telemetry tells it; for `once`."""

    warnings: tuple[str, ...] = field(default=(), metadata={"from": "load_settings"})
    """Variables that mean nothing; not a setting."""


def load_settings(flags: Mapping[str, object]) -> Settings:
    """Read the settings; flags that are None were not given. ConfigError names the flag or variable of each fault.

    `Settings.warnings` tells of OTELPROBE_* variables that mean nothing.
    """
    members = plan_for(Settings).members
    faults: list[Fault] = []
    outside, others = _variables(members, faults) if _any_variables() else ({}, frozenset[str]())
    values: dict[str, Any] = {}
    for name, member in members.items():
        if flags.get(name) is not None:
            values[name] = _read(member, flags[name], f"--{name.replace('_', '-')}", faults)
        elif name in outside:
            values[name] = _read(member, outside[name], f"{PREFIX}{name.upper()}", faults)
    if faults:
        raise ConfigError(faults)
    return replace(Settings(**values), warnings=tuple(_told(others, members)))


def _read(member: Member, value: object, source: str, faults: list[Fault]) -> object:
    found = member.reader.read(value, (), lambda _, message: faults.append(Fault(source, None, "", message)))
    return None if found is BAD else found


def _any_variables() -> bool:
    return any(name.upper().startswith(PREFIX) for name in os.environ) or FilePath(ENV_FILE).is_file()


def _variables(names: Iterable[str], faults: list[Fault]) -> tuple[dict[str, str], frozenset[str]]:
    """Read OTELPROBE_* of the environment and of .env as text, and the names of those that are no settings.

    Names are in lower case and without the prefix. An empty variable is one that is not set.
    """
    from pydantic import create_model  # noqa: PLC0415 - 0.3 s that a run without variables need not pay
    from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict  # noqa: PLC0415

    class Source(BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=PREFIX, env_file=ENV_FILE, env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore"
        )

    fields: dict[str, Any] = dict.fromkeys(names, (str | None, None))
    try:
        model = create_model("Variables", __base__=Source, **fields)
        read, lines = model(), DotEnvSettingsSource(model).env_vars
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        faults.append(Fault(ENV_FILE, None, "", f"cannot be read: {why}"))
        return {}, frozenset()
    found = {name: value for name in names if (value := getattr(read, name)) is not None}
    present = {n[len(PREFIX) :].lower() for n in [*lines, *os.environ] if n.upper().startswith(PREFIX)}
    return found, frozenset(present - set(names))


def _told(others: Iterable[str], members: Iterable[str]) -> Iterator[str]:
    """Say which variables mean nothing, with the nearest that does."""
    known = list(members)
    for name in sorted(others):
        variable = f"{PREFIX}{name.upper()}"
        if not variable.startswith(_IGNORED):
            near = nearest(name, known)
            yield f"{variable} means nothing" + (f"; did you mean {PREFIX}{near.upper()}?" if near else "")

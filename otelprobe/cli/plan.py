"""`otelprobe plan`: the wired flows as they will run, secrets as `***`; touches no network."""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, get_args

from otelprobe.cli.inputs import add_files, read_plans, read_settings, telling_faults
from otelprobe.config.faults import ConfigError, Fault
from otelprobe.config.settings import Settings
from otelprobe.expect import Matcher
from otelprobe.fields import DURATION, DURATION_OR_ZERO, SIZE, HttpOptions, Listen, Scalar, SecretRef
from otelprobe.patterns import Pattern
from otelprobe.plan import FlowPlan
from otelprobe.run import options_for
from otelprobe.step import Step

_HIDDEN = {"name", "http"}
_MOST_SHARDS = 1000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "plan",
        help="print the wired flows; touches no network, shows no secret",
        description="Print the wired flows as they will run, with secrets as ***. Touches no network.",
    )
    add_files(parser)
    parser.add_argument("--flow", action="append", default=[], metavar="NAME", help="only this flow (may be repeated)")
    parser.add_argument("--shard", metavar="I/N", help="mark the flows of this shard")
    parser.add_argument(
        "--shards", metavar="N", type=_number, help="print which of N shards runs which flow, and no more"
    )
    parser.add_argument(
        "--cardinality", action="store_true", help="print how many metric series each flow will have, and no more"
    )


def run(args: argparse.Namespace) -> int:
    """Print the plans; 2 with the faults if they cannot be wired."""
    return telling_faults(lambda: _print(args))


def _print(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    _, plans = read_plans(settings, args.flow)
    if args.shards is not None:
        sys.stdout.writelines(f"{line}\n" for line in _shards(plans, args.shards))
        return 0
    if args.cardinality:
        sys.stdout.writelines(f"{line}\n" for line in _cardinality(plans))
        return 0
    mine = {plan.name for plan in _ours(plans, settings)}
    sys.stdout.write("\n".join("".join(f"{line}\n" for line in _flow(p, ours=p.name in mine)) for p in plans))
    for name, value in _environment().items():
        print(f"\nprocess-wide: {name}={value}")
    return 0


def _cardinality(plans: Sequence[FlowPlan]) -> Iterator[str]:
    """Say how many series each flow has, and all together."""
    from otelprobe.telemetry.cardinality import Cardinality, estimate  # noqa: PLC0415 - only this prints numbers of series

    total = Cardinality(0, 0)
    width = max((len(plan.name) for plan in plans), default=4)
    yield f"{'flow':{width}}  {'series':>8} {'classic':>8}   each way to fail adds"
    for plan in plans:
        cases = {step.name: tuple(map(str, getattr(step, "cases", ()))) for step in plan.steps}
        found = estimate(plan.facts(), cases)
        more = f"{found.failure.native} ({found.failure.classic} classic)"
        yield f"{plan.name:{width}}  {found.healthy.native:>8} {found.healthy.classic:>8}   {more}"
        total += found.healthy
    yield f"{'all':{width}}  {total.native:>8} {total.classic:>8}"
    yield "series: in a Prometheus that keeps histograms native, as the shipped prometheus.yml does (docs/collectors.md)"
    yield "classic: in one where each bucket is a series of its own"


def _number(text: str) -> int:
    """Read a number of shards; argparse tells what is wrong."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_SHARDS:
        raise argparse.ArgumentTypeError(f"not a number of shards: write 1 to {_MOST_SHARDS}")
    return int(text)


def _ours(plans: Sequence[FlowPlan], settings: Settings) -> Sequence[FlowPlan]:
    """Give the flows of the shard that the settings name; ConfigError if its number of shards cannot be read."""
    from otelprobe.sharding import ShardError, assigned  # noqa: PLC0415 - only a sharded plan needs it

    try:
        return assigned(plans, settings.shard.now())
    except ShardError as error:
        raise ConfigError([Fault("--shard", None, "", str(error))]) from None


def _shards(plans: Sequence[FlowPlan], count: int) -> Iterator[str]:
    """Say who runs what: the load of each shard, then its flows with their interval."""
    from otelprobe.sharding import dealt, owner  # noqa: PLC0415 - only asked for here

    parts = dealt(plans, count)
    moving = sum(owner(plan.name, count + 1) == count for plan in plans)
    yield f"{len(plans)} flows on {count} shards; one more shard would take over {moving}"
    for index, part in enumerate(parts):
        rate = sum(1 / plan.every for plan in part if plan.cron is None)
        yield ""
        yield f"shard {index}/{count}  {len(part)} flows, {rate:.3g} runs a second"
        for plan in part:
            yield f"  {plan.name}  {_when(plan)}"


def _when(plan: FlowPlan) -> str:
    return f'cron "{plan.cron}" (UTC)' if plan.cron else f"every {_seconds(plan.every)}"


def _environment() -> Mapping[str, str]:
    from otelprobe.http import environment_in_force  # noqa: PLC0415 - as the door sees it

    return environment_in_force()


def _flow(plan: FlowPlan, *, ours: bool) -> Iterator[str]:
    yield f"flow {plan.name}  {_when(plan)}, deadline {_seconds(plan.deadline)}{'' if ours else '  (another shard)'}"
    if plan.provider is not None:
        provider = plan.provider
        secret = "".join(
            f", {member.replace('client_secret', 'secret')} *** from {s.source}" for member, s in provider.secrets()
        )
        yield f"  provider {provider.name}  {provider.issuer}"
        yield f"    client {provider.client_id or '-'} by {provider.auth_method}{secret}"
        yield from (f"    endpoint {name}  {url}" for name, url in provider.endpoints.items())
    labels = ", ".join(f"{k}={v}" for k, v in plan.labels.items())
    if labels:
        yield f"  labels {labels}"
    for name, value in sorted(plan.objectives.items() - {("interval", plan.every)}):
        yield f"  objective {name}  {value:.4%}" if name == "availability" else f"  objective {name}  {_seconds(value)}"
    for number, step in enumerate(plan.steps, 1):
        yield from _step(number, step, plan)


def _step(number: int, step: Step, plan: FlowPlan) -> Iterator[str]:
    name = step.name if step.name == step.kind else f"{step.name} ({step.kind})"
    needs = ", ".join(k.__name__ for k in step.required(plan.provider)) or "-"
    makes = ", ".join([k.__name__ for k in step.made()] + [f"${{{c}}}" for c in step.capture]) or "-"
    yield f"  {number}. {name}  [{step.layer.value}]  needs {needs}  makes {makes}"
    for field, value in _members(step):
        if field.name not in _HIDDEN:
            yield f"       {field.name}: {_member(field, value)}"
    yield from (f"       {note}" for note in step.notes())
    yield f"       http: {_http(options_for(step, plan))}"


def _default(field: "dataclasses.Field[Any]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _http(options: HttpOptions) -> str:
    return ", ".join(f"{f.name} {_member(f, v)}" for f, v in _members(options) if v not in (None, False))


def _members(value: object) -> Iterator[tuple["dataclasses.Field[Any]", object]]:
    """Give the members of a dataclass that are not as they are by default."""
    for field in dataclasses.fields(value):  # type: ignore[arg-type]  # callers give dataclasses only
        found = getattr(value, field.name)
        if found != _default(field):
            yield field, found


def _member(field: "dataclasses.Field[Any]", value: object) -> str:
    """Write a member in the unit that its annotation says."""
    scalars = set(_scalars(field.type))
    if isinstance(value, float) and scalars & {DURATION, DURATION_OR_ZERO}:
        return _seconds(value)
    if isinstance(value, int) and SIZE in scalars:
        return next(f"{value // size}{unit}" for unit, size in _SIZES if value % size == 0)
    return _show(value)


_SIZES = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024), ("B", 1))


def _scalars(annotation: object) -> Iterator[Scalar]:
    yield from (m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Scalar))
    for part in get_args(annotation):
        yield from _scalars(part)


def _show(value: object) -> str:
    """Write a value as the flow file would, a secret as `***` with its source."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_show(v) for v in value) + "]"
    return _show_one(value)


def _show_one(value: object) -> str:
    match value:
        case SecretRef():
            return f"*** from {value.source}"
        case Matcher():
            return value.words()
        case Pattern():
            return value.text
        case Enum():
            return str(value.value)
        case Listen():
            return str(value)
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    if dataclasses.is_dataclass(value):
        return "{" + ", ".join(f"{f.name}: {_member(f, v)}" for f, v in _members(value)) + "}"
    return str(value)


def _seconds(value: float) -> str:
    """Write seconds in the largest unit that divides them."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if value >= size and value % size == 0:
            return f"{value / size:g}{unit}"
    return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"

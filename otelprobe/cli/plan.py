"""`otelprobe plan`: the wired flows as they will run, secrets as `***`; touches no network."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum

from otelprobe.cli.inputs import add_files, read_plans, read_settings, telling_faults
from otelprobe.fields import HttpOptions, SecretRef
from otelprobe.plan import FlowPlan
from otelprobe.run import options_for
from otelprobe.step import Step

_HIDDEN = {"name", "http"}


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


def run(args: argparse.Namespace) -> int:
    """Print the plans; 2 with the faults if they cannot be wired."""
    return telling_faults(lambda: _print(args))


def _print(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    _, plans = read_plans(settings, args.flow)
    mine = {plan.name for plan in plans}
    if settings.shard.count > 1:
        from otelprobe.schedule import assigned  # noqa: PLC0415 - only a sharded plan needs it

        mine = {p.name for p in assigned(plans, settings.shard.index, settings.shard.count)}
    sys.stdout.write("\n".join("".join(f"{line}\n" for line in _flow(p, ours=p.name in mine)) for p in plans))
    for name, value in _environment().items():
        print(f"\nprocess-wide: {name}={value}")
    return 0


def _environment() -> Mapping[str, str]:
    from otelprobe.http import environment_in_force  # noqa: PLC0415 - as the door sees it

    return environment_in_force()


def _flow(plan: FlowPlan, *, ours: bool) -> Iterator[str]:
    when = f'cron "{plan.cron}" (UTC)' if plan.cron else f"every {_seconds(plan.every)}"
    yield f"flow {plan.name}  {when}, deadline {_seconds(plan.deadline)}{'' if ours else '  (another shard)'}"
    if plan.provider is not None:
        provider = plan.provider
        secret = f", secret *** from {provider.client_secret.source}" if provider.client_secret else ""
        yield f"  provider {provider.name}  {provider.issuer}"
        yield f"    client {provider.client_id or '-'} by {provider.auth_method}{secret}"
        yield from (f"    endpoint {name}  {url}" for name, url in provider.endpoints.items())
    labels = ", ".join(f"{k}={v}" for k, v in plan.labels.items())
    if labels:
        yield f"  labels {labels}"
    for name, value in plan.objectives.items():
        yield f"  objective {name}  {value:.4%}" if name == "availability" else f"  objective {name}  {_seconds(value)}"
    for number, step in enumerate(plan.steps, 1):
        yield from _step(number, step, plan)


def _step(number: int, step: Step, plan: FlowPlan) -> Iterator[str]:
    name = step.name if step.name == step.kind else f"{step.name} ({step.kind})"
    needs = ", ".join(k.__name__ for k in step.required(plan.provider)) or "-"
    makes = ", ".join([k.__name__ for k in step.made()] + [f"${{{c}}}" for c in step.capture]) or "-"
    yield f"  {number}. {name}  [{step.layer.value}]  needs {needs}  makes {makes}"
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        if field.name not in _HIDDEN and value != _default(field):
            yield f"       {field.name}: {_show(value)}"
    yield f"       http: {_http(options_for(step, plan))}"


def _default(field: "dataclasses.Field[object]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _http(options: HttpOptions) -> str:
    shown = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    return ", ".join(f"{k} {_show(v)}" for k, v in shown.items() if v not in (None, False) and v != {})


def _show(value: object) -> str:
    """Write a value as the flow file would, a secret as `***` with its source."""
    if isinstance(value, SecretRef):
        return f"*** from {value.source}"
    if isinstance(value, re.Pattern | Enum):
        return value.pattern if isinstance(value, re.Pattern) else str(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        set_members = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return "{" + ", ".join(f"{f.name}: {_show(v)}" for f, v in set_members if v != _default(f)) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_show(v) for v in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _seconds(value: float) -> str:
    """Write seconds in the largest unit that divides them."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if value >= size and value % size == 0:
            return f"{value / size:g}{unit}"
    return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"

"""`otelprobe run`: every flow on its schedule, telemetry as it comes, until told to stop."""

import argparse
import functools
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otelprobe.audit.settings import Audit
from otelprobe.cli.export import telemetry_settings
from otelprobe.cli.inputs import BAD_CONFIG, add_files, add_settings, read_plans, read_settings, telling_faults
from otelprobe.cli.logs import set_up_logs
from otelprobe.cli.once import make_tools
from otelprobe.cli.trail import open_trail
from otelprobe.config.faults import ConfigError, Fault
from otelprobe.config.settings import Settings
from otelprobe.plan import FlowPlan
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult
from otelprobe.run import Tools, run_flow, warm_up
from otelprobe.schedule import ScheduleOptions
from otelprobe.serve import ServeOptions, Work, serve, settle
from otelprobe.sharding import ALL, Claim, Shard, ShardError, assigned
from otelprobe.state import State
from otelprobe.telemetry import Telemetry

if TYPE_CHECKING:
    from otelprobe.audit.trail import Trail

_log = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "run",
        help="run flows on their schedule until told to stop (sidecar, Deployment)",
        description="Run flows on their schedule. SIGTERM drains and flushes; SIGHUP and changed files reload.",
    )
    add_files(parser)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="address of /livez and /readyz (default: 127.0.0.1:8399; none: off)"
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="run only this part of the flows, as in 0/3; I/@FILE reads the number from a file",
    )
    parser.add_argument("--start-jitter", metavar="TIME", help="time over which first runs are spread (default: 10s)")
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    return telling_faults(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    from otelprobe.health import ListenError  # noqa: PLC0415 - beside the code that raises it

    settings = read_settings(args)
    config, plans = read_plans(settings)
    shard = _shard(settings)
    mine = assigned(plans, shard)
    claim = _claim(settings, shard)
    out = telemetry_settings(config.telemetry, settings, "long_lived")
    set_up_logs(settings.log_level, settings.log_format)
    trail = open_trail(config, lambda text: _log.warning("%s", text))
    telemetry = Telemetry(out)
    trail.suppressed, trail.lost = telemetry.audit_suppressed, telemetry.audit_lost
    if out.disabled:
        _log.warning("telemetry is not sent: OTEL_EXPORTER_OTLP_ENDPOINT is not set; results are logged here only")
    tools = make_tools(settings, auditor=trail.auditor)
    if not tools.state.durable:
        _log.info("key history is kept in memory only: set --state-dir to keep it over restarts")
    fleet = _Fleet(settings, telemetry, tools, config.audit)
    fleet.take(mine, shard, of=len(plans))
    work = Work(
        run=functools.partial(run_flow, tools=tools),
        publish=functools.partial(_tell, telemetry, tools.state, trail),
        missed=lambda flow, reason: telemetry.missed(reason, flow),
        lag=lambda flow, seconds: telemetry.schedule_lag(seconds, flow),
        load_plans=fleet.load,
        reloaded=telemetry.reloaded,
        close=functools.partial(_close, telemetry, out.budget, trail),
        about=fleet.about,
        faults=(ConfigError,),
    )
    settle()
    try:
        return serve(mine, work, _options(settings))
    except (ListenError, ValueError) as error:
        print(f"otelprobe: {error}", file=sys.stderr)
        return BAD_CONFIG
    finally:
        if claim is not None:
            claim.release()


def _shard(settings: Settings) -> Shard:
    """Give the shard as it is now; ConfigError if its number cannot be read."""
    try:
        return settings.shard.now()
    except ShardError as error:
        raise ConfigError([Fault("--shard", None, "", str(error))]) from None


def _claim(settings: Settings, shard: Shard) -> Claim | None:
    """Make sure that no other process runs this shard with this state directory; ConfigError if one does."""
    if settings.state_dir is None:
        return None
    try:
        return Claim(Path(settings.state_dir), shard)
    except ShardError as error:
        raise ConfigError([Fault("--state-dir", None, "", str(error))]) from None


class _Fleet:
    """The flows that this process runs, through reloads of the flow files and of the number of shards."""

    def __init__(self, settings: Settings, telemetry: Telemetry, tools: Tools, audit: Audit) -> None:
        self._audit = audit
        self._settings = settings
        self._telemetry = telemetry
        self._tools = tools
        self._shard = settings.shard

    def load(self) -> tuple[FlowPlan, ...]:
        """Read the files anew and give this shard's flows; ConfigError changes nothing."""
        config, plans = read_plans(self._settings)
        if config.audit != self._audit:
            _log.warning("the audit block was changed: that takes effect when otelprobe is started anew")
        shard = _shard(self._settings)
        mine = assigned(plans, shard)
        self.take(mine, shard, of=len(plans))
        return mine

    def take(self, mine: Sequence[FlowPlan], shard: Shard, *, of: int) -> None:
        """Get ready to run these flows."""
        self._shard = shard
        self._telemetry.register([plan.facts() for plan in mine])
        self._telemetry.scheduled(len(mine), shard.index, shard.count)
        warm_up(mine, self._tools)
        if not shard.exists:
            _log.warning(
                "there is no shard %d of %d yet: no flow is run here until %s says so",
                *(shard.index, shard.count, shard.count_file),
            )
        elif shard.count > 1:
            _log.info("shard %d of %d: %d of %d flows", shard.index, shard.count, len(mine), of)

    def about(self) -> Mapping[str, object]:
        """Tell which part of the flows is run here."""
        return {"shard": f"{self._shard.index}/{self._shard.count}"} if self._shard != ALL else {}


def _options(settings: Settings) -> ServeOptions:
    listen = settings.listen
    files = [Path(path) for path in settings.config]
    if settings.shard.count_file is not None:
        files.append(settings.shard.count_file)
    return ServeOptions(
        listen=None if listen is None else (listen.host, listen.port),
        watch=tuple(files),
        schedule=ScheduleOptions(workers=settings.workers, start_spread=settings.start_jitter),
    )


def _tell(telemetry: Telemetry, state: State, trail: "Trail", result: FlowResult) -> None:
    """Hand a result to telemetry, and log it in one line.

    What passes is logged at debug, so that the log shows what matters, unless the log is the only place to see it.
    """
    telemetry.publish(trail.take(result))
    if state.fault is not None:
        _log.warning("%s", state.fault)
        state.fault = None
    quiet = logging.INFO if telemetry.disabled else logging.DEBUG
    level = quiet if result.outcome is Outcome.PASS else logging.WARNING
    if not _log.isEnabledFor(level):
        return
    words = [f"flow={result.flow}", f"outcome={result.outcome}", f"duration={result.duration:.3f}s"]
    if result.reason is not None:
        words += [
            f"reason={result.reason}",
            f"blame={result.blame}",
            f"counts={result.counts}",
            f"step={result.failed_step}",
        ]
    words.append(f"trace_id={result.trace_id:032x}")
    fields = dict(word.split("=", 1) for word in words)
    detail = f' detail="{result.detail}"' if result.detail else ""
    _log.log(level, "%s%s", " ".join(words), detail, extra={"fields": fields})


def _close(telemetry: Telemetry, budget: float, trail: "Trail") -> None:
    trail.close()
    delivery = telemetry.close(budget)
    if not delivery.complete:
        lost = {s: c for s, c in delivery.as_dict().items() if c.get("failed") or c.get("spooled")}
        _log.warning("telemetry was not all delivered: %s", lost)

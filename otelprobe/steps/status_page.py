"""Read a provider's status page, so that its own word stands beside the flow's verdict: "we fail, and they admit it"."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from otelprobe.endings import DAY
from otelprobe.fields import Duration, Url
from otelprobe.http import Redirects, Reply
from otelprobe.pages import classify_page
from otelprobe.presets import StatusSource, status_source
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import VERDICTS, CheckFailed, Layer, Outcome, Reason
from otelprobe.result import ProviderStatus, Warn
from otelprobe.status_pages import Format, read_status, warm_up
from otelprobe.step import Context, Done, Step, filled

_ACCEPT = "application/json, application/atom+xml, application/rss+xml, application/xml;q=0.9, */*;q=0.5"
_LARGEST = 16 * 1024**2
"""Some of these documents hold the history of years."""


@dataclass(frozen=True, kw_only=True)
class StatusPage(Step):
    """Read what the provider's status page says. It never fails the flow: a problem that it admits is a warning.

    A page that cannot be read says nothing about the provider: its state is unknown, and that is a warning too.
    """

    kind: ClassVar[str] = "status_page"
    layer: ClassVar[Layer] = Layer.DEPENDENCY
    own_reasons: ClassVar[frozenset[Reason]] = frozenset({Reason.ASSERTION_FAILED, Reason.TOO_SLOW})
    default_redirects: ClassVar[Redirects] = Redirects.SAME_ORIGIN

    url: Url | None = None
    """Where the page's data are: `.../api/v2/summary.json` of a Statuspage, a feed, or a list of events; default: what the
    provider's preset knows.
    """

    format: Format = "auto"
    """What is read: `statuspage` (its JSON), `atom`, `rss`, `aws` (currentevents), `google` (incidents.json)."""

    component: str | None = None
    """The part that matters: name or id of a Statuspage component; for the other forms words that an entry must hold;
    default: where `url` is not set, as the preset has it, else the whole page.
    """

    max_age: Duration = 7 * DAY
    """Entries of a feed that are older are taken for closed, also where nobody wrote so."""

    always: bool = True
    """Runs also when an earlier step failed: then the page is most wanted."""

    def most_bytes(self) -> int | None:
        """Take what such documents have."""
        return _LARGEST

    def warm_up(self) -> None:
        """Import what feeds are read with."""
        warm_up()

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        source = self._source(provider)
        return (source.url,) if source is not None else ()

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url,) if self.url is not None else ()

    def misfits(self, provider: Provider | None) -> Iterator[tuple[str, str]]:
        """Say that nobody knows where the page is."""
        if self._source(provider) is None:
            yield "url", "missing: add url, for the preset of the flow's provider knows no status page"

    def _source(self, provider: Provider | None) -> StatusSource | None:
        """Give what is read: as written, else as the provider's preset has it."""
        if self.url is not None:
            return StatusSource(self.url, self.format, self.component)
        known = status_source(provider) if provider is not None else None
        return replace(known, component=self.component or known.component) if known is not None else None

    def run(self, ctx: Context) -> Done:
        """Fetch and read; only what is wrong with the flow file or the prober itself is raised."""
        source = self._source(ctx.provider)
        if source is None:
            raise LookupError("no status page is known")
        reply: Reply | None = None
        try:
            reply = self._fetch(ctx, source.url)
            reading = read_status(reply.text, source.format, source.component, ctx.now(), self.max_age)
        except CheckFailed as failed:
            if VERDICTS[failed.reason].outcome is Outcome.ERROR:
                raise
            return _unknown(f"{failed.reason.value}: {failed.detail}", source, reply)
        except ValueError as error:
            return _unknown(str(error), source, reply)
        if not reading.degraded:
            return Done(reply=reply, provider_status=ProviderStatus("operational", component=source.component))
        status = ProviderStatus("degraded", reading.detail, source.component)
        warning = Warn(Reason.PROVIDER_DEGRADED, reading.detail or "the page admits a problem")
        return Done(reply=reply, provider_status=status, warnings=(warning,))

    def _fetch(self, ctx: Context, url: str) -> Reply:
        headers = {"Accept": _ACCEPT}
        reply = ctx.send("GET", filled(ctx, url), headers=headers, safe_url=url, redirects=self.follow)
        page = classify_page(reply)
        if page is not None:
            raise CheckFailed(page, f"status {reply.status} with a page from in front of the status page")
        if reply.status != 200:
            raise CheckFailed(Reason.ASSERTION_FAILED, f"status {reply.status}")
        return reply


def _unknown(why: str, source: StatusSource, reply: Reply | None) -> Done:
    status = ProviderStatus("unknown", why, source.component)
    return Done(reply=reply, provider_status=status, warnings=(Warn(Reason.PROVIDER_STATUS_UNKNOWN, why),))

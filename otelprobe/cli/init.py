"""`otelprobe init`: a commented flow file from what a provider's discovery document or SAML metadata offer, or for a preset."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otelprobe.cli.inputs import BAD_CONFIG
from otelprobe.reasons import VERDICTS, CheckFailed, Reason

if TYPE_CHECKING:
    from otelprobe.cli.draft import Found
    from otelprobe.presets import PresetName
    from otelprobe.provider import Provider
    from otelprobe.step import Context, ProviderMetadata

_FAILED = 1
_DEADLINE = 20.0
_WELL_KNOWN = "/.well-known/"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "init",
        help="write a commented flow file from what a provider offers",
        description="Ask a provider what it offers and write a commented flow file that asks for as little as works."
        " Sends no credential. SAML metadata are known by what they are."
        " Presets: auth0, okta, entra, cognito, google, keycloak, hydra, github, generic.",
    )
    parser.add_argument(
        "source",
        metavar="ISSUER_OR_PRESET",
        help="an issuer's URL, the URL or file of SAML metadata, or the name of a preset",
    )
    parser.add_argument("--output-file", metavar="PATH", help="write it there, if there is no such file yet")
    parser.add_argument("--client-id", default="otelprobe", metavar="ID", help="the client's id (default: otelprobe)")
    parser.add_argument(
        "--secrets-dir",
        metavar="DIR",
        help="read secrets from files there, as a Secret is mounted (default: from variables)",
    )
    parser.add_argument("--entity-id", metavar="ID", help="the one to take of SAML metadata about many entities")
    parser.add_argument("--ca-file", metavar="PATH", help="CA certificates in PEM, for an issuer with a CA of its own")


def run(args: argparse.Namespace) -> int:
    """Write the file; 1 if the provider could not be asked, 2 if the arguments are wrong."""
    try:
        text, secrets = _proposal(args)
    except ValueError as error:
        print(f"otelprobe: {args.source!r} is neither a preset nor an issuer nor a file: {error}", file=sys.stderr)
        return BAD_CONFIG
    except CheckFailed as failed:
        print(f"otelprobe: {failed.reason.value}: {failed.detail}", file=sys.stderr)
        print(VERDICTS[failed.reason].help, file=sys.stderr)
        return BAD_CONFIG if failed.reason is Reason.CONFIG_ERROR else _FAILED
    return _write(text, args.output_file, secrets)


def _proposal(args: argparse.Namespace) -> tuple[str, str | None]:
    """Give the flow file, by what the source turns out to be, and where the secret goes that it needs."""
    from otelprobe.cli.draft import draft  # noqa: PLC0415 - only this command needs these
    from otelprobe.cli.draft_saml import draft_saml, is_metadata_url, read_source  # noqa: PLC0415
    from otelprobe.presets import PRESETS  # noqa: PLC0415

    source = args.source
    is_file = source not in PRESETS and "://" not in source and Path(source).is_file()

    secrets_dir = args.secrets_dir and args.secrets_dir.rstrip("/")

    def saml() -> tuple[str, None]:
        found = read_source(source, _context(args.ca_file), args.entity_id, is_file=is_file)
        return draft_saml(found, secrets_dir), None

    if is_file or is_metadata_url(source):
        return saml()
    try:
        found = dataclasses.replace(_find(source, args.client_id, args.ca_file), secrets_dir=secrets_dir)
        return draft(found), args.secrets_dir or "the environment"
    except CheckFailed as failed:
        if failed.reason not in {Reason.DISCOVERY_UNAVAILABLE, Reason.DISCOVERY_INVALID}:
            raise
        first = failed
    try:
        return saml()
    except CheckFailed:
        pass
    raise first


def _write(text: str, path: str | None, secrets: str | None) -> int:
    if path is None:
        sys.stdout.write(text)
        return 0
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"otelprobe: {path}: {error.strerror}", file=sys.stderr)
        return BAD_CONFIG
    first = f"put the client's secret into {secrets}, then " if secrets is not None else ""
    print(f"{path} is written: {first}otelprobe once {path}")
    return 0


def _find(source: str, client_id: str, ca_file: str | None) -> "Found":
    """Find out what there is to know: of a preset what is known beforehand, of an issuer what it says itself."""
    from otelprobe.cli.draft import Found  # noqa: PLC0415 - only this command needs it
    from otelprobe.fields import parse_url  # noqa: PLC0415 - as above
    from otelprobe.presets import PRESETS, recognise  # noqa: PLC0415 - as above

    for name, preset in PRESETS.items():
        if source == name and ("/" not in preset.issuer.removeprefix("https://") and preset.hosts):
            return _of_issuer(preset.issuer, name, client_id, ca_file)
        if source == name:
            return Found(name, preset.issuer, {}, client_id)
    issuer = str(parse_url(source)).partition(_WELL_KNOWN)[0]
    return _of_issuer(issuer, recognise(issuer), client_id, ca_file)


def _of_issuer(issuer: str, name: "PresetName", client_id: str, ca_file: str | None) -> "Found":
    from otelprobe.cli.draft import Found  # noqa: PLC0415 - only this command needs it
    from otelprobe.presets import PRESETS  # noqa: PLC0415 - as above

    if not PRESETS[name].discovered:
        return Found(name, issuer, {}, client_id)
    metadata = _discover(issuer, name, ca_file)
    named = str(metadata.document.get("issuer"))
    # A tenant that is written as a place-holder is no issuer to compare with.
    issuer = metadata.issuer if "{" in named else named
    if name == "generic" and any(member.startswith("credentials_") for member in metadata.document):
        name = "hydra"
    return Found(name, issuer, metadata.document, client_id)


def _discover(issuer: str, name: "PresetName", ca_file: str | None) -> "ProviderMetadata":
    """Fetch the discovery document; a slash at the end, missing or too much, is mended, for it can be found out."""
    other = issuer.removesuffix("/") if issuer.endswith("/") else f"{issuer}/"
    try:
        return _fetch(issuer, name, ca_file)
    except CheckFailed as failed:
        if failed.reason is not Reason.DISCOVERY_ISSUER_MISMATCH:
            raise
        first = failed
    try:
        return _fetch(other, name, ca_file)
    except CheckFailed:
        pass
    raise first


def _fetch(issuer: str, name: "PresetName", ca_file: str | None) -> "ProviderMetadata":
    from otelprobe.provider import Provider  # noqa: PLC0415 - only what asks a provider needs these
    from otelprobe.step import ProviderMetadata  # noqa: PLC0415
    from otelprobe.steps.discover import Discover  # noqa: PLC0415

    made = Discover(name="discover").run(_context(ca_file, Provider(issuer=issuer, preset=name))).makes
    return next(artifact for artifact in made if isinstance(artifact, ProviderMetadata))


def _context(ca_file: str | None, provider: "Provider | None" = None) -> "Context":
    from otelprobe.clock import SystemClock  # noqa: PLC0415 - only what asks a provider needs these
    from otelprobe.fields import DEFAULT_HTTP, HttpOptions  # noqa: PLC0415
    from otelprobe.http import LiveHttp, Wire  # noqa: PLC0415
    from otelprobe.run import RandomIds  # noqa: PLC0415
    from otelprobe.state import Memory, State  # noqa: PLC0415
    from otelprobe.step import Context  # noqa: PLC0415

    clock, ids = SystemClock(), RandomIds()
    return Context(
        http=LiveHttp(clock),
        wire=Wire(ids.trace_id(), ids.span_id),
        clock=clock,
        state=State(None),
        memory=Memory(),
        options=HttpOptions(ca_file=ca_file).over(DEFAULT_HTTP),
        deadline=clock.monotonic() + _DEADLINE,
        flow="init",
        provider=provider,
    )

"""`otelprobe init`: a commented flow file from what a provider's discovery document offers, or for a preset."""

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
    from otelprobe.step import ProviderMetadata

_FAILED = 1
_DEADLINE = 20.0
_WELL_KNOWN = "/.well-known/"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "init",
        help="write a commented flow file from what a provider offers",
        description="Ask a provider what it offers and write a commented flow file that asks for as little as works."
        " Sends no credential. Presets: auth0, okta, entra, cognito, google, keycloak, hydra, github, generic.",
    )
    parser.add_argument("source", metavar="ISSUER_OR_PRESET", help="an issuer's URL, or the name of a preset")
    parser.add_argument("--output-file", metavar="PATH", help="write it there, if there is no such file yet")
    parser.add_argument("--client-id", default="otelprobe", metavar="ID", help="the client's id (default: otelprobe)")
    parser.add_argument(
        "--secrets-dir",
        metavar="DIR",
        help="read secrets from files there, as a Secret is mounted (default: from variables)",
    )
    parser.add_argument("--ca-file", metavar="PATH", help="CA certificates in PEM, for an issuer with a CA of its own")


def run(args: argparse.Namespace) -> int:
    """Write the file; 1 if the provider could not be asked, 2 if the arguments are wrong."""
    from otelprobe.cli.draft import draft  # noqa: PLC0415 - only this command needs it

    try:
        found = _find(args.source, args.client_id, args.ca_file)
    except ValueError as error:
        print(f"otelprobe: {args.source!r} is neither a preset nor an issuer: {error}", file=sys.stderr)
        return BAD_CONFIG
    except CheckFailed as failed:
        print(f"otelprobe: {failed.reason.value}: {failed.detail}", file=sys.stderr)
        print(VERDICTS[failed.reason].help, file=sys.stderr)
        return BAD_CONFIG if failed.reason is Reason.CONFIG_ERROR else _FAILED
    found = dataclasses.replace(found, secrets_dir=args.secrets_dir and args.secrets_dir.rstrip("/"))
    return _write(draft(found), args.output_file, args.secrets_dir or "the environment")


def _write(text: str, path: str | None, secrets: str) -> int:
    if path is None:
        sys.stdout.write(text)
        return 0
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"otelprobe: {path}: {error.strerror}", file=sys.stderr)
        return BAD_CONFIG
    print(f"{path} is written: put the client's secret into {secrets}, then otelprobe once {path}")
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
    from otelprobe.clock import SystemClock  # noqa: PLC0415 - only what asks a provider needs these
    from otelprobe.fields import DEFAULT_HTTP, HttpOptions  # noqa: PLC0415
    from otelprobe.http import LiveHttp, Wire  # noqa: PLC0415
    from otelprobe.provider import Provider  # noqa: PLC0415
    from otelprobe.run import RandomIds  # noqa: PLC0415
    from otelprobe.state import Memory, State  # noqa: PLC0415
    from otelprobe.step import Context, ProviderMetadata  # noqa: PLC0415
    from otelprobe.steps.discover import Discover  # noqa: PLC0415

    clock, ids = SystemClock(), RandomIds()
    ctx = Context(
        http=LiveHttp(clock),
        wire=Wire(ids.trace_id(), ids.span_id),
        clock=clock,
        state=State(None),
        memory=Memory(),
        options=HttpOptions(ca_file=ca_file).over(DEFAULT_HTTP),
        deadline=clock.monotonic() + _DEADLINE,
        flow="init",
        provider=Provider(issuer=issuer, preset=name),
    )
    made = Discover(name="discover").run(ctx).makes
    return next(artifact for artifact in made if isinstance(artifact, ProviderMetadata))

"""What `validate` looks for on this machine beyond the text: secrets and files that the flow files name and that are missing.

Not part of loading: at run time a missing secret stops the flows that need it, with a reason of its own, and no others.
"""

import os
from collections.abc import Iterator
from pathlib import Path as FilePath

from otelprobe.config.faults import Fault
from otelprobe.config.models import Config, Place
from otelprobe.fields import HttpOptions, SecretRef
from otelprobe.reasons import CheckFailed

_HTTP_FILES = ("ca_file", "client_cert", "client_key")
_TELEMETRY_FILES = ("certificate", "client_certificate", "client_key")


def check_secrets(config: Config) -> list[Fault]:
    """Name every secret that cannot be read here and now: variables that are not set, files that are missing or empty."""
    return [fault for place, path, secret in _secrets(config) for fault in _unreadable(place, path, secret)]


def check_files(config: Config) -> list[Fault]:
    """Name every certificate or key file that cannot be read here and now."""
    return [
        place.fault(path, f"{why}: mount the file or mend the path")
        for place, path, file in _files(config)
        if (why := _why_unreadable(file))
    ]


def _unreadable(place: Place, path: tuple[str | int, ...], secret: SecretRef) -> Iterator[Fault]:
    try:
        secret.read()
    except CheckFailed as failed:
        yield place.fault(path, f"{failed.detail}: provide it where otelprobe runs")


def _secrets(config: Config) -> Iterator[tuple[Place, tuple[str | int, ...], SecretRef]]:
    for name, provider in config.providers.items():
        for member, secret in provider.secrets():
            yield config.provider_places[name], tuple(member.split(".")), secret
        for secret in provider.http.secrets():
            yield config.provider_places[name], ("http", "headers"), secret
    for flow in config.flows:
        for secret in flow.http.secrets():
            yield config.flow_places[flow.name], ("http", "headers"), secret
        for index, step in enumerate(flow.steps):
            for secret in (*step.secrets(), *step.http.secrets()):
                yield config.flow_places[flow.name], ("steps", index), secret
    yield from _block_secrets(config)


def _block_secrets(config: Config) -> Iterator[tuple[Place, tuple[str | int, ...], SecretRef]]:
    """Give the secrets of the blocks that stand in one file only."""
    if config.telemetry_place is not None:
        for name, value in config.telemetry.headers.items():
            if isinstance(value, SecretRef):
                yield config.telemetry_place, ("headers", name), value
    if config.audit_place is not None:
        for member, secret in config.audit.secrets():
            yield config.audit_place, tuple(member.split(".")), secret


def _files(config: Config) -> Iterator[tuple[Place, tuple[str | int, ...], str]]:
    for name, provider in config.providers.items():
        for key, file in _http_files(provider.http):
            yield config.provider_places[name], ("http", key), file
        for key, file in provider.files():
            yield config.provider_places[name], tuple(key.split(".")), file
    for flow in config.flows:
        place = config.flow_places[flow.name]
        for key, file in _http_files(flow.http):
            yield place, ("http", key), file
        for index, step in enumerate(flow.steps):
            for key, file in _http_files(step.http):
                yield place, ("steps", index, "http", key), file
            for key, file in step.files():
                yield place, ("steps", index, *key.split(".")), file
    if config.telemetry_place is not None:
        for key in _TELEMETRY_FILES:
            if getattr(config.telemetry, key) is not None:
                yield config.telemetry_place, (key,), getattr(config.telemetry, key)


def _http_files(http: HttpOptions) -> Iterator[tuple[str, str]]:
    for key in _HTTP_FILES:
        file = getattr(http, key)
        if file is not None:
            yield key, file


def _why_unreadable(file: str) -> str | None:
    path = FilePath(file)
    if not path.exists():
        return f"no such file {file}"
    if path.is_dir():
        return f"{file} is a directory"
    return None if os.access(path, os.R_OK) else f"file {file} cannot be read by this user"

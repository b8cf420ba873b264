"""An embedded identity provider and API with switchable faults, for `otelprobe demo` and for the tests.

It plays somebody else's servers: nothing in here uses the rest of otelprobe. It is a real authorization server, built on
Authlib, joserfc and Flask (the extra `demo`), and listens on loopback only unless told otherwise. Not for production.
"""

from collections.abc import Collection
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from otelprobe.demo.faults import FAULTS, Fault, UnknownFaultError, check_faults

if TYPE_CHECKING:
    from otelprobe.demo.server import Demo

__all__ = ["FAULTS", "DemoExtraMissingError", "Fault", "UnknownFaultError", "check_faults", "flow_yaml", "start_demo"]

_EXTRA = ("authlib", "flask", "joserfc")


class DemoExtraMissingError(ImportError):
    """The libraries of the extra `demo` are not installed."""


def start_demo(faults: Collection[str] = (), *, tls: bool = False, host: str = "127.0.0.1", port: int = 0) -> "Demo":
    """Start provider and API, with these faults on, and give the running demo; use it in a `with` block or call `stop`.

    `port` is the provider's, the API takes the next one; 0 chooses two free ones. A fault that needs TLS turns it on.
    UnknownFaultError for a wrong name, DemoExtraMissingError without the libraries, OSError if a port is taken.
    """
    if any(find_spec(name) is None for name in _EXTRA):
        raise DemoExtraMissingError("the demo needs more libraries: pip install 'otelprobe[demo]'")
    from otelprobe.demo.server import Demo  # noqa: PLC0415 - 0.5 s that `--list-faults` need not pay

    return Demo(faults, tls=tls, host=host, port=port)


def flow_yaml(demo: "Demo") -> str:
    """Give the text of the demo's flow file; its secrets are read from the variables of `demo.environment`."""
    text = Path(__file__).with_name("flow.yaml").read_text(encoding="utf-8")
    values = {
        "__ISSUER__": demo.issuer,
        "__API_URL__": demo.api_url,
        "__CLIENT_ID__": demo.client_id,
        "__USERNAME__": demo.username,
        "__HTTP__": "{timeout: 2s}" if demo.ca_file is None else f"{{timeout: 2s, ca_file: {dumps(demo.ca_file)}}}",
    }
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text

"""Keys at a URL of ours, plain http, old TLS and a burst, at services and servers that nobody here wrote, right and wrong."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from otelprobe.fields import DEFAULT_HTTP
from otelprobe.reasons import Reason
from otelprobe.rejection.listener import Listener
from otelprobe.result import Fact
from otelprobe.state import State
from otelprobe.step import Context
from otelprobe.steps.reject import Reject
from tests.conftest import Server
from tests.stack import validators
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process
from tests.stack.test_validators import jwks, start, token
from tests.steps.test_reject_cases import findings
from tests.token_kit import World, jwk

__all__ = ["jwks"]

FOLLOWING = [kind for kind in validators.KINDS if "follow" not in validators.CANNOT.get(kind, ())]
KEY_URLS = ("key_url", "certificate_url")


def context(url: str, folder: Path, **options: Any) -> Context:
    """Give a run a good token, its key, and a state in which slow cases are due."""
    world = World(url, state=State(folder / "state"))
    world.clock.now = time.time()
    published = world.key_set(jwk("RS256", kid="k0", use="sig", alg="RS256"))
    return replace(world.context(published, world.tokens(token())), options=replace(DEFAULT_HTTP, **options))


def attack(url: str, *cases: str, **more: Any) -> Reject:
    """Offer intrusive cases."""
    return Reject(name="reject", url=url, cases=cases, allow_intrusive=True, intrusive_hosts=("127.0.0.1",), **more)


def listener() -> Listener:
    """Name a listener of our own."""
    (port,) = free_ports(1)
    return Listener(url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("kind", FOLLOWING)
@pytest.mark.parametrize("follow", ["believed", "fetched"])
def test_a_service_that_follows_a_token_to_its_key(kind: str, follow: Any, jwks: Server, tmp_path: Path) -> None:
    """jose, jsonwebtoken with jwks-rsa, PyJWT's JWKS client and joserfc: believed is critical, fetched only is a finding."""
    with start(kind, jwks, tmp_path, follow=follow) as service:
        accepted, done, failed = findings(
            attack(service.url, *KEY_URLS, listener=listener()), context(service.url, tmp_path)
        )
    assert accepted == (set(KEY_URLS) if follow == "believed" else set())
    assert [(case.case, case.fetched) for case in done.cases] == [(case, True) for case in KEY_URLS]
    assert failed is not None
    assert failed.reason is (Reason.REJECTION_ACCEPTED if follow == "believed" else Reason.KEY_URL_FETCHED)


@pytest.mark.parametrize("kind", validators.KINDS)
def test_a_service_as_it_should_be(kind: str, jwks: Server, tmp_path: Path) -> None:
    """None of the libraries follows `jku` or `x5u` unless it is told to; none limits a rate by itself."""
    with start(kind, jwks, tmp_path) as service:
        reject = attack(service.url, *KEY_URLS, "burst", listener=listener())
        accepted, done, failed = findings(reject, context(service.url, tmp_path))
    assert (accepted, failed) == (set(), None)
    assert [(case.case, case.fetched) for case in done.cases] == [
        *((case, False) for case in KEY_URLS),
        ("burst", None),
    ]
    assert (done.facts[Fact.REJECTION_BURST], done.facts[Fact.REJECTION_LIMITED]) == (20, False)
    assert [w.reason for w in done.warnings] == [Reason.RATE_LIMIT_UNSEEN]


@pytest.mark.parametrize("kind", validators.NODE)
def test_a_service_with_a_rate_limit(kind: str, jwks: Server, tmp_path: Path) -> None:
    """express-rate-limit answers 429 after ten requests, two of which were the good ones."""
    with start(kind, jwks, tmp_path, limit=10) as service:
        accepted, done, failed = findings(attack(service.url, "burst"), context(service.url, tmp_path))
    assert (accepted, failed, done.warnings) == (set(), None, ())
    assert (done.facts[Fact.REJECTION_BURST], done.facts[Fact.REJECTION_LIMITED]) == (9, True)
    assert [(case.case, case.status) for case in done.cases] == [("burst", 429)]


@pytest.fixture
def certified(tmp_path: Path) -> tuple[str, str]:
    """Give the files of a CA, and of a certificate with its key."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    return str(tmp_path / "ca.pem"), str(tmp_path / "server.pem")


def s_server(folder: Path, pem: str, *options: str) -> tuple[Process, str]:
    """Start OpenSSL's own server, which answers every request with a page; give its URL."""
    (port,) = free_ports(1)
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-cert", pem, "-key", pem, *options]
    log = folder / f"s_server-{port}.log"
    # A machine's own policy for TLS must not decide what this server speaks.
    server = Process("s_server", command, log=log, environment={"OPENSSL_CONF": os.devnull})
    server.wait_until(lambda: "ACCEPT" in log.read_text(), 10)
    return server, f"https://127.0.0.1:{port}/v1/orders"


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        (("-cipher", "ALL:@SECLEVEL=0", "-min_protocol", "TLSv1"), {"tls_1_0", "tls_1_1"}),
        (("-cipher", "ALL:@SECLEVEL=0", "-min_protocol", "TLSv1.1"), {"tls_1_1"}),
        (("-cipher", "ALL:@SECLEVEL=2", "-min_protocol", "TLSv1"), set()),
        (("-min_protocol", "TLSv1.2"), set()),
        (("-tls1_3",), set()),
        ((), set()),
    ],
)
def test_old_tls_at_openssl(
    options: tuple[str, ...], taken: set[str], certified: tuple[str, str], tmp_path: Path
) -> None:
    """What is found is what the server's own settings let through; another client that knows old TLS agrees."""
    ca_file, pem = certified
    server, url = s_server(tmp_path, pem, *options)
    with server:
        reject = Reject(name="reject", url=url, cases=("tls_1_0", "tls_1_1"))
        accepted, done, failed = findings(reject, context(url, tmp_path, ca_file=ca_file))
        port = url.split(":")[2].partition("/")[0]
        own = {
            word for word, option in (("tls_1_0", "-tls1"), ("tls_1_1", "-tls1_1")) if _agree(tmp_path, port, option)
        }
    assert accepted == taken == own
    assert len(done.cases) == 2
    assert (failed is None) is (not taken)


def _agree(folder: Path, port: str, version: str) -> bool:
    """Ask OpenSSL's own client whether the server agrees to a version."""
    log = folder / f"s_client{version}.log"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-cipher", "ALL:@SECLEVEL=0"]
    with Process("s_client", command, log=log, environment={"OPENSSL_CONF": os.devnull}) as client:
        ends = time.monotonic() + 10
        while client.running and time.monotonic() < ends:
            time.sleep(0.02)
    return "Cipher is (NONE)" not in log.read_text()


def test_plain_http_at_real_servers(certified: tuple[str, str], jwks: Server, tmp_path: Path) -> None:
    """A TLS port refuses plain http; an Express service that serves the API by plain http beside it is found by its challenge."""
    ca_file, pem = certified
    server, url = s_server(tmp_path, pem)
    with server, start("jose", jwks, tmp_path) as service:
        verdicts = [
            findings(
                Reject(name="reject", url=url, cases=("plain_http",), plain_url=plain),
                context(url, tmp_path, ca_file=ca_file),
            )
            for plain in (None, service.url)
        ]
    assert [accepted for accepted, _, _ in verdicts] == [set(), {"plain_http"}]
    assert [done.cases[0].status for _, done, _ in verdicts] == [None, 401]

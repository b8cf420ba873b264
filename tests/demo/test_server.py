"""The demo as a whole: quiet, on free ports, over TLS too, and gone without a trace when it stops."""

import ast
import logging
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml

import otelprobe.demo
from otelprobe.demo import DemoExtraMissingError, flow_yaml, start_demo
from tests.demo.conftest import Visitor


def port_of(url):
    return urlsplit(url).port


def secrets_of(demo, *tokens):
    return [demo.client_secret, demo.password, demo.api_key, demo.login_key, *tokens]


def test_ports_are_freed_and_threads_end():
    """After stop, both ports can be taken by others, nothing listens, no thread is left; stop may be called again."""
    before = set(threading.enumerate())
    demo = start_demo()
    Visitor(demo).tokens()
    ports = [port_of(demo.issuer), port_of(demo.api_url)]
    demo.stop()
    demo.stop()
    assert set(threading.enumerate()) == before
    for port in ports:
        with socket.socket() as free, socket.socket() as caller:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            assert caller.connect_ex(("127.0.0.1", port)) != 0
            free.bind(("127.0.0.1", port))


@pytest.mark.parametrize("fault", ["token-hanging", "trickling-body", "huge-body", "slow-token"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_stop_ends_what_still_waits(fault, tls):
    """A request that a fault holds up ends at stop, soon, and its thread with it."""
    before = set(threading.enumerate())
    with start_demo([fault], tls=tls) as demo, ThreadPoolExecutor(1) as pool:
        visitor = Visitor(demo)
        url, form, headers = f"{demo.issuer}/token", {"grant_type": "client_credentials"}, visitor.basic()
        stuck = pool.submit(visitor.http.post, url, data=form, headers=headers, timeout=30, stream=True)
        held = len(before) + 4  # two listeners, this pool's thread and the server's worker
        while not stuck.done() and len(threading.enumerate()) < held:
            time.sleep(0.005)  # the log tells of a request only when it is answered
        start = time.monotonic()
        demo.stop()
        assert time.monotonic() - start < 4
        _ = stuck.exception(timeout=2) or stuck.result().close()
        visitor.close()
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_stop_ends_a_silent_connection(tls):
    """A client that connects and says nothing, not even a TLS greeting, does not hold up the stop."""
    before = set(threading.enumerate())
    with start_demo(tls=tls) as demo, socket.create_connection(("127.0.0.1", port_of(demo.issuer)), timeout=5):
        visitor = Visitor(demo)
        visitor.discover()  # answered after the silent one was accepted
        visitor.close()
        start = time.monotonic()
        demo.stop()
        assert time.monotonic() - start < 4
    assert set(threading.enumerate()) == before


def test_fixed_ports_and_a_taken_one():
    """A given port is the provider's, the next one the API's; a taken port is named in the error and nothing stays."""
    with start_demo() as demo:
        taken = port_of(demo.issuer)
        before = set(threading.enumerate())
        with pytest.raises(OSError, match=f"cannot take port {taken} on 127.0.0.1"):
            start_demo(port=taken)
        assert set(threading.enumerate()) == before


def test_tls_is_verified_with_the_ca():
    """With TLS both servers are trusted through `ca_file` alone, and the API fetches the keys over TLS too."""
    with start_demo(tls=True) as demo:
        visitor = Visitor(demo)
        assert demo.issuer.startswith("https://")
        token = visitor.tokens()["access_token"]
        visitor.verify(token)
        assert visitor.call("/orders", token).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            visitor.http.get(demo.issuer, verify=True, timeout=5)
        folder = Path(demo.ca_file).parent
        assert [p.name for p in folder.iterdir()] == ["ca.pem"]
        visitor.close()
    assert not folder.exists()


@pytest.mark.parametrize("fault", ["token-closed", "huge-body", "trickling-body"])
def test_client_that_hangs_up_leaves_no_noise(fault, caplog, capfd):
    """A connection that breaks, on TLS too, writes nothing to the log or the terminal."""
    caplog.set_level(logging.DEBUG)
    with start_demo([fault], tls=True) as demo:
        visitor = Visitor(demo)
        form = {"grant_type": "client_credentials"}
        try:
            with visitor.http.post(
                f"{demo.issuer}/token", data=form, headers=visitor.basic(), timeout=2, stream=True
            ) as response:
                next(response.iter_content(64))
        except requests.ConnectionError:
            assert fault == "token-closed"
        visitor.close()
    assert [r for r in caplog.records if not r.name.startswith("urllib3")] == []
    assert capfd.readouterr() == ("", "")


def test_no_secret_in_logs_reprs_or_request_log(caplog, capfd):
    """Whatever the log level, no secret or token reaches a log, the terminal, a repr, the request log or the flow file."""
    caplog.set_level(logging.DEBUG)
    with start_demo() as demo:
        visitor = Visitor(demo)
        granted = visitor.tokens()
        visitor.call("/orders", granted["access_token"])
        visitor.http.get(f"{demo.api_url}/key", params={"api_key": demo.api_key}, timeout=5)
        again = visitor.refresh(granted["refresh_token"]).json()
        visitor.ask("revocation", again["access_token"])
        visitor.close()
        said = [r.getMessage() for r in caplog.records if not r.name.startswith("urllib3")]
        said += [*capfd.readouterr(), repr(demo), repr(demo.accounts), repr(demo.requests), flow_yaml(demo)]
        every = secrets_of(demo, granted["access_token"], granted["refresh_token"], again["access_token"])
        assert not [s for s in every for text in said if s in text]
        assert len(demo.requests) > 5


def test_requests_are_logged_with_trace_and_status(demo, visitor):
    """The log has server, method, path without query, traceparent and status, in order."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    visitor.http.get(f"{demo.api_url}/health", params={"secret": "x"}, headers={"traceparent": trace}, timeout=5)
    visitor.call("/orders")
    seen = [(r.server, r.method, r.path, r.traceparent, r.status) for r in demo.requests]
    assert seen == [("api", "GET", "/health", trace, 200), ("api", "GET", "/orders", None, 401)]
    demo.set_faults(["token-closed"])
    with pytest.raises(requests.ConnectionError):
        visitor.token_response()
    assert (demo.requests[-1].path, demo.requests[-1].status) == ("/demo/token", None)


def test_many_clients_at_once(visitor):
    """Parallel clients all get their own token and answer."""

    def once(_):
        return visitor.call("/orders", visitor.tokens()["access_token"]).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(once, range(24))) == {200}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_flow_file_names_this_demo(tls):
    """The flow file is YAML with this demo's addresses, no placeholder left, and its secrets from the environment."""
    with start_demo(tls=tls) as demo:
        text = flow_yaml(demo)
        document = yaml.safe_load(text)
        assert "__" not in text
        provider, (flow,) = document["providers"]["demo"], document["flows"]
        assert (provider["issuer"], provider["client_id"]) == (demo.issuer, demo.client_id)
        assert provider["http"].get("ca_file") == flow["http"].get("ca_file") == demo.ca_file
        kinds = [step["step"] for step in flow["steps"]]
        assert kinds == ["discover", "keys", "token", "verify", "call", "reject", "refresh", "introspect", "revoke"]
        assert {provider["client_secret"]["env"], flow["steps"][2]["password"]["env"]} == set(demo.environment)


def test_missing_extra_says_what_to_install(monkeypatch):
    """Without the libraries of the extra there is one line that says how to get them."""
    monkeypatch.setitem(sys.modules, "authlib", None)
    with pytest.raises(
        DemoExtraMissingError, match=r"^the demo needs more libraries: pip install 'otelprobe\[demo\]'$"
    ):
        start_demo()


def test_it_is_somebody_elses_server():
    """The demo uses nothing of otelprobe but its version: it must not agree with it by sharing its code."""
    foreign = set()
    for path in Path(otelprobe.demo.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                foreign |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                foreign |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in foreign if name.startswith("otelprobe") and not name.startswith("otelprobe.demo")}
    assert ours == {"otelprobe.__version__"}

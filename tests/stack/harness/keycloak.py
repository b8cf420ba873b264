"""Keycloak from Maven Central, with realms like tests/stack/keycloak/realm.json, each run with a store of its own.

What a start in development mode would do anew each time, half a minute of processor time, is done once and kept: its
build options are fixed, and its tables, its administrator and the realms are in a store that each run gets a copy of.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.stack.harness import cache
from tests.stack.harness.faults import StackError
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers, eventually

VERSION = "26.7.0"
REALM, REALM_REUSE = "shop", "shop-reuse"
"""Refresh rotation is on in the first and off in the second."""

KEY_PROVIDER = "org.keycloak.keys.KeyProvider"

ADMIN, ADMIN_PASSWORD = "admin", "keycloak-admin-canary"
SECRET = "keycloak client+secret/canary%"
USER, PASSWORD = "ann", "keycloak-password-canary"

_REALM_FILE = Path(__file__).resolve().parents[1] / "keycloak" / "realm.json"
_ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
_READY_SECONDS = 240.0

_BUILD_OPTIONS = ("--db=dev-file", "--health-enabled=true", "--https-client-auth=request")


def obtain() -> Path:
    """Give the distribution with its options and a store to copy; download it at first use (176 MB)."""
    return cache.entry(_entry(), _make) / f"keycloak-{VERSION}"


def _entry() -> str:
    made_of = [_REALM_FILE.read_bytes(), *(option.encode() for option in _BUILD_OPTIONS)]
    return f"keycloak-{VERSION}-{hashlib.sha256(b' '.join(made_of)).hexdigest()[:12]}"


def java() -> str:
    """Give the path of Java. StackError unless it is 17 or newer."""
    found = cache.need("java", "install a JDK, 17 or newer")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    words = told.split('"')
    major = words[1].split(".")[0] if len(words) > 1 else ""
    if not major.isdigit() or int(major) < 17:
        raise StackError(f"make test-stack needs Java 17 or newer, found {told.splitlines()[0] if told else 'none'}")
    return found


def _make(folder: Path) -> None:
    java()
    maven = cache.need("mvn", "install Maven")
    command = [maven, "-q", "-B", _PLUGIN, f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}"]
    cache.build(_entry(), command, folder=folder)
    (archive,) = folder.glob("*.zip")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    archive.unlink()
    home = folder / f"keycloak-{VERSION}"
    cache.build(_entry(), ["sh", str(home / "bin" / "kc.sh"), "build", *_BUILD_OPTIONS], folder=folder)
    _fill(home)


def _fill(home: Path) -> None:
    """Start it once, so that its store holds the administrator and the realms."""
    (home / "data" / "import").mkdir(parents=True)
    for made in (realm(REALM), realm(REALM_REUSE, revokeRefreshToken=False)):
        (home / "data" / "import" / f"{made['realm']}.json").write_text(json.dumps(made), encoding="utf-8")
    _Server(home, home.parent / "first-start.log", "--import-realm").stop(60)
    shutil.rmtree(home / "data" / "import")


def _home(folder: Path) -> Path:
    """Make a home whose `data` is this run's own and whose programs are the cache's."""
    source, home = obtain(), folder / "keycloak"
    (home / "bin").mkdir(parents=True)
    shutil.copy(source / "bin" / "kc.sh", home / "bin")  # a link would make the cache the home
    for name in ("conf", "lib", "providers"):
        (home / name).symlink_to(source / name)
    shutil.copytree(source / "data", home / "data")
    return home


def realm(name: str, **settings: object) -> dict[str, Any]:
    """Give a realm like tests/stack/keycloak/realm.json with other settings, and with keys to sign and to encrypt."""
    like = json.loads(_REALM_FILE.read_text(encoding="utf-8"))
    keys = [signing_key("signing"), _key("encryption", "rsa-enc", "RSA-OAEP", 100)]
    return {**like, "components": {KEY_PROVIDER: keys}, "realm": name, **settings}


def signing_key(name: str, priority: int = 100) -> Mapping[str, object]:
    """Give the component of a new key; of several, that of the highest priority signs."""
    return _key(name, "rsa", "RS256", priority)


def _key(name: str, kind: str, algorithm: str, priority: int) -> Mapping[str, object]:
    config = {"privateKey": [_private_key()], "algorithm": [algorithm], "priority": [str(priority)]}
    return {"name": name, "providerId": kind, "config": config}


def _private_key() -> str:
    """Draw a key here: a young JVM takes seconds for one."""
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@dataclass(frozen=True, slots=True)
class Tls:
    """What a Keycloak needs to speak TLS and to ask for client certificates: its certificate and key, and whom to trust."""

    certificate: Path
    key: Path
    authority: Path

    def options(self, port: int) -> tuple[str, ...]:
        """Give its options; plain http stays for the administrator."""
        return (
            *(f"--https-port={port}", f"--https-trust-store-file={self.authority}"),
            *(f"--https-certificate-file={self.certificate}", f"--https-certificate-key-file={self.key}"),
        )


class _Server(Process):
    """One that runs in a home; `url` is plain http, `secure_url` answers where there are options for TLS."""

    def __init__(self, home: Path, log: Path, *options: str, tls: Tls | None = None) -> None:
        self._port, management, secure = free_ports(3)
        self.url = f"http://127.0.0.1:{self._port}"
        self.secure_url = f"https://127.0.0.1:{secure}"
        command: list[str | Path] = [
            *("sh", home / "bin" / "kc.sh", "start", "--optimized", "--cache=local", "--hostname-strict=false"),
            *("--http-enabled=true", "--http-host=127.0.0.1", f"--http-port={self._port}"),
            *(f"--http-management-port={management}", *options),
            *(tls.options(secure) if tls is not None else ()),
        ]
        environment = {
            "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "JAVA_OPTS_APPEND": "-Xmx512m -XX:TieredStopAtLevel=1",  # it lives too briefly to gain from more compiling
        }
        super().__init__("keycloak", command, log=log, environment=environment)
        self.wait_until(answers(f"{self.issuer(REALM)}/.well-known/openid-configuration"), _READY_SECONDS)

    def issuer(self, realm: str = REALM) -> str:
        """Give a realm's issuer."""
        return f"{self.url}/realms/{realm}"


class Keycloak(_Server):
    """A Keycloak of its own. `issuer` gives the issuer of a realm; with `tls` it listens at `secure_url` too."""

    def __init__(self, folder: Path, tls: Tls | None = None) -> None:
        java()
        super().__init__(_home(folder), folder / "keycloak.log", tls=tls)

    def freeze(self) -> None:
        """Stop it in its tracks: connections are still taken by the kernel, nothing is answered."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def crash(self) -> None:
        """Kill it, and come back when its port refuses connections."""
        self.kill()

        def refused() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self._port)) != 0

        eventually(refused, 10, "refusal by the port of a dead server")

"""blackbox_exporter, the peer that is measured beside us: found or fetched once, run on a port of its own, and asked.

It probes when it is asked to, as Prometheus does at every scrape; `Prometheus` below plays that part.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from rig.processes import ROOT, environment

_PACKAGE = "prometheus-blackbox-exporter"
_ADDRESS = re.compile(r"Listening on\W.*address=(\S+:\d+)")
_SAMPLE = re.compile(r"^(probe_[a-z_]+)(?:\{phase=\"([a-z]+)\"\})? (\S+)$", re.MULTILINE)


def binary() -> tuple[Path, str]:
    """Give the program that the stack tests build with Go, and its version; where it cannot be built, Debian's."""
    sys.path.insert(0, str(ROOT))
    from tests.stack.harness.blackbox import MODULE  # noqa: PLC0415 - found by the line above
    from tests.stack.harness.cache import root  # noqa: PLC0415
    from tests.stack.harness.faults import StackError  # noqa: PLC0415

    try:
        return MODULE.obtain() / "blackbox_exporter", MODULE.version
    except StackError as error:
        print(f"{error}; trying Debian's package", file=sys.stderr)
    kept = root() / "bin" / _PACKAGE
    found = kept if kept.is_file() else shutil.which(_PACKAGE) or _unpack(kept)
    if found is None:
        raise SystemExit(f"blackbox_exporter is needed: install Go 1.26 or newer, or Debian's {_PACKAGE}")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    return Path(found), f"{(told.stdout + told.stderr).split()[2]} (Debian)"


def _unpack(program: Path) -> Path | None:
    """Take the program out of the package; nothing is installed. None where there is no such package."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", _PACKAGE], cwd=folder, capture_output=True, check=False)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
            shutil.move(Path(folder, "usr/bin", _PACKAGE), program)
            return program
    return None


class Blackbox(NamedTuple):
    """A running exporter."""

    pid: int
    url: str
    version: str


@contextmanager
def blackbox(config: str) -> Iterator[Blackbox]:
    """Run the exporter with a configuration until the block ends."""
    program, version = binary()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "blackbox.yml")
        file.write_text(config, encoding="utf-8")
        command = [str(program), f"--config.file={file}", "--web.listen-address=127.0.0.1:0"]
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment())
        try:
            yield Blackbox(process.pid, f"http://{_address(process, log)}", version)
        finally:
            process.terminate()
            process.wait(10)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Read in the log which port it has taken; it has no other way to say so."""
    for _ in range(200):
        found = _ADDRESS.search(log.read_text(encoding="utf-8"))
        if found:
            return found[1]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise SystemExit(f"blackbox_exporter did not start:\n{log.read_text(encoding='utf-8')[-1000:]}")


class Prometheus:
    """Asks the exporter for probes, each at its time, over connections that are kept, and keeps the answers."""

    def __init__(self, url: str, module: str, target: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        query = urlencode({"module": module, "target": target})
        self._request = f"GET /probe?{query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answers: list[str] = []

    async def ask(self, at: Sequence[float]) -> None:
        """Ask at these times, in seconds from now, and wait for all answers."""
        start = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for seconds in sorted(at):
                await asyncio.sleep(start + seconds - asyncio.get_running_loop().time())
                group.create_task(self._probe())
        for _, writer in self._free:
            writer.close()
        self._free.clear()

    async def _probe(self) -> None:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
        writer.write(self._request)
        answer = b""
        while not _complete(answer):
            part = await reader.read(65536)
            if not part:
                raise SystemExit("blackbox_exporter hung up")
            answer += part
        self.answers.append(_body(answer).decode())
        self._free.append((reader, writer))


def _complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def _body(answer: bytes) -> bytes:
    """Give the body of a complete answer, its chunks put together."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"\r\nTransfer-Encoding: chunked" not in head:
        return rest
    parts = []
    while size := int(rest.partition(b"\r\n")[0], 16):
        start = rest.index(b"\r\n") + 2
        parts.append(rest[start : start + size])
        rest = rest[start + size + 2 :]
    return b"".join(parts)


def samples(answer: str) -> dict[str, float]:
    """Read a probe's metrics: `probe_success`, `probe_duration_seconds`, and each HTTP phase by its name."""
    return {phase or name: float(value) for name, phase, value in _SAMPLE.findall(answer)}

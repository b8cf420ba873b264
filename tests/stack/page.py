"""Runs what a page tells its readers to type, command by command, and has a process stand for the pod that it ends with."""

import base64
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.stack.pod import Mounted

_FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"<<'?(\w+)'?")


def commands(text: str) -> Iterator[str]:
    """Give the commands of a page's shell blocks in order; lines that belong together are one, comments are left out."""
    for block in _FENCE.findall(text):
        lines = iter(block.splitlines())
        for line in lines:
            if not line.strip() or line.startswith("#"):
                continue
            command = line
            end = _HEREDOC.search(line)
            while command.endswith(("\\", "|")) or (end and not command.endswith(f"\n{end[1]}")):
                command += f"\n{next(lines)}"
            yield command


class Terminal:
    """A shell in a folder, with these variables and nothing else; what is put into the background ends with it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._background: list[subprocess.Popen[bytes]] = []

    def type(self, command: str) -> str:
        """Run a command to its end, or leave it in the background where it ends with `&`; give what it printed."""
        words = ["bash", "-o", "pipefail", "-ec", command.removesuffix("&")]
        if command.endswith("&"):
            self._background.append(
                subprocess.Popen(
                    words,
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
            return ""
        began = time.monotonic()
        done = subprocess.run(
            words,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        told = done.stdout + done.stderr
        print(f"{time.monotonic() - began:5.1f} s  {command}")
        assert done.returncode == 0, f"$ {command}\n{told}"
        return done.stdout

    def close(self) -> None:
        """End what goes on in the background."""
        for process in self._background:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


class StandIn:
    """An otelprobe process in the place of a pod's container: its command and variables, its ConfigMap and its Secret.

    Its files lie where the kubelet would mount them, below a folder; its log is written as a container runtime writes it.
    """

    def __init__(
        self,
        folder: Path,
        container: Mapping[str, Any],
        mounted: Mapping[str, Mapping[str, str]],
        log: Path,
        **changed: str,
    ) -> None:
        """`mounted` are texts by mount path and file; `changed` are the variables that differ because it is no container."""
        inside = {place: folder / place.lstrip("/") for place in mounted}
        for place, files in mounted.items():
            Mounted(inside[place], {name: _moved(text, inside) for name, text in files.items()})
        literal = {v["name"]: v["value"] for v in container["env"] if "value" in v and "$(" not in v["value"]}
        arguments: Sequence[str] = [_moved(word, inside) for word in container["args"]]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "otelprobe", *arguments],
            env={**literal, "PYTHONUNBUFFERED": "1", **changed},
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._keep, args=(log,))
        self._reader.start()

    def _keep(self, log: Path) -> None:
        assert self._process.stderr is not None
        with log.open("w", encoding="utf-8") as kept:
            for line in self._process.stderr:
                kept.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S.000000000Z', time.gmtime())} stderr F {line}")
                kept.flush()

    def stop(self) -> None:
        """End it as a kubelet does."""
        self._process.terminate()
        self._process.wait(60)
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


def _moved(text: str, inside: Mapping[str, Path]) -> str:
    for place, folder in inside.items():
        text = text.replace(place, str(folder))
    return text


def opened(secret: Mapping[str, Any]) -> dict[str, str]:
    """Give a Secret's texts by key."""
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}

"""What a kubelet gives a container, without one: namespaces, a read-only root, a numeric user, files that change by a link.

Run as a program inside new network, mount and process namespaces (see `in_namespaces`), it starts a provider and an API on this
loopback, runs the image's own command as the manifests do, and prints as JSON what it saw.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

USER = 65532
ROOM = Path("/mnt")
"""Where the tmpfs with the mounted files lies; the rest of the root is read-only."""

HEALTH = "127.0.0.1:8399"


def in_namespaces(*command: str) -> list[str]:
    """Give a command that runs in namespaces of its own: no network but loopback, no process of the host's, own mounts."""
    return ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", *command]


def sealed(root: Path, needed: Sequence[Path]) -> None:
    """Make `root` a read-only view of this file system with a writable room in it; the mounts end with the namespace.

    `needed` are folders that everybody has to reach there, also where one above them is closed to others.
    """
    done = [
        ["mount", "--make-rprivate", "/"],
        ["ip", "link", "set", "lo", "up"],
        ["mount", "--rbind", "/", str(root)],
        ["mount", "-o", "remount,bind,ro", str(root)],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", f"{root}{ROOM}"],
    ]
    closed = {path.parts[1] for path in needed if any(not parent.stat().st_mode & 1 for parent in path.parents)}
    for top in sorted(closed):
        done.append(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", f"{root}/{top}"])
        inside = [path for path in needed if path.parts[1] == top]
        done += [["mkdir", "-p", f"{root}{path}"] for path in inside]
        done += [["mount", "--bind", "-o", "ro", str(path), f"{root}{path}"] for path in inside]
        done.append(["mount", "-o", "remount,ro", f"{root}/{top}"])
    for command in done:
        subprocess.run(command, check=True)


def as_container(root: Path, *command: str) -> list[str]:
    """Give a command as the container runs it: in that root, as nobody, without a capability."""
    drop = ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin") or "chroot"
    return [chroot, str(root), "/usr/bin/setpriv", f"--reuid={USER}", f"--regid={USER}", *drop, *command]


class Mounted:
    """A ConfigMap or Secret as the kubelet mounts it: files are links into `..data`, which is a link that is swapped."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir(parents=True)
        self.update(files)

    def update(self, files: Mapping[str, str]) -> None:
        """Put new contents in place, all at once."""
        self._number += 1
        version = self._folder / f"..2026_01_01_00_00_0{self._number}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text, encoding="utf-8")
            (version / name).chmod(0o444)
            if not (self._folder / name).is_symlink():
                (self._folder / name).symlink_to(Path("..data") / name)
        fresh = self._folder / "..data_tmp"
        fresh.symlink_to(version.name)
        data = self._folder / "..data"
        old = data.readlink() if data.is_symlink() else None
        fresh.rename(data)
        if old is not None:
            shutil.rmtree(self._folder / old)


def until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask until there is an answer."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"within {seconds:.0f} s there was no {what}"
        time.sleep(0.05)
    return found


def ready() -> dict[str, Any]:
    """Ask /readyz; empty if it does not answer with 200."""
    try:
        with urllib.request.urlopen(f"http://{HEALTH}/readyz", timeout=1) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except OSError:
        return {}


class Log:
    """The process's log on standard error, as JSON lines."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def lines(self) -> list[dict[str, Any]]:
        """Give every line so far."""
        return [
            json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines() if line.startswith("{")
        ]

    def last(self, **fields: str) -> dict[str, Any]:
        """Give the last line about a flow if it has these fields."""
        told = [line for line in self.lines() if "flow" in line]
        return told[-1] if told and all(told[-1].get(k) == v for k, v in fields.items()) else {}


def main(arguments: Sequence[str]) -> int:
    """Run the image's `run` on files that change, then its `once`; print what happened."""
    # chroot and setpriv are replaced by what they start, so the process keeps its number.
    from otelprobe.demo import flow_yaml, start_demo  # noqa: PLC0415 - only inside the namespaces

    environment_folder, root = Path(arguments[0]), Path(arguments[1])
    program = str(environment_folder / "bin" / "otelprobe")
    with start_demo() as demo:
        text = flow_yaml(demo).replace("{env: OTELPROBE_DEMO_CLIENT_SECRET}", f"{{file: {ROOM}/secrets/client-secret}}")
        assert f"{ROOM}/secrets" in text
        text = text.replace("every: 10s", "every: 1s").replace("deadline: 20s", "deadline: 1s")
        inherited = {k: v for k, v in demo.environment.items() if k != "OTELPROBE_DEMO_CLIENT_SECRET"}
        sealed(root, [environment_folder.resolve(), Path(sys.base_prefix).resolve()])
        here = Path(f"{root}{ROOM}")
        flows = Mounted(here / "flows", {"flows.yaml": text})
        secrets = Mounted(here / "secrets", {"client-secret": "yesterdays-secret-canary"})
        (here / "data").mkdir()
        os.chown(here / "data", USER, USER)
        settings = {
            **inherited,
            "PATH": "/usr/bin:/bin",
            "OTELPROBE_LISTEN": HEALTH,
            "OTELPROBE_LOG_FORMAT": "json",
            "OTELPROBE_START_JITTER": "0s",
            "OTELPROBE_STATE_DIR": f"{ROOM}/data/state",
            "OTELPROBE_SPOOL_DIR": f"{ROOM}/data/spool",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": f"{ROOM}/data",
        }
        log = here / "log"
        seen: dict[str, Any] = {}
        with log.open("wb") as output:
            process = subprocess.Popen(
                as_container(root, program, "run", f"{ROOM}/flows"), env=settings, cwd="/", stderr=output
            )
            told = Log(log)
            seen["first"] = until(lambda: told.last(outcome="fail"), 180, "failed run")
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            seen["uid"] = _field(status, "Uid").split()[0]
            seen["capabilities"] = _field(status, "CapEff")
            seen["no_new_privs"] = _field(status, "NoNewPrivs")
            secrets.update({"client-secret": demo.client_secret})
            seen["rotated"] = until(lambda: told.last(outcome="pass"), 180, "run that passes with the new secret")
            flows.update({"flows.yaml": text.replace("step: discover", "step: discovr")})
            seen["refused"] = until(
                lambda: (r := ready()).get("last_reload") and not r["last_reload"]["ok"] and r, 180, "refused reload"
            )
            flows.update({"flows.yaml": text.replace("name: demo", "name: renamed")})
            seen["reloaded"] = until(lambda: (r := ready()).get("last_reload", {}).get("ok") and r, 180, "reload")
            seen["renamed"] = until(lambda: told.last(outcome="pass", flow="renamed"), 180, "run of the new flow")
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            seen["code"], seen["stopped_after"] = process.wait(120), time.monotonic() - started
        once = subprocess.run(
            as_container(root, program, "once", "--output", "json", f"{ROOM}/flows"),
            env=settings, cwd="/", capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        seen["once"] = {"code": once.returncode, "outcome": json.loads(once.stdout)["flows"][0]["outcome"]}
        wrote = subprocess.run(
            as_container(root, "touch", f"{environment_folder}/x", "/x"), capture_output=True, text=True, check=False
        )
        seen["write"] = wrote.stderr
        seen["canaries"] = [
            c
            for c in (demo.client_secret, "yesterdays-secret-canary")
            if c in log.read_text() + once.stdout + once.stderr
        ]
    print(json.dumps(seen))
    return 0


def _field(status: str, name: str) -> str:
    return next(line.split(":", 1)[1].strip() for line in status.splitlines() if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A portal in a process of its own, and a client that says whatever it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path


class PortalProcess:
    """``foundationx portal`` on a free port.

    Args:
        data_root: Folder of the datasets.
        work_dirs: Folder of the runs.
        options: Further options of the command.
    """

    def __init__(self, data_root: Path, work_dirs: Path, *options: str):
        words = ["portal", "--data-root", str(data_root), "--work-dirs", str(work_dirs), "--port", "0", *options]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "foundationx.apps.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        first = self.process.stdout.readline()
        found = re.match(r"portal: (http://([^/]+)/\?token=(\S+))$", first.strip())
        assert found, first + self.process.stdout.read()
        self.url, self.host, self.token = found.groups()
        self.port = int(self.host.rpartition(":")[2])
        self.cookie = f"foundationx_portal_{self.port}={self.token}"

    def ask(self, method: str, path: str, body=None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Sends a request exactly as given: status, body, headers. Underscores in names of headers become hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
            text = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.putrequest(method, path, skip_host="Host" in given, skip_accept_encoding=True)
            if text is not None:
                given = {"Content-Type": "application/json", "Content-Length": str(len(text))} | given
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders()
            if text is not None:
                connection.send(text)
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}

    def get(self, path: str):
        """What the portal's page gets."""
        status, body, _ = self.ask("GET", path, Cookie=self.cookie)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, body):
        """What the portal's page gets for a question with a body."""
        status, answer, _ = self.ask("POST", path, body, Cookie=self.cookie, Origin=f"http://{self.host}")
        assert status == 200, answer
        return json.loads(answer)

    def kill(self) -> None:
        """Ends the portal as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> PortalProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.process.stdout.close()


def wait_until(condition, seconds: float = 60.0, pause: float = 0.2):
    """The first true value of a function; fails after some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(pause)
    raise AssertionError("nothing happened in time")

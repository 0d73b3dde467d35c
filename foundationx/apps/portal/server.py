"""The portal's server: the page, and what the page may ask this machine for."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse

from foundationx.apps.portal import api_fuse, api_jobs, api_runs, api_samples
from foundationx.apps.portal.answers import Answer
from foundationx.apps.portal.api_fuse import as_json
from foundationx.apps.portal.context import Portal
from foundationx.apps.portal.guard import LEAST_TOKEN, Access, App, Guard, hosts_of
from foundationx.apps.portal.page import portal_page
from foundationx.apps.portal.place import BusyError, OutsideError, Place, UnknownError
from foundationx.core.errors import ConfigError, FoundationXError

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Policy of answers that are no page."""

STATUS: dict[type[FoundationXError], int] = {OutsideError: 403, UnknownError: 404, BusyError: 409}
"""HTTP status of errors; 400 for all others."""

_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')


@dataclass(frozen=True)
class Address:
    """Where the portal listens.

    Attributes:
        host: Host name or address.
        port: Port; 0: any that is free.
        token: The secret of whoever may use it.
    """

    host: str
    port: int
    token: str

    def url(self, port: int) -> str:
        """The address to open."""
        named = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{named}:{port}/?token={self.token}"


def address_of(host: str | None, port: int, token: str | None) -> Address:
    """The address of the options of the command.

    Args:
        host: Host to listen on; None: the loopback.
        port: Port.
        token: Secret; None: a random one.

    Raises:
        ConfigError: The token can be guessed, or every address of the machine is meant, so that no name can be checked.
    """
    token = secrets.token_urlsafe(32) if token is None else token
    if len(token) < LEAST_TOKEN or not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
        expected = f"{LEAST_TOKEN} or more letters, digits and any of . _ ~ -"
        raise ConfigError("--token", f"has {len(token)} letters or signs of other kinds", expected, "leave it out")
    if not 0 <= port <= 65535:
        raise ConfigError("--port", f"found {port}", "0 to 65535", "choose another")
    try:
        every = ipaddress.ip_address(host or "127.0.0.1").is_unspecified
    except ValueError:
        every = False
    if every:
        fix = "name the address or host name that browsers will use"
        raise ConfigError("--host", f"{host} means every address of the machine", "one host", fix)
    return Address(host or "127.0.0.1", port, token)


def create_app(place: Place, hosts: frozenset[str], token: str) -> App:
    """The application, behind its guard.

    Args:
        place: Folders that it works in.
        hosts: Accepted ``Host`` headers.
        token: The secret.

    Raises:
        CardError: A card is invalid.
        RecipeError: A table cannot be read.
    """
    portal = Portal(place)
    page = portal_page(portal.catalog, place.tables, server=True)
    found = _POLICY.search(page)
    policy = f"{found[1]}; frame-ancestors 'none'" if found else NOTHING
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    def index() -> HTMLResponse:
        """The page."""
        return HTMLResponse(page, headers={"content-security-policy": policy})

    for part in (api_fuse, api_jobs, api_runs, api_samples):
        app.include_router(part.router(portal))
    app.add_exception_handler(FoundationXError, _fault)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OSError, _disk)
    return Guard(app, Access(hosts, token, NOTHING))


def _fault(request: Request, error: Exception) -> Answer:
    """An error that a person can mend."""
    assert isinstance(error, FoundationXError)
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)
    return Answer({"detail": str(error), "error": as_json(error)}, status)


def _invalid(request: Request, error: Exception) -> Answer:
    """A question that is not of the form that is asked for."""
    assert isinstance(error, RequestValidationError)
    parts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
    return Answer({"detail": "; ".join(parts)}, 422)


def _disk(request: Request, error: Exception) -> Answer:
    """A file that cannot be read or written."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return Answer({"detail": f"{getattr(error, 'filename', None) or 'a file'}: {reason}"}, 400)


def serve(address: Address, place: Place) -> None:
    """Serves until the process is asked to stop; commands that were started go on.

    Raises:
        ConfigError: The address cannot be listened on.
        DiskError: Nothing can be written to the work directories.
    """
    from foundationx.core.atomic_write import require_folder

    require_folder(place.work_dirs)
    listener = _listen(address)
    port = listener.getsockname()[1]
    app = create_app(place, hosts_of(address.host, port), address.token)
    print(f"portal: {address.url(port)}", flush=True)
    print(f"datasets: {place.data_root}; runs: {place.work_dirs}; Ctrl-C stops the portal, not its runs", flush=True)
    settings: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
    uvicorn.Server(uvicorn.Config(app, proxy_headers=False, timeout_graceful_shutdown=2, **settings)).run([listener])


def _listen(address: Address) -> socket.socket:
    """A socket that listens. Raises ConfigError."""
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(128)  # who has the address may come at once
    except OSError as error:
        where, fix = f"{address.host}:{address.port}", "choose another --port or --host"
        raise ConfigError(where, f"cannot be listened on ({error.strerror})", "a free port", fix) from None
    return listener


def place_of(data_root: Path, work_dirs: Path, tables: list[Path]) -> Place:
    """The folders as absolute paths, since commands are printed for copying and run from anywhere."""
    return Place(data_root.absolute(), work_dirs.absolute(), tuple(table.absolute() for table in tables))

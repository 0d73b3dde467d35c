"""Who may talk to the portal: the person who has its token, from the portal's own page.

A server on loopback is open to every page that the person's browser shows and to every user of the machine. So each
request must come under the portal's own host name (a page elsewhere can point its name to 127.0.0.1), from the
portal's own page or from the address bar, and with the token, which the first visit turns into a cookie.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlencode

from foundationx.core.strict_json import to_json

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY = 256 * 1024
"""Bytes of a request: recipes are short."""

LEAST_TOKEN = 16
"""Letters of a token that somebody chooses."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer. There is none of CORS: no other page may read anything."""


@dataclass(frozen=True)
class Access:
    """Who may talk to the portal.

    Attributes:
        hosts: Accepted ``Host`` headers, in lower case: ``127.0.0.1:8766``.
        token: The secret.
        policy: Content-Security-Policy of answers that have none of their own.
    """

    hosts: frozenset[str]
    token: str
    policy: str

    @property
    def cookie(self) -> str:
        """Name of the cookie. Browsers keep cookies by host without its port, so the port is in the name."""
        port = sorted(self.hosts)[0].rpartition(":")[2]
        return f"foundationx_portal_{port}"


def hosts_of(host: str, port: int) -> frozenset[str]:
    """Host headers under which the portal answers: the loopback's names, and the host that was asked for."""
    named = f"[{host}]" if ":" in host else host
    return frozenset(f"{name.lower()}:{port}" for name in (named, "127.0.0.1", "localhost", "[::1]"))


class Guard:
    """Refuses what does not come from the portal's own page with the token; adds headers to every answer.

    Args:
        app: Application behind it.
        access: Who may.
    """

    def __init__(self, app: App, access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request as ASGI gives it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets: the connection is closed

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message.get("headers", [])}
                wanted = HEADERS | {"content-security-policy": self.access.policy}
                added = [(k.encode(), v.encode()) for k, v in wanted.items() if k.encode() not in present]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        headers = _Headers(scope["headers"])
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _reply(answer, *refused)
        elif given := self._given_token(scope):
            await self._enter(scope, answer, given)
        elif not self._has_cookie(headers):
            text = "open the address that `foundationx portal` has printed, with its token, in a new tab"
            await _reply(answer, 401, f"the token is missing or wrong: {text}")
        else:
            await self.app(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: _Headers) -> tuple[int, str] | None:
        """Status and reason if a request is refused whoever asks."""
        host = headers.only("host")
        if host is None or host.lower() not in self.access.hosts:
            return 421, "this host name is not the portal's"
        origin = headers.only("origin", default="")
        if origin is None or (origin and origin.lower() != f"{scope['scheme']}://{host.lower()}"):
            return 403, "requests from other pages are refused"
        if headers.only("sec-fetch-site", default="none") not in ("none", "same-origin"):
            return 403, "requests from other pages are refused; open the address in a new tab"
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return 405, "only GET and POST"
        kind = (headers.only("content-type", default="") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return 415, "POST takes application/json"
        length = headers.only("content-length", default="")
        if not length or not length.isdecimal() or headers.only("transfer-encoding", default=""):
            return 411, "the length of the body is required"
        return (413, f"at most {MOST_BODY:,} bytes") if len(length) > 9 or int(length) > MOST_BODY else None

    def _given_token(self, scope: Scope) -> list[str]:
        """The token in the address, if there is one: of the page only."""
        if scope["method"] != "GET" or scope["path"] != "/":
            return []
        return parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("token", [])

    async def _enter(self, scope: Scope, send: Send, given: list[str]) -> None:
        """Sets the cookie and leads to the page without the token in its address, so that it is in no history."""
        if len(given) != 1 or not self._is_token(given[0]):
            await _reply(send, 401, "the token is wrong")
            return
        values = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        values.pop("token")
        rest = urlencode(values, doseq=True)
        cookie = f"{self.access.cookie}={quote(given[0], safe='')}; Path=/; HttpOnly; SameSite=Strict"
        await _reply(send, 303, "", [("location", f"/?{rest}" if rest else "/"), ("set-cookie", cookie)])

    def _has_cookie(self, headers: _Headers) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load("; ".join(headers.all("cookie")))
        except CookieError:
            return False
        morsel = cookies.get(self.access.cookie)
        return morsel is not None and self._is_token(unquote(morsel.value))

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.access.token.encode())


class _Headers:
    """The headers of a request."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]):
        self.raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.raw if key == name]

    def only(self, name: str, default: str | None = None) -> str | None:
        """The value of a header; the default without one, None if there are several."""
        values = self.all(name)
        if len(values) > 1:
            return None
        return values[0] if values else default


async def _reply(send: Send, status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> None:
    """A short answer: the reason as JSON."""
    body = to_json({"detail": text}).encode() if text else b""
    given = [("content-type", "application/json"), ("content-length", str(len(body))), *headers]
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in given]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})

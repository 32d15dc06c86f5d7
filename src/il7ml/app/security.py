"""Who may ask, from where, and how much: token, host, cross-site requests, rate, headers and the size of a body."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from fastapi import HTTPException, Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from il7ml.app.rate import RateLimit
from il7ml.errors import InputError

TOKEN_VARIABLE = "IL7ML_TOKEN"
OPEN_PATHS = ("/healthz", "/readyz")
MAX_BODY = 2**20  # bytes
_BODY_SECONDS = 10.0
_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 4096
_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

Problem = Callable[[int, str], Response]


def find_token(path: Path | None, environment: Mapping[str, str]) -> str | None:
    """Return the token of a file, else that of the environment variable IL7ML_TOKEN, else None.

    Raises
    ------
    InputError
        As `read_token`.
    """
    if path is not None:
        return read_token(path)
    given = environment.get(TOKEN_VARIABLE)
    return None if given is None else _fit_token(given.strip(), TOKEN_VARIABLE)


def read_token(path: Path) -> str:
    """Return the token in a file; white space around it does not belong to it.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no token of 16 printable ASCII characters or more.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = Path(folder, "token").write_text(" 0123456789abcdef ")
    ...     read_token(Path(folder, "token"))
    '0123456789abcdef'
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_TOKEN + 1).strip()
    except OSError as error:
        raise InputError(f"--token-file {path}: cannot be read ({error.strerror}). Check the path.") from None
    return _fit_token(content.decode("ascii", errors="replace"), f"--token-file {path}")


def _fit_token(text: str, source: str) -> str:
    if not _SHORTEST_TOKEN <= len(text) <= _LONGEST_TOKEN or not all("!" <= sign <= "~" for sign in text):
        raise InputError(
            f"{source}: expected one token of {_SHORTEST_TOKEN} or more printable ASCII characters without "
            'spaces. Make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return text


def check_address(host: str, token: str | None) -> None:
    """Refuse an address that others can reach unless a token is asked for.

    Raises
    ------
    InputError
        If `host` is not a loopback address and there is no token.
    """
    if token is None and not _is_loopback(host):
        raise InputError(
            f"--host {host}: others can reach this address, so a token is needed. Add --token-file FILE, set "
            f"{TOKEN_VARIABLE}, or leave --host out to serve this machine only."
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware that lets only permitted requests through and puts the headers on every answer.

    Parameters
    ----------
    app : ASGI application
    token : str or None
        Asked for on every path but `OPEN_PATHS`: as a bearer token, or as the password of HTTP basic authentication,
        which is how a browser can send it. Without one the Host header must be this machine's, so that a foreign page
        cannot reach the service under a name of its own (DNS rebinding).
    rate : RateLimit or None
        Asked on every path but `OPEN_PATHS`, before the token, so that guessing one is slow.
    problem : callable
        Makes the answer from status and message.
    """

    def __init__(self, app: ASGIApp, token: str | None, rate: RateLimit | None, problem: Problem) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._rate = rate
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._over_rate(scope) or self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _over_rate(self, scope: Scope) -> Response | None:
        if self._rate is None or scope["path"] in OPEN_PATHS:
            return None
        client = scope.get("client")
        seconds = self._rate.wait(client[0] if client else "")
        if not seconds:
            return None
        answer = self._problem(429, f"too many requests. Ask again in {seconds} s; several patients go in one batch.")
        answer.headers["Retry-After"] = str(seconds)
        return answer

    def _refusal(self, method: str, path: str, headers: Headers) -> Response | None:
        # A link from another page may lead here; another page's form or script may not ask.
        is_link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link:
            return self._problem(403, "requests from other sites are not answered.")
        if path in OPEN_PATHS:
            return None
        if self._token is None:
            if not _LOCAL_HOST.fullmatch(headers.get("host", "")):
                return self._problem(400, "Host: expected localhost, 127.0.0.1 or [::1]; another came.")
        elif not secrets.compare_digest(_given_token(headers.get("authorization", "")), self._token):
            answer = self._problem(401, "a token is needed: send it as 'Authorization: Bearer TOKEN'.")
            answer.headers["WWW-Authenticate"] = 'Basic realm="il7ml (any user name, the token as password)"'
            return answer
        return None


def _given_token(authorization: str) -> bytes:
    kind, _, rest = authorization.strip().partition(" ")
    if kind.lower() == "bearer":
        return rest.strip().encode("utf-8", "replace")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


async def read_body(request: Request, content_type: str) -> bytes:
    """Return a request's body, of the given type and not larger than `MAX_BODY`.

    Raises
    ------
    HTTPException
        415 for another type, 413 for a larger body, 408 or 400 for one that does not come to its end.
    """
    came = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if came != content_type:
        raise HTTPException(415, f"Content-Type: expected {content_type}; another came.")
    too_large = HTTPException(413, f"the body is too large: expected at most {MAX_BODY} bytes. Send fewer patients.")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > MAX_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, "the body did not come to its end. Send it again.") from None
    except ClientDisconnect:  # whoever closed the connection sees no answer, but it is no fault of ours either
        raise HTTPException(400, "the connection was closed before the body came to its end.") from None
    return bytes(body)

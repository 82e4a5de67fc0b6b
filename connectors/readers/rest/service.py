"""One HTTP service, asked as its owner allows and never trusted.

Our credentials go to the connection's own scheme, host and port (and a declared token address) and
nowhere else. An answer is read in pieces and given up when it is larger, or takes longer, than
agreed; so is one that unpacks to more.
"""

import logging
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import httpx

from common.access import ClientCredentials, Credentials, HeaderKey, ParameterKey
from common.errors import SourceDenied, SourceError, SourceMalformed, SourceUnavailable
from common.settings import Settings
from connectors.readers.records import Unreadable, at, parse

REDIRECTS_AT_MOST = 5
TOKEN_BYTES_AT_MOST = 1_000_000
RENEW_SECONDS_BEFORE = 30

for chatty in ("httpx", "httpcore"):  # they would write every address, keys and all
    logging.getLogger(chatty).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Terms:
    """What was agreed with the owner of a service: bytes and seconds per answer, and a pace."""

    answer_bytes: int
    seconds: int
    requests_per_minute: int | None = None


@dataclass(frozen=True)
class Reply:
    """A complete answer, whatever its status; `link` is the next page it names."""

    status: int
    headers: httpx.Headers
    content: bytes
    link: str | None


@contextmanager
def connected(
    url: str,
    settings: Settings,
    terms: Terms,
    credentials: Credentials | None,
    *,
    where: str,
    connection: str,
) -> Iterator["Service"]:
    """The service at a connection's URL while the context lasts."""
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL()
    if base.scheme not in ("http", "https") or not base.host:
        raise SourceDenied(
            "the connection is no http or https URL",
            where=where,
            next_step=f"correct connection {connection}.",
        )
    timeout = httpx.Timeout(terms.seconds, connect=settings.connect_timeout_seconds)
    with httpx.Client(base_url=base.copy_with(userinfo=b""), timeout=timeout) as client:
        yield Service(client, base, terms, credentials, where, connection)


class Service:
    """See `connected`. Every failure is of the SourceError family and tells no value."""

    def __init__(
        self,
        client: httpx.Client,
        url: httpx.URL,
        terms: Terms,
        credentials: Credentials | None,
        where: str,
        connection: str,
    ) -> None:
        self.client, self.terms, self.credentials = client, terms, credentials
        self.login, self.password = unquote(url.username), unquote(url.password)
        self.where, self.connection = where, connection
        self.token, self.token_ends, self.due = "", 0.0, 0.0

    @property
    def key(self) -> dict[str, str]:
        """The parameters by which the service knows us."""
        match self.credentials:
            case ParameterKey(password=password, login=login):
                return {password: self.password} | ({login: self.login} if login else {})
        return {}

    def send(
        self,
        method: str,
        address: str,
        parameters: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        kind: str = "application/json",
    ) -> Reply:
        """One exchange with a path of the service or an address on it; redirects within it are
        followed. A token that the service no longer takes is renewed once.

        Raises SourceUnavailable (no or half an answer), SourceDenied (another host, no token) or
        SourceMalformed (too large).
        """
        try:
            request = self.client.build_request(
                method,
                address,
                params=parameters or None,
                content=content,
                headers={"Content-Type": kind} if content is not None else None,
            )
            self._require_own(request.url)
            reply = self._exchange(request)
            if reply.status == 401 and isinstance(self.credentials, ClientCredentials):
                self.token = ""
                reply = self._exchange(request)
            return reply
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.unavailable(f"no answer ({type(error).__name__})") from None

    def unavailable(self, what: str) -> SourceUnavailable:
        return SourceUnavailable(
            what,
            where=self.where,
            next_step=f"check that the service of connection {self.connection} is up; the next "
            "run tries again.",
        )

    def denied(self, what: str) -> SourceDenied:
        return SourceDenied(
            what,
            where=self.where,
            next_step=f"check connection {self.connection} with the owner.",
        )

    def _exchange(self, request: httpx.Request) -> Reply:
        request.headers["Accept-Encoding"] = "gzip, identity"
        match self.credentials:
            case HeaderKey(header=header, prefix=prefix):
                request.headers[header] = prefix + self.password
            case ClientCredentials():
                request.headers["Authorization"] = f"Bearer {self._fresh_token(self.credentials)}"
            case None if self.login:
                request = next(httpx.BasicAuth(self.login, self.password).auth_flow(request))
        for _ in range(REDIRECTS_AT_MOST):
            self._wait_for_turn()
            response = self.client.send(request, stream=True)
            try:
                if response.next_request is None:
                    content = self._content(response, self.terms.answer_bytes)
                    link = response.links.get("next", {}).get("url")
                    return Reply(
                        response.status_code,
                        response.headers,
                        content,
                        str(response.url.join(link)) if link else None,
                    )
                self._require_own(response.next_request.url)
                if response.next_request.method != request.method:
                    raise self.denied(f"it sends a {request.method} elsewhere")
                request = response.next_request
            finally:
                response.close()
        raise self.unavailable(f"more than {REDIRECTS_AT_MOST} redirects")

    def _require_own(self, url: httpx.URL) -> None:
        own = self.client.base_url
        if (url.scheme, url.host, url.port) != (own.scheme, own.host, own.port):
            raise self.denied(
                "it sends us to another scheme, host or port; our credentials were not sent there"
            )

    def _wait_for_turn(self) -> None:
        time.sleep(max(0.0, self.due - time.monotonic()))
        if self.terms.requests_per_minute:
            self.due = time.monotonic() + 60 / self.terms.requests_per_minute

    def _content(self, response: httpx.Response, limit: int) -> bytes:
        """The body, unpacked by us: a library would unpack a whole piece, however large it gets."""
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip", "deflate"):
            raise self._malformed("it packs its answer in a way we did not ask for")
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if coding != "identity" else None
        deadline = time.monotonic() + self.terms.seconds
        content = bytearray()
        for piece in response.iter_raw():
            try:
                content += unpack.decompress(piece, limit + 1 - len(content)) if unpack else piece
            except zlib.error:
                raise self._malformed("its answer cannot be unpacked") from None
            if len(content) > limit:
                raise self._malformed(f"an answer is larger than {limit:,} bytes")
            if time.monotonic() > deadline:
                raise self.unavailable(f"an answer took longer than {self.terms.seconds} s")
        if unpack and content and not unpack.eof:
            raise self.unavailable("its answer ended half-way")
        if unpack and unpack.unused_data:
            raise self._malformed("something follows its packed answer")
        return bytes(content)

    def _malformed(self, what: str) -> SourceMalformed:
        return SourceMalformed(
            what,
            where=self.where,
            next_step="ask the owner, or change `page_size` or `answer_mb` in source.yml; nothing "
            "of this stream was loaded.",
        )

    def _fresh_token(self, how: ClientCredentials) -> str:
        if self.token and time.monotonic() < self.token_ends:
            return self.token
        form = {"grant_type": "client_credentials"} | ({"scope": how.scope} if how.scope else {})
        auth = None
        if how.secret_in == "body":
            form |= {"client_id": self.login, "client_secret": self.password}
        else:  # RFC 6749, 2.3.1: both are form-encoded first
            auth = httpx.BasicAuth(quote(self.login, safe=""), quote(self.password, safe=""))
        self._wait_for_turn()
        request = self.client.build_request(
            "POST", how.token, data=form, headers={"Accept-Encoding": "identity"}
        )
        response = self.client.send(request, stream=True, auth=auth)
        try:
            content = self._content(response, TOKEN_BYTES_AT_MOST)
        finally:
            response.close()
        if response.status_code == 429 or response.status_code >= 500:
            raise self.unavailable(f"no token: HTTP {response.status_code}")
        if response.status_code != 200:
            raise self.denied(f"no token: HTTP {response.status_code}")
        self.token, self.token_ends = self._token_in(content)
        return self.token

    def _token_in(self, content: bytes) -> tuple[str, float]:
        """The token, and when of time.monotonic it ends; one of no stated life is kept until the
        service no longer takes it."""
        failure: SourceError = self.denied("the token's answer holds no usable `access_token`")
        try:
            answer = parse(content)
            token, life = at(answer, "access_token"), at(answer, "expires_in")
            seconds = float(life) if life else float("inf")
        except (Unreadable, ValueError, TypeError):
            raise failure from None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise failure
        return token, time.monotonic() + max(seconds - RENEW_SECONDS_BEFORE, seconds / 2)

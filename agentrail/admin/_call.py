"""One request to the API, and what holds for all of them."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, Generic, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from agentrail.access import May, Tokens
from agentrail.admin._logs import PackageLogs
from agentrail.errors import (
    Forbidden,
    InvalidId,
    PreconditionFailed,
    RequestError,
    SettingsNotFound,
    UnsupportedMediaType,
)
from agentrail.messages import Wire
from agentrail.package import Version
from agentrail.registry import By, PackageInfo, Packages
from agentrail.requests import Principal
from agentrail.route import decode, reply
from agentrail.secret import Vault
from agentrail.settings import Configuration

Q = TypeVar("Q")
B = TypeVar("B")

ID: Final = r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$"
"""What the id of a package looks like."""

Seq = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""The number of an event or of an audit entry."""

JSON: Final = "application/json"

_DETAIL_CHARS: Final = 500

_json = msgspec.json.Encoder()


class Nothing(Wire, frozen=True, forbid_unknown_fields=True):
    """No query, or no body."""


LookAgain = Callable[[str, str], Awaitable[None]]
"""Has a host look up its secrets again, for an actor with a request's id."""


@frozen(slots=True)
class Managed:
    """What the API deals with."""

    packages: Packages
    tokens: Tokens
    logs: PackageLogs
    vault: Vault
    key_file: Callable[[], Path]
    """Returns where the key is of what is sealed."""
    look_again: LookAgain
    roles: Callable[[], Mapping[str, Collection[May]]]
    """Returns what the application's own roles may do."""
    configuration: Configuration | None = None


@frozen(slots=True)
class Call:
    """A request by somebody who may make it."""

    request: Request
    managed: Managed
    actor: str
    """Who asks, for the audit log."""

    @property
    def packages(self) -> Packages:
        """The packages of the host."""
        return self.managed.packages

    @property
    def configuration(self) -> Configuration:
        """The settings of the host.

        Raises:
            SettingsNotFound: it has none.
        """
        if self.managed.configuration is None:
            message = (
                "this host has no settings: put an agentrail.yaml beside its app.py, or serve it "
                "with --config"
            )
            raise SettingsNotFound(message)
        return self.managed.configuration

    @property
    def name(self) -> str:
        """The id of the package in the path."""
        return str(self.request.path_params["name"])

    def by(self, reason: str = "") -> By:
        """Return who asks for a change, and why."""
        return By(self.actor, reason, self.request_id)

    @property
    def request_id(self) -> str:
        """The id that the client gave the request."""
        return self.request.headers.get("x-request-id", "")


Handler = Callable[[Call, Q, B], Awaitable[Response]]
"""Answers a call, with its query and its body."""


@frozen(kw_only=True)
class Operation(Generic[Q, B]):
    """One thing that the API does."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    may: May
    """What the caller must be allowed."""
    handler: Handler[Q, B]
    query: type[Q]
    body: type[B]
    body_bytes: int = 64 * 1024
    uploads: bool = False
    """Whether the body is a file, which the handler reads by itself."""
    answer: object = None
    """The type of the JSON that it answers; None where that is not JSON, or nothing."""
    status: int = 200

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"

    @property
    def title(self) -> str:
        """What it does, in a sentence: the first line of what its handler says of itself."""
        return (self.handler.__doc__ or "").partition("\n")[0]


def actor_of(principal: Principal | None) -> tuple[str, frozenset[str]]:
    """Return who asks and their roles; without an authenticator, an administrator at the machine.

    The host has made sure then that it is this machine that asks.
    """
    if principal is None:
        return "local", frozenset({"admin"})
    named = principal.user_id
    if principal.tenant_id != Principal().tenant_id:
        named = f"{principal.tenant_id}/{named}"
    return named, principal.roles


def check_unforged(request: Request) -> None:
    """Return when no page of another site can have made a browser send a request.

    Source: the algorithm of https://pkg.go.dev/net/http#CrossOriginProtection, and
    https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header

    Raises:
        Forbidden: one may have.
    """
    headers = request.headers
    if headers.get("authorization", "").lower().startswith("bearer "):
        return  # no browser adds that by itself
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        forged = site not in ("same-origin", "none")
    else:  # no browser, or an old one
        forged = origin is not None and _authority(origin) != headers.get("host", "").lower()
    if forged:
        raise Forbidden("a page of another site may not change this host")


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def query_of(request: Request, kind: type[Q]) -> Q:
    """Return the query of a request.

    Raises:
        RequestError: it has a parameter that is not known, twice, or of another type.
    """
    given = request.query_params.multi_items()
    values = dict(given)
    if len(values) != len(given):
        raise RequestError("the query has a parameter twice")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise RequestError(f"the query cannot be read: {error}"[:_DETAIL_CHARS]) from error


async def body_of(request: Request, kind: type[B]) -> B:
    """Return the body of a request, which is JSON; no body at all is an empty object.

    Raises:
        UnsupportedMediaType: it is of another type.
        RequestError: it cannot be read.
    """
    if kind is Nothing:
        return kind()
    given = media_type(request)
    if given not in ("", JSON):
        raise _no_json(given)
    data = await request.body()
    if data and not given:
        raise _no_json(given)
    decoder = msgspec.json.Decoder(kind)
    return decode(data or b"{}", decoder, "request of this kind")


def media_type(request: Request) -> str:
    """Return the type of a request's body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _no_json(given: str) -> UnsupportedMediaType:
    what = f"not {given[:80]!r}" if given else "and say so"
    return UnsupportedMediaType(f"send the body as 'Content-Type: {JSON}', {what}")


def check_version(version: str | None) -> str | None:
    """Return a version that a request names.

    Raises:
        InvalidId: it is none.
    """
    if version is not None:
        try:
            Version.parse(version)
        except ValueError as error:
            raise InvalidId(str(error)) from error
    return version


def shown(package: PackageInfo, status: int = HTTPStatus.OK) -> Response:
    """Return a package as an answer; its tag is its revision."""
    headers = {"etag": tag(package.revision)}
    if status == HTTPStatus.CREATED:
        headers["location"] = f"/api/plugins/{package.id}"
    return reply(package, status=status, headers=headers)


def listed(request: Request, body: object) -> Response:
    """Return an answer with a tag of its content, or nothing if the client has it already."""
    encoded = _json.encode(body)
    etag = f'"{sha256(encoded).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if _named(request, "if-none-match", etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(encoded, headers=headers, media_type=JSON)


def check_match(request: Request, package: PackageInfo) -> None:
    """Return when a package is as it was when the caller looked at it.

    Raises:
        PreconditionFailed: it was changed since.
    """
    matched(request, f"package {package.id!r} is at revision {package.revision}", package.revision)


def matched(request: Request, present: str, revision: int) -> bool:
    """Tell whether the caller named the revision that it looked at.

    Raises:
        PreconditionFailed: that is another one than the present.
    """
    if "if-match" not in request.headers:
        return False
    if not _named(request, "if-match", tag(revision)):
        raise PreconditionFailed(f"it was changed since: {present}")
    return True


def tag(revision: int) -> str:
    """Return the tag of a revision."""
    return f'"{revision}"'


def _named(request: Request, header: str, etag: str) -> bool:
    given = [each.strip() for each in request.headers.get(header, "").split(",")]
    if header == "if-none-match":
        given = [each.removeprefix("W/") for each in given]
    return "*" in given or etag in given

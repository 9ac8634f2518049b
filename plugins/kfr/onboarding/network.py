"""Can a host be reached? Name, connection and TLS apart, so that the firewall's people know which (ONB A-7)."""

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from kfr.register.errors import Fatal, Retriable
from kfr.register.limits import CONNECT_TIMEOUT_SECONDS
from kfr.register.transport import describe, open_client, tls_context

METADATA = ".well-known/oauth-authorization-server"  # below the issuer (DIG)


class Unreachable(Fatal):
    """Raised when a host cannot be reached; the message says host, port, which step failed, and who mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host that the firewall must open."""

    name: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


def host_of(url: str) -> Host:
    """The host behind a URL; plain http only ever goes to this machine."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return Host(name=parts.hostname or "", port=parts.port or (443 if tls else 80), tls=tls)


def reach(host: Host, trust: ssl.SSLContext | None = None) -> str:
    """Resolve, connect and agree on TLS; return what was found, or raise Unreachable at the step that fails."""
    try:
        addresses = socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    except OSError:
        raise Unreachable(
            f"{host}: the name is not resolved; let the DNS of workers and triggerer resolve it"
        ) from None
    try:
        with socket.create_connection((host.name, host.port), CONNECT_TIMEOUT_SECONDS) as connection:
            if host.tls:
                with (trust or tls_context()).wrap_socket(connection, server_hostname=host.name):
                    pass
    except ssl.SSLError as error:  # an OSError, too
        inspected = isinstance(error, ssl.SSLCertVerificationError)
        cause = "somebody else's certificate is shown" if inspected else "TLS is not agreed on"
        raise Unreachable(
            f"{host}: {cause}; exempt the host from TLS inspection, or let proxies pass it through"
        ) from None
    except OSError as error:
        raise Unreachable(
            f"{host}: no connection ({type(error).__name__}); open the firewall for outgoing TCP to it (ONB A-7)"
        ) from None
    count = len({address[4][0] for address in addresses})
    return f"{host} ({count} address{'es' * (count > 1)}{', TLS' * host.tls})"


def ask(url: str) -> httpx.Response:
    """GET a page that needs no token; Retriable when no answer comes."""
    failure = None
    with open_client(None) as client:
        try:
            return client.get(url)
        except httpx.HTTPError as error:
            failure = f"{host_of(url)}: {describe(error)}"
    raise Retriable(failure)


def date_of(response: httpx.Response) -> datetime | None:
    """The other side's clock, to the second; None when it does not say."""
    try:
        return parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None

"""The settings of Kafka's clients in Faust's words. What Faust has no word for is refused, not forgotten."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import SASLMechanism

from streams.errors import UsageError
from streams.settings import Settings, require

_PROTOCOL, _MECHANISM = "security.protocol", "sasl.mechanism"
_SAME = {"sasl.mechanisms": _MECHANISM}
_MECHANISMS = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
_CA, _CERTIFICATE, _KEY, _PASSWORD = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
)
_TLS = {_CA, _CERTIFICATE, _KEY, _PASSWORD}
_SASL = {_MECHANISM, "sasl.username", "sasl.password"}


def broker(settings: Settings) -> str:
    """Return the address as Faust writes it."""
    servers = require(settings.bootstrap_servers, "bootstrap_servers")
    return ";".join(f"aiokafka://{server.strip()}" for server in servers.split(","))


def credentials(properties: Mapping[str, str]) -> Any:
    """Return what Faust signs in with; None for a broker that asks for nothing.

    Raises:
        UsageError: a property, a protocol or a mechanism has no counterpart in Faust, or one is missing.
    """
    given = {_SAME.get(name, name): value for name, value in properties.items()}
    unknown = sorted(given.keys() - _TLS - _SASL - {_PROTOCOL})
    if unknown:
        raise UsageError(
            f"the faust engine cannot pass on {', '.join(unknown)}: its client is not librdkafka",
            fix=f"leave them out; it knows {', '.join(sorted({_PROTOCOL} | _TLS | _SASL))}",
        )
    protocol = given.get(_PROTOCOL, "PLAINTEXT").upper()
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return SSLCredentials(_context(given))
    if protocol not in {"SASL_SSL", "SASL_PLAINTEXT"}:
        raise UsageError(f"{_PROTOCOL}={protocol} is none", fix="use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    mechanism = given.get(_MECHANISM, "").upper()
    if mechanism not in _MECHANISMS:
        raise UsageError(
            f"the faust engine cannot sign in by {_MECHANISM}={mechanism or 'nothing'}",
            fix=f"use one of {', '.join(sorted(_MECHANISMS))}, or the native engine",
        )
    missing = sorted(_SASL - given.keys())
    if missing:
        raise UsageError(f"{', '.join(missing)} is not set", fix=f"{_PROTOCOL}={protocol} needs it")
    return SASLCredentials(
        username=given["sasl.username"],
        password=given["sasl.password"],
        mechanism=SASLMechanism(mechanism),
        ssl_context=_context(given) if protocol == "SASL_SSL" else None,
    )


def _context(given: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=given.get(_CA))
        if _CERTIFICATE in given:
            context.load_cert_chain(given[_CERTIFICATE], given.get(_KEY), given.get(_PASSWORD))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificates cannot be used: {error}", fix=f"see {', '.join(sorted(_TLS))}") from error
    return context

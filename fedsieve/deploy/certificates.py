"""What is wrong with a deployment's certificates, said before it shows as a fault of the network."""

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from fedsieve.errors import UserError

HERE = "127.0.0.1"

PATIENCE = 5.0
"""Seconds for a server to show its certificate."""

AGAIN = "remove server.crt and server.key, and have fedsieve deploy keys sign new ones, with every --san"
ALL_AGAIN = (
    "remove ca.crt, ca.key, server.crt and server.key, have fedsieve deploy keys make new ones, with every --san, "
    "and carry ca.crt to the nodes"
)


def check_certificates(keys: Path) -> None:
    """Raise a `UserError` for `ca.crt` and `server.crt` in `keys` with which nobody on this machine can connect.

    Those that are not there are not checked.
    """
    authorities = _read(keys / "ca.crt")
    servers = _read(keys / "server.crt")
    _check_dates(str(keys / "ca.crt"), authorities, ALL_AGAIN)
    _check_dates(str(keys / "server.crt"), servers, AGAIN)
    if not servers:
        return
    if not _is_for(servers[0], HERE):
        raise UserError(f"{keys / 'server.crt'}: is not for {HERE}, where this machine finds the SuperLink; {AGAIN}.")
    if len(servers) == len(authorities) == 1 and not _is_signed_by(servers[0], authorities[0]):
        raise UserError(f"{keys / 'server.crt'}: is not signed by {keys / 'ca.crt'}; {AGAIN}.")


def check_server(address: str, authority: Path) -> None:
    """Raise a `UserError` if the server at `address`, HOST:PORT, shows a certificate that `authority` has not signed.

    A server that is not there, or that does not speak TLS, is none of this check's business.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    _check_dates(str(authority), _read(authority), "the server's keys are to be made again")
    try:
        trusting = ssl.create_default_context(cafile=str(authority))
        with (
            socket.create_connection((host, int(port)), timeout=PATIENCE) as connection,
            trusting.wrap_socket(connection, server_hostname=host),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise UserError(f"{address}: {_explain(error, host, authority)}{_describe_dates(host, int(port))}.") from error
    except (OSError, ValueError):
        return


_FAULTS = {
    9: "the server's certificate is not valid yet: is this machine's clock right?",
    10: "the server's certificate has expired; on the server " + AGAIN,
    62: "the server's certificate is not for {host}; on the server " + AGAIN,
    64: "the server's certificate is not for {host}; on the server " + AGAIN,
}
"""By OpenSSL's codes (X509_V_ERR_*)."""


def _explain(error: ssl.SSLCertVerificationError, host: str, authority: Path) -> str:
    unknown = f"the server's certificate is not signed by {authority}; copy the ca.crt that is on the server ({{why}})"
    return _FAULTS.get(error.verify_code, unknown).format(host=host, why=error.verify_message)


def _describe_dates(host: str, port: int) -> str:
    try:
        shown = x509.load_pem_x509_certificate(ssl.get_server_certificate((host, port), timeout=PATIENCE).encode())
    except (OSError, ValueError):
        return ""
    return f" (valid from {shown.not_valid_before_utc:%Y-%m-%d} to {shown.not_valid_after_utc:%Y-%m-%d})"


def _read(path: Path) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a certificate.") from error


def _check_dates(path: str, certificates: Sequence[x509.Certificate], remedy: str) -> None:
    now = datetime.now(UTC)
    for each in certificates:
        if each.not_valid_after_utc < now:
            raise UserError(f"{path}: the certificate expired on {each.not_valid_after_utc:%Y-%m-%d}; {remedy}.")
        if each.not_valid_before_utc > now:
            raise UserError(
                f"{path}: the certificate is not valid before {each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: is this "
                f"machine's clock right, which says {now:%Y-%m-%d %H:%M} UTC?"
            )


def _is_for(certificate: x509.Certificate, name: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return ipaddress.ip_address(name) in names.get_values_for_type(x509.IPAddress)


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True

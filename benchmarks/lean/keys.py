"""Certificates for mutual TLS on one machine: a CA, the server's, and one for each node, which its name stands in."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER = "server"
DAY = timedelta(days=1)


def make_keys(folder: Path, nodes: Sequence[str]) -> None:
    """Write `ca.crt`, and a certificate and a key for the server and each node."""
    folder.mkdir(mode=0o700)
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), _named("lean CA")
    authority = _certificate(ca_name, ca_name, ca_key.public_key())
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    _write(folder / "ca.crt", authority.sign(ca_key, SHA256()).public_bytes(Encoding.PEM))
    for name in (SERVER, *nodes):
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.SERVER_AUTH if name == SERVER else ExtendedKeyUsageOID.CLIENT_AUTH
        made = _certificate(_named(name), ca_name, key.public_key())
        made = made.add_extension(x509.ExtendedKeyUsage([use]), critical=True)
        if name == SERVER:
            made = made.add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
        _write(folder / f"{name}.crt", made.sign(ca_key, SHA256()).public_bytes(Encoding.PEM))
        _write(folder / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def server_credentials(folder: Path) -> grpc.ServerCredentials:
    """Return credentials with which only nodes of this CA can connect."""
    own = (folder / f"{SERVER}.key").read_bytes(), (folder / f"{SERVER}.crt").read_bytes()
    return grpc.ssl_server_credentials([own], (folder / "ca.crt").read_bytes(), require_client_auth=True)


def node_credentials(folder: Path, name: str) -> grpc.ChannelCredentials:
    """Return credentials with which a node connects only to a server of this CA."""
    key, certificate = (folder / f"{name}.key").read_bytes(), (folder / f"{name}.crt").read_bytes()
    return grpc.ssl_channel_credentials((folder / "ca.crt").read_bytes(), key, certificate)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - DAY, now + DAY)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)

"""A deployment's keys: a CA, the server's certificate, and one key pair a node in the formats that Flower takes."""

import ipaddress
import itertools
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedsieve.deploy.layout import node_name
from fedsieve.errors import UserError
from fedsieve.files import PARTIAL

ALWAYS = ("localhost", "127.0.0.1", "::1")
"""Names of the server that its certificate always holds: `flwr` and the superexec reach it there."""

CA_DAYS, SERVER_DAYS = 3650, 825
"""A CA for ten years; a server certificate for as long as strict clients accept one."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)


def make_keys(folder: Path, num_nodes: int, names: Sequence[str] = ()) -> list[str]:
    """Write what is missing of `ca.crt`, `server.crt`, `node-0` to `node-<num_nodes - 1>` and their keys.

    Private keys have mode 0600, the folder 0700. Nothing that exists is overwritten: nodes can be added later, and a
    server certificate that was removed is signed again.

    Args:
        folder: for the keys.
        num_nodes: how many nodes there are to be.
        names: of the server besides `ALWAYS`: host names and IP addresses.

    Returns:
        names of the files written.

    Raises:
        UserError: there is nothing to write, a name is not one of a host, or the folder cannot be written.
    """
    subjects = [_build_subject(name) for name in dict.fromkeys((*ALWAYS, *names))]
    written: list[str] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / "server.crt").exists() and names:
            raise UserError(
                f"--san: {folder / 'server.crt'} exists, and keys are never overwritten; remove it and server.key "
                "to have it signed again."
            )
        if not (folder / "server.crt").exists():
            written += _make_server(folder, subjects)
        for name in map(node_name, range(num_nodes)):
            if not _is_made(folder, name):
                written += _make_node(folder, name)
    except OSError as error:
        raise UserError(f"{folder}: keys cannot be written: {error.strerror}.") from error
    if not written:
        raise UserError(
            f"{folder}: holds the keys of {num_nodes} nodes already, and keys are never overwritten; allowed: another "
            "folder, or more nodes."
        )
    return written


def count_keys(folder: Path) -> int:
    """Return how many nodes have keys: those numbered from 0 without a gap."""
    return next(index for index in itertools.count() if not _is_made(folder, node_name(index)))


def _is_made(folder: Path, name: str) -> bool:
    """Return whether a node has keys; the private one, which is written first, may have been carried away."""
    return (folder / f"{name}.pub").exists()


def _make_server(folder: Path, subjects: Sequence[x509.GeneralName]) -> list[str]:
    written: list[str] = []
    if not (folder / "ca.crt").exists():
        ca_key = _make_key(folder / "ca.key", PrivateFormat.PKCS8)
        name = _build_name("FedSieve deployment CA")
        authority = _build_certificate(name, name, ca_key, ca_key, CA_DAYS)
        authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        authority = authority.add_extension(_build_usage(signs_certificates=True), critical=True)
        _write(folder / "ca.crt", authority.sign(ca_key, SHA384()).public_bytes(Encoding.PEM))
        written += ["ca.key", "ca.crt"]
    try:
        ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        signing = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        fault = "with which server.crt is signed, cannot be read"
        raise UserError(f"{folder / 'ca.key'}: the key of {folder / 'ca.crt'}, {fault}.") from error
    if not isinstance(signing, ec.EllipticCurvePrivateKey) or signing.public_key() != ca.public_key():
        raise UserError(f"{folder / 'ca.key'}: is not the key of {folder / 'ca.crt'}.")
    key = _make_key(folder / "server.key", PrivateFormat.PKCS8)
    server = _build_certificate(_build_name("FedSieve SuperLink"), ca.subject, key, signing, SERVER_DAYS)
    server = (
        server.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_build_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
    )
    _write(folder / "server.crt", server.sign(signing, SHA384()).public_bytes(Encoding.PEM))
    return [*written, "server.key", "server.crt"]


def _make_node(folder: Path, name: str) -> list[str]:
    key = _make_key(folder / name, PrivateFormat.OpenSSH)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _write(folder / f"{name}.pub", public + f" {name}\n".encode())
    return [name, f"{name}.pub"]


def _build_certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signing: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of other hosts may be behind
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )


def _build_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _build_name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _build_subject(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.removeprefix("*.").split(".")):
            raise UserError(
                f"--san: got {name!r}, allowed: a host name such as fl.example.org, or an IP address."
            ) from None
        return x509.DNSName(name)


def _make_key(path: Path, form: PrivateFormat) -> ec.EllipticCurvePrivateKey:
    """Return a new private key, written to `path`, or what an attempt that did not get further has left there."""
    if path.exists():
        load = load_ssh_private_key if form is PrivateFormat.OpenSSH else load_pem_private_key
        try:
            key = load(path.read_bytes(), None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise UserError(f"{path}: is no private key of ours; remove it to have a new one made.")
        return key
    key = ec.generate_private_key(ec.SECP384R1())
    _write(path, key.private_bytes(Encoding.PEM, form, NoEncryption()), 0o600)
    return key


def _write(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file that is not there yet, whole or not at all."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    partial.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)

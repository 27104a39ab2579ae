import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from fedsieve.deploy import keys
from fedsieve.deploy.certificates import check_certificates, check_server
from fedsieve.deploy.keys import make_keys
from fedsieve.deploy.layout import Layout
from fedsieve.deploy.supernode import check
from fedsieve.deploy.trial import up
from fedsieve.errors import UserError


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, *, ca: int = 3650, server: int = 825, later: int = 0) -> Path:
    """Make keys whose certificates hold for so many days, from `later` days on."""
    monkeypatch.setattr(keys, "CA_DAYS", ca)
    monkeypatch.setattr(keys, "SERVER_DAYS", server)
    if later:
        monkeypatch.setattr(keys, "timedelta", lambda *, hours=0, days=0: timedelta(days=days - later * (hours > 0)))
    make_keys(folder, 1)
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve TLS with the keys in `folder`, and yield the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # also that the listener is shut down
                while True:
                    connection = listener.accept()[0]
                    with suppress(OSError):
                        context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_certificates_that_hold_are_none_of_a_users_mistakes(tmp_path: Path):
    check_certificates(tmp_path)  # there are none yet
    make_keys(tmp_path, 1)
    check_certificates(tmp_path)
    with serving(tmp_path) as address:
        check_server(address, tmp_path / "ca.crt")
    check_server(address, tmp_path / "ca.crt")  # nobody is there, which Flower waits for


@pytest.mark.parametrize("server", [0, 825])
def test_an_expired_certificate_is_named_with_its_date_before_anything_is_started(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made(tmp_path / "keys", monkeypatch, ca=0 if server else 3650, server=server)
    name = "ca" if server else "server"
    sentence = rf"{name}\.crt: the certificate expired on \d{{4}}-\d\d-\d\d; remove .* fedsieve deploy keys"
    with pytest.raises(UserError, match=sentence):
        up(Layout(tmp_path), 1)
    assert not (tmp_path / "processes.json").exists()


def test_a_certificate_that_does_not_hold_yet_asks_for_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made(tmp_path, monkeypatch, later=2)
    with pytest.raises(
        UserError, match=r"ca\.crt: the certificate is not valid before .* is this machine's clock right"
    ):
        check_certificates(tmp_path)


def test_a_certificate_of_another_authority_is_said_to_be_one(tmp_path: Path):
    make_keys(tmp_path / "one", 1)
    make_keys(tmp_path / "other", 1)
    (tmp_path / "other/server.crt").rename(tmp_path / "one/server.crt")
    with pytest.raises(UserError, match=r"one/server\.crt: is not signed by .*one/ca\.crt; remove"):
        check_certificates(tmp_path / "one")


def test_a_certificate_for_another_host_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keys, "ALWAYS", ("fl.example.org",))
    make_keys(tmp_path, 1)
    with pytest.raises(UserError, match=r"server\.crt: is not for 127\.0\.0\.1, where .* finds the SuperLink; remove"):
        check_certificates(tmp_path)


def test_what_is_no_certificate_is_one_sentence(tmp_path: Path):
    (tmp_path / "ca.crt").write_text("no")
    with pytest.raises(UserError, match=r"ca\.crt: cannot be read as a certificate\.$"):
        check_certificates(tmp_path)


def test_a_node_says_what_is_wrong_with_the_servers_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made(tmp_path / "expired", monkeypatch, server=0)
    make_keys(tmp_path / "other", 1)
    with serving(tmp_path / "expired") as address:
        expired = r"127\.0\.0\.1:\d+: the server's certificate has expired; on the server remove .* \(valid from .* to "
        with pytest.raises(UserError, match=expired):
            check(["--superlink", address, "--root-certificates", str(tmp_path / "expired/ca.crt")])
        with pytest.raises(UserError, match=r"the server's certificate is not signed by .*other/ca\.crt; copy"):
            check_server(address, tmp_path / "other/ca.crt")


def test_a_node_says_that_the_server_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keys, "ALWAYS", ("fl.example.org",))
    make_keys(tmp_path, 1)
    with serving(tmp_path) as address, pytest.raises(UserError, match=r"certificate is not for 127\.0\.0\.1; on the"):
        check_server(address, tmp_path / "ca.crt")

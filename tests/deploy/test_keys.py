import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization.ssh import load_ssh_private_key, load_ssh_public_key

from fedsieve.deploy.keys import count_keys, make_keys
from fedsieve.errors import UserError


def greeted(keys: Path, name: str) -> bool:
    """Return whether a client that trusts the CA takes the server for the one called `name`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(keys / "server.crt", keys / "server.key")
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    serving = threading.Thread(target=serve)
    serving.start()
    trusting = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        trusting.wrap_socket(ours, server_hostname=name).close()
    except ssl.SSLCertVerificationError:
        return False
    finally:
        ours.close()
        serving.join()
    return True


def test_a_client_that_trusts_the_ca_takes_the_server_for_those_named_and_for_no_other(tmp_path: Path):
    make_keys(tmp_path / "keys", 1, ["fl.example.org", "10.0.0.1"])
    named = ("localhost", "127.0.0.1", "::1", "fl.example.org", "10.0.0.1")
    assert [name for name in (*named, "example.org", "10.0.0.2") if greeted(tmp_path / "keys", name)] == list(named)


def test_each_node_has_a_pair_of_its_own_on_the_curve_that_flower_takes(tmp_path: Path):
    make_keys(tmp_path, 2)
    pairs = []
    for name in ("node-0", "node-1"):
        private = load_ssh_private_key((tmp_path / name).read_bytes(), None)
        assert private.public_key() == load_ssh_public_key((tmp_path / f"{name}.pub").read_bytes())
        assert private.curve.name == "secp384r1"
        pairs.append(private.private_numbers())
    assert pairs[0] != pairs[1]


def test_private_keys_are_for_their_owner_alone(tmp_path: Path):
    make_keys(tmp_path / "keys", 2)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert {name: modes[name] for name in ("ca.key", "server.key", "node-0", "node-1")} == dict.fromkeys(
        ("ca.key", "server.key", "node-0", "node-1"), 0o600
    )
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_nodes_are_added_and_nothing_is_overwritten(tmp_path: Path):
    assert make_keys(tmp_path, 1) == ["ca.key", "ca.crt", "server.key", "server.crt", "node-0", "node-0.pub"]
    (tmp_path / "node-0").unlink()  # carried to its host
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert make_keys(tmp_path, 3) == ["node-1", "node-1.pub", "node-2", "node-2.pub"]
    assert {path: path.read_bytes() for path in before} == before
    assert count_keys(tmp_path) == 3
    with pytest.raises(UserError, match=r"holds the keys of 3 nodes already, and keys are never overwritten"):
        make_keys(tmp_path, 3)
    with pytest.raises(UserError, match=r"^--san: .*server.crt exists, and keys are never overwritten"):
        make_keys(tmp_path, 4, ["fl.example.org"])
    assert count_keys(tmp_path) == 3


def test_a_server_certificate_that_was_removed_is_signed_again_by_the_same_ca(tmp_path: Path):
    make_keys(tmp_path, 1)
    ca = (tmp_path / "ca.crt").read_bytes()
    for name in ("server.crt", "server.key"):
        (tmp_path / name).unlink()
    assert make_keys(tmp_path, 1, ["fl.example.org"]) == ["server.key", "server.crt"]
    assert (tmp_path / "ca.crt").read_bytes() == ca
    assert greeted(tmp_path, "fl.example.org")


def test_a_ca_without_its_key_is_one_sentence(tmp_path: Path):
    make_keys(tmp_path, 1)
    for name in ("server.crt", "server.key", "ca.key"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"ca.key: the key of .*ca.crt, with which server.crt is signed, cannot be"):
        make_keys(tmp_path, 1)


@pytest.mark.parametrize("name", ["", "fl example", "-a.org", "10.0.0.1:9092", "a" * 64, "http://fl.example.org"])
def test_what_is_no_name_of_a_host_is_refused_before_anything_is_written(name: str, tmp_path: Path):
    with pytest.raises(UserError, match=r"^--san: got .*, allowed: a host name such as fl.example.org, or an IP"):
        make_keys(tmp_path / "keys", 1, [name])
    assert not (tmp_path / "keys").exists()


def test_an_attempt_that_a_full_disk_ended_is_gone_on_with(tmp_path: Path):
    make_keys(tmp_path / "whole", 2)
    for name in ("ca.crt", "server.crt", "node-1.pub"):
        (tmp_path / "whole" / name).unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert count_keys(tmp_path / "whole") == 1
    assert make_keys(tmp_path / "whole", 2) == ["ca.key", "ca.crt", "server.key", "server.crt", "node-1", "node-1.pub"]
    assert {name: (tmp_path / "whole" / name).read_bytes() for name in before} == before
    assert greeted(tmp_path / "whole", "localhost")
    private = load_ssh_private_key((tmp_path / "whole/node-1").read_bytes(), None)
    assert private.public_key() == load_ssh_public_key((tmp_path / "whole/node-1.pub").read_bytes())


def test_a_private_key_that_is_none_is_one_sentence(tmp_path: Path):
    (tmp_path / "node-0").write_text("")
    with pytest.raises(UserError, match=r"node-0: is no private key of ours; remove it to have a new one made\.$"):
        make_keys(tmp_path, 1)

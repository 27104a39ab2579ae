import httpx
import pytest

from fedsieve.deploy.local_only import exempt_local_from_proxy

HERE = "localhost,127.0.0.1,::1"


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy", "grpc_proxy"])
def test_this_machine_is_reached_without_the_proxy_that_other_hosts_have(name: str):
    found = exempt_local_from_proxy({name: "http://proxy:3128", "HOME": "/root"})
    assert found == {name: "http://proxy:3128", "HOME": "/root", "no_proxy": HERE, "NO_PROXY": HERE}


def test_what_is_exempt_already_stays_so():
    found = exempt_local_from_proxy({"no_proxy": "localhost, .example.org", "NO_PROXY": "a", "no_grpc_proxy": "b"})
    exempt = "localhost,.example.org,a,b,127.0.0.1,::1"
    assert found == {"no_proxy": exempt, "NO_PROXY": exempt, "no_grpc_proxy": exempt}


@pytest.mark.parametrize("proxy", ["ftp://proxy:1", "socks4://proxy:1", "proxy:1", "HTTP://proxy:1", ""])
def test_flowers_client_starts_with_any_proxy_and_does_not_ask_it(proxy: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("all_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, proxy)
    for name, value in exempt_local_from_proxy({"all_proxy": proxy, "https_proxy": proxy}).items():
        monkeypatch.setenv(name, value)
    for name in ("all_proxy", "http_proxy", "https_proxy"):
        if name not in exempt_local_from_proxy({name: proxy}):
            monkeypatch.delenv(name)
    with httpx.Client() as client:
        transport = client._transport_for_url(httpx.URL("https://127.0.0.1:9093"))
        assert transport is client._transport

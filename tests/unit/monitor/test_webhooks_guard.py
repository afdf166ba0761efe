from __future__ import annotations

import ipaddress

import pytest

from fiveobs.exceptions import BadInputError
from fiveobs.monitor.webhooks.guard import ForbiddenAddressError, Guard, to_target

FORBIDDEN = (
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808"),
    *("64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "2001:db8::1", "100::1", "not an address"),
)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_that_are_not_public_are_forbidden(address: str) -> None:
    """Loopback, private, link-local, multicast, mapped, translated, metadata: none is."""
    assert not Guard().may_reach(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses_are_allowed(address: str) -> None:
    """What everybody can reach, a webhook can."""
    assert Guard().may_reach(address)


def test_a_network_can_be_allowed() -> None:
    """A network of the configuration's is reached, and no more than it."""
    guard = Guard([ipaddress.ip_network("10.1.0.0/16")])
    assert guard.may_reach("10.1.2.3")
    assert not guard.may_reach("10.2.0.1")
    assert not guard.may_reach("::ffff:10.1.2.3")


def test_one_forbidden_address_of_a_name_forbids_all() -> None:
    """A name with a public and a private address is not reached at all."""
    guard = Guard(resolver=lambda host, port: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(ForbiddenAddressError, match="FIVEOBS_WEBHOOK_ALLOWED_NETWORKS"):
        guard.addresses(to_target("https://example.com/"))


def test_a_name_without_an_address_is_a_failure_to_try_again() -> None:
    """It may have one later: OSError."""
    with pytest.raises(OSError, match="no address"):
        Guard(resolver=lambda host, port: []).addresses(to_target("https://example.com/"))


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "017700000001", "localhost"])
def test_other_ways_to_write_an_address_are_resolved_and_refused(host: str) -> None:
    """What the resolver makes of odd spellings is what is checked."""
    with pytest.raises((ForbiddenAddressError, OSError)):
        Guard().addresses(to_target(f"http://{host}/"))


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/", "file:///etc/passwd", "gopher://example.com", "example.com", ""),
        *("https://user:pass@example.com/", "https://user@example.com/", "https://@example.com/"),
        *("https://example.com:22/", "https://example.com:6379/", "https://example.com:99999/"),
        *("https://example.com/#part", "https://exa mple.com/", "https://exa\nmple.com/"),
        *("https:///path", "https://[::1/", "https://[fe80::1%25eth0]/", "https://ex%61mple.com/"),
        *("https://ex\\ample.com/", "https://bücher.example/", "https://example.com/" + "x" * 2048),
        *("https://a..b/", "https://example.com:-1/", "https://example.com:0/"),
    ],
)
def test_urls_that_are_not_for_webhooks_are_refused(url: str) -> None:
    """Only plain http and https URLs, without credentials, to ports that serve HTTP."""
    with pytest.raises(BadInputError, match="webhookUrl"):
        to_target(url)


def test_a_url_is_taken_apart() -> None:
    """Scheme, host, port, and path with query."""
    assert to_target("https://Hooks.example.com/a/b?c=d") == (
        True,
        "hooks.example.com",
        443,
        "/a/b?c=d",
    )
    assert to_target("http://[2606:4700::1]:8080") == (False, "2606:4700::1", 8080, "/")

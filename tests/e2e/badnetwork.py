"""A bad network between the cluster's pods and the S3 server: fault injectors on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.e2e import live
from tests.storage.support.faultproxy import Address, FaultProxy, fault_proxy

HANG_SECONDS = 120.0
"""Longer than any client waits."""


def own_address() -> str:
    """This machine as pods reach it: on the local cluster it is the node.

    Raises:
        AssertionError: the cluster runs elsewhere and ENSEMBLES_OWN_ADDRESS does not say how pods come here.
    """
    address = os.environ.get("ENSEMBLES_OWN_ADDRESS")
    if not address:
        addresses = live.get("nodes")["items"][0]["status"]["addresses"]
        address = next(a["address"] for a in addresses if a["type"] == "InternalIP")
    try:
        with socket.create_server((address, 0)):
            return str(address)
    except OSError as error:
        message = f"{address} is not this machine's ({error}): set ENSEMBLES_OWN_ADDRESS to what pods reach"
        raise AssertionError(message) from error


@contextmanager
def bad_network(port: int = 0) -> Iterator[FaultProxy]:
    """A proxy that pods reach, before the S3 server."""
    with fault_proxy(_s3(), at=(own_address(), port)) as proxy:
        proxy.hang = HANG_SECONDS
        yield proxy


def _s3() -> Address:
    parts = urlsplit(live.s3_address())
    assert parts.hostname
    return parts.hostname, parts.port or 80

"""Ports of this machine for servers that tests start."""

from __future__ import annotations

import random
import socket

BELOW_OUTGOING = range(20_000, 30_000)
"""Linux takes ports from 32768 up for outgoing connections: one could take a port between choice and use."""
TRIES = 200


def free_ports(count: int, address: str = "127.0.0.1") -> range:
    """`count` consecutive ports on which nobody listens, at `address` or at all addresses.

    Raises:
        OSError: no such ports were found.
    """
    chance = random.SystemRandom()
    for _ in range(TRIES):
        first = chance.choice(BELOW_OUTGOING)
        ports = range(first, first + count)
        try:
            for port in ports:
                for where in (address, "0.0.0.0"):  # noqa: S104 - tritonserver listens everywhere unless told
                    socket.create_server((where, port)).close()
        except OSError:
            continue
        return ports
    message = f"no {count} free ports in a row at {address}"
    raise OSError(message)


def free_port(address: str = "127.0.0.1") -> int:
    """A port on which nobody listens, at `address` or at all addresses."""
    return free_ports(1, address)[0]

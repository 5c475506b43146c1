"""A certificate authority of the cluster's own, one client identity per component, service-account keys."""

import secrets
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from localcluster.settings import API_SERVICE_ADDRESS, DNS_DOMAIN, NODE_ADDRESS, NODE_NAME

_DAYS = "3650"


@dataclass(frozen=True)
class Identity:
    """What one certificate says: its subject and the names it answers to."""

    name: str
    subject: str
    alternatives: tuple[str, ...]


IDENTITIES = (
    Identity(
        "apiserver",
        "/CN=kube-apiserver",
        (
            "DNS:localhost",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{DNS_DOMAIN}",
            "IP:127.0.0.1",
            f"IP:{API_SERVICE_ADDRESS}",
            f"IP:{NODE_ADDRESS}",
        ),
    ),
    Identity("admin", "/O=system:masters/CN=admin", ("DNS:admin",)),
    Identity("controllers", "/CN=system:kube-controller-manager", ("DNS:controllers",)),
    Identity("scheduler", "/CN=system:kube-scheduler", ("DNS:scheduler",)),
    Identity("proxy", "/CN=system:kube-proxy", ("DNS:proxy",)),
    Identity("front-proxy", "/CN=front-proxy", ("DNS:front-proxy",)),
    Identity(
        "kubelet",
        f"/O=system:nodes/CN=system:node:{NODE_NAME}",
        (f"DNS:{NODE_NAME}", f"IP:{NODE_ADDRESS}"),
    ),
)


def ensure(folder: Path) -> None:
    """Make every key and certificate that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not (folder / "ca.crt").is_file():
        _key(folder / "ca.key")
        _openssl(
            *("req", "-x509", "-new", "-key", str(folder / "ca.key"), "-days", _DAYS),
            *("-subj", "/CN=ensembles-test-ca", "-out", str(folder / "ca.crt")),
        )
    for identity in IDENTITIES:
        if not (folder / f"{identity.name}.crt").is_file():
            _issue(folder, identity)
    if not (folder / "service-accounts.pub").is_file():
        _key(folder / "service-accounts.key")
        _openssl(
            *("ec", "-in", str(folder / "service-accounts.key"), "-pubout"),
            *("-out", str(folder / "service-accounts.pub")),
        )


def _issue(folder: Path, identity: Identity) -> None:
    key = folder / f"{identity.name}.key"
    _key(key)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        request, extensions = Path(scratch) / "request", Path(scratch) / "extensions"
        extensions.write_text(
            f"subjectAltName={','.join(identity.alternatives)}\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        _openssl("req", "-new", "-key", str(key), "-subj", identity.subject, "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-days", _DAYS, "-set_serial", str(secrets.randbits(63))),
            *("-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")),
            *("-extfile", str(extensions), "-out", str(folder / f"{identity.name}.crt")),
        )


def _key(path: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))
    path.chmod(0o600)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)

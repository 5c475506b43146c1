"""Brings a cluster up, heals it, and waits for what its users rely on."""

import time
from collections.abc import Callable

from localcluster import (
    api,
    build,
    certificates,
    components,
    configuration,
    fakegpu,
    host,
    images,
    parts,
)
from localcluster.errors import ClusterError
from localcluster.settings import Settings, exists, load

API_SECONDS = 180.0
NODE_SECONDS = 240.0


class Laps:
    """Prints what was reached and when."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {text}", flush=True)


def up(settings: Settings) -> None:
    """Bring the cluster up, or put back what is missing of it. Twice is as good as once.

    What is not built yet is built first.

    Raises:
        ClusterError: a part does not build, a component ends, or something is not ready in time.

    """
    lap = Laps()
    build.build(settings.cache, only=parts.CONTROL_PLANE if settings.control_plane_only else ())
    _refuse_other_kind(settings)
    settings.save()
    certificates.ensure(settings.pki)
    configuration.write_control_plane(settings)
    if not settings.control_plane_only:
        host.prepare(settings)
        configuration.write_node(settings)
    started = [name for name in ("etcd", "apiserver") if components.start(settings, name)]
    if not settings.control_plane_only:
        started += ["containerd"] if components.start(settings, "containerd") else []
        _wait(settings, "containerd", lambda: images.answers(settings), "containerd answers", API_SECONDS)
        images.load_system_images(settings)
        lap("containerd answers, system images are there")
    _wait(settings, "apiserver", lambda: api.is_ready(settings), "the API server is ready", API_SECONDS)
    lap(f"API server ready at {settings.server}")
    started += [name for name in components.names(settings) if components.start(settings, name)]
    if settings.control_plane_only:
        _wait_for_accounts(settings)
    else:
        _wait_for_node(settings, lap)
    lap(f"up; started {', '.join(started)}" if started else "up; everything was running already")


def wait_ready(settings: Settings, name: str) -> None:
    """Wait until a component that was just started does its work.

    Raises:
        ClusterError: it ends, or it takes too long.

    """
    if name in {"etcd", "apiserver"}:
        _wait(settings, name, lambda: api.is_ready(settings), "the API server is ready", API_SECONDS)
    elif name == "containerd":
        _wait(settings, name, lambda: images.answers(settings), "containerd answers", API_SECONDS)
    elif name == "kubelet":
        _wait(settings, name, lambda: api.node_is_ready(settings), "the node is Ready", NODE_SECONDS)
        fakegpu.restore(settings)


def _wait_for_accounts(settings: Settings) -> None:
    def there() -> bool:
        try:
            api.kubectl(settings, "get", "serviceaccount", "default", "-n", "default")
        except ClusterError:
            return False
        return True

    _wait(settings, "controllers", there, "the controllers work", API_SECONDS)


def _wait_for_node(settings: Settings, lap: Laps) -> None:
    _wait(settings, "kubelet", lambda: api.node_is_ready(settings), "the node is Ready", NODE_SECONDS)
    lap("node Ready")
    fakegpu.restore(settings)
    api.kubectl(settings, "apply", "-f", "-", stdin=configuration.coredns(settings))
    _wait(settings, "proxy", api.dns_answers, "the cluster's DNS answers", NODE_SECONDS)
    lap("DNS answers")


def _wait(settings: Settings, component: str, done: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        tail = components.log_tail(settings, component)
        if not components.is_running(settings, component):
            raise ClusterError(f"{component} ended while waiting until {what}; its last words:\n{tail}")
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s in vain until {what}; {component} says:\n{tail}")
        time.sleep(0.1)


def _refuse_other_kind(settings: Settings) -> None:
    if not exists(settings.state):
        return
    before = load(settings.state)
    if before.control_plane_only != settings.control_plane_only:
        kind = "a control plane alone" if before.control_plane_only else "a whole cluster"
        raise ClusterError(f"{settings.state} holds {kind}; run `down` there first, or use another --state")
    if before.port != settings.port:
        raise ClusterError(f"the cluster in {settings.state} has port {before.port}; run `down` there first")

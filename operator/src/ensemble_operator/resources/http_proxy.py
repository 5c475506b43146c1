"""The container before tritonserver's HTTP port: HAProxy as configured in the tools image."""

from __future__ import annotations

from ensemble_operator.resources import pods, tritonserver
from ensemble_operator.resources.pods import Json
from ensemble_operator.resources.quantities import requirements
from ensemble_operator.resources.rollout import RolloutData
from ensembles_api.names import HTTP_PORT

CONTAINER = "http"
PROGRAM = "http-proxy"
REQUESTS = {"cpu": "50m", "memory": "64Mi"}
LIMITS = {"memory": "512Mi"}
"""Twice what the buffers of as many connections as it takes need."""


def http_proxy(*, data: RolloutData, image: str) -> Json:
    """The container. It has no preStop hook: SIGTERM at once begins to ask clients to leave, while
    tritonserver's hook still waits.
    """
    shutdown = tritonserver.Shutdown(data.serving.drain_seconds)
    environment = {
        "ENSEMBLES_LISTEN_PORT": HTTP_PORT,
        "ENSEMBLES_SERVER_PORT": tritonserver.HTTP_DIRECT_PORT,
        "ENSEMBLES_CONNECTION_AGE_MILLISECONDS": tritonserver.CONNECTION_AGE_MILLISECONDS,
        "ENSEMBLES_GRACE_MILLISECONDS": 1000 * tritonserver.PROPAGATION_SECONDS,
        "ENSEMBLES_HARD_STOP_MILLISECONDS": 1000 * shutdown.proxy_hard_stop_seconds,
    }
    main = pods.container(
        CONTAINER,
        image=image,
        pull_policy=data.image_pull_policy,
        command=[PROGRAM],
        args=[],
        resources=requirements(
            defaults=REQUESTS, default_limits=LIMITS, resources=data.serving.http_proxy.resources
        ),
        env=[{"name": name, "value": str(value)} for name, value in environment.items()],
        mounts=[],
        tmp=None,
    )
    return {
        **main,
        "ports": [{"name": "http", "containerPort": HTTP_PORT}],
        **tritonserver.proxy_probes(),
    }

"""The command `ensemble-operator`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from kubernetes.config import ConfigException
from pydantic import ValidationError

from ensemble_operator import logs
from ensemble_operator.cluster.client import find_cluster
from ensemble_operator.config import OperatorConfig, load_config
from ensemble_operator.runtime import Options, Runtime

DEFAULT_CONFIG = Path("/etc/ensemble-operator/config.yaml")

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the operator; ends the process with 0 after SIGTERM, 1 after a fault, 2 where it cannot start."""
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level)
    try:
        config = load_config(options.config)
    except (OSError, ValidationError, yaml.YAMLError) as error:
        _log.critical(
            "cannot read the configuration", extra={"path": str(options.config), "error": str(error)}
        )
        sys.exit(2)
    code = asyncio.run(_run(config, options))
    logging.shutdown()
    # Threads that still wait for an answer of the API server must not hold the process.
    os._exit(code)


async def _run(config: OperatorConfig, options: argparse.Namespace) -> int:
    try:
        runtime = Runtime(
            config,
            find_cluster(options.kubeconfig),
            Options(
                namespace=options.namespace,
                elect=options.leader_election,
                health_port=options.health_port,
                metrics_port=options.metrics_port,
                workers=options.workers,
            ),
        )
    except ConfigException as error:
        _log.critical("no access to a cluster", extra={"error": str(error)})
        return 2
    try:
        await runtime.run()
    except Exception:  # noqa: BLE001 - the last place to tell what it was
        _log.exception("stopped by a fault")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ensemble-operator", description="Builds, verifies and serves Triton ensembles."
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument(
        "--namespace",
        default=os.environ.get("POD_NAMESPACE", "default"),
        help="namespace of the Lease; default: $POD_NAMESPACE",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, help="default: the pod's service account, else $KUBECONFIG"
    )
    parser.add_argument(
        "--no-leader-election",
        dest="leader_election",
        action="store_false",
        help="for a single process, e.g. on a workstation",
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.add_argument("--health-port", type=int, default=8080, help="/healthz and /readyz")
    parser.add_argument("--metrics-port", type=int, default=9090, help="/metrics; 0: none")
    parser.add_argument("--workers", type=int, default=4, help="ensembles worked on at once")
    return parser

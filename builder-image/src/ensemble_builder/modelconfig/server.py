"""What the configs of a repository ask of tritonserver and its pod."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tritonclient.grpc import model_config_pb2 as pb

from ensembles_api.contract import ServerRequirements

CACHE_BYTES = 64 * 1024 * 1024
SHARED_MEMORY_MIB = 1024
"""A limit, which costs nothing until it is used. The 64 MiB that containers get by default are two batches of
photographs; NVIDIA's documentation starts its containers with 1 GiB."""
PYTHON_INSTANCE_MIB = 16
"""Per instance of the Python backend, which takes 1 MiB to begin with and grows with the tensors."""


def server_requirements(
    configs: Sequence[pb.ModelConfig], *, complete: bool, entrypoint: str, python_versions: int = 1
) -> ServerRequirements:
    """Derives options, memory and scheduling from configs.

    Args:
        configs: of all models.
        complete: every config is complete, and the server need not (and must not) add to any.
        entrypoint: the model that clients call.
        python_versions: most versions any Python model serves at a time.
    """
    return ServerRequirements(
        args=tuple(_args(configs, complete=complete)),
        shared_memory_mib=SHARED_MEMORY_MIB
        + PYTHON_INSTANCE_MIB * python_versions * _python_instances(configs),
        gpu=any(_needs_gpu(config) for config in configs),
        entrypoint=entrypoint,
        sticky_sessions=any(config.HasField("sequence_batching") for config in configs),
    )


def _args(configs: Sequence[pb.ModelConfig], *, complete: bool) -> Iterable[str]:
    if complete:
        yield "--disable-auto-complete-config"
    if any(config.response_cache.enable for config in configs):
        yield f"--cache-config=local,size={CACHE_BYTES}"
    if any(group.HasField("rate_limiter") for config in configs for group in config.instance_group):
        yield "--rate-limit=execution_count"
    if any(config.HasField("model_metrics") for config in configs):
        # Buckets of a model's own do nothing while histograms are off, as they are by default (metrics.md).
        yield "--metrics-config=histogram_latencies=true"


def _python_instances(configs: Iterable[pb.ModelConfig]) -> int:
    """Instances of the Python backend; a group without a count has one, and one for each GPU it names."""
    total = 0
    for config in configs:
        if config.backend == "python":
            groups = [max(1, group.count) * max(1, len(group.gpus)) for group in config.instance_group]
            total += sum(groups) or 1
    return total


def _needs_gpu(config: pb.ModelConfig) -> bool:
    return config.backend == "tensorrt" or any(
        group.kind == pb.ModelInstanceGroup.KIND_GPU for group in config.instance_group
    )

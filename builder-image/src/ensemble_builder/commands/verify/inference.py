"""One inference over gRPC, streamed where the model is decoupled."""

from __future__ import annotations

import queue
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from ensemble_builder.commands.verify.requests import Array, Input, Request

Answer = Mapping[str, tuple[str, Array]]
"""Output name -> (type on the wire, value); the value of BF16 is float32."""


def infer(
    client: InferenceServerClient, config: ModelConfig, request: Request, *, sequence: bool, timeout: float
) -> tuple[Answer, ...]:
    """Ask once; a decoupled model may answer several times.

    Args:
        client: of one server.
        config: the model's config as that server reports it.
        request: what to ask.
        sequence: the model, or a step of it, keeps state.
        timeout: seconds for all of it.

    Raises:
        InferenceServerException: the server's refusal, or no answer in time.
    """
    inputs = [grpc_input(item) for item in request.inputs]
    options: dict[str, Any] = {}
    if sequence:
        # A sequence of one request: begun and ended, so that no slot stays taken.
        options = {"sequence_id": random.getrandbits(31) + 1, "sequence_start": True, "sequence_end": True}
    if config.model_transaction_policy.decoupled:
        return _stream(client, config.name, inputs, options, timeout)
    result = client.infer(config.name, inputs, client_timeout=timeout, **options)
    return (answer_of(result),)


def _stream(
    client: InferenceServerClient,
    model: str,
    inputs: list[InferInput],
    options: dict[str, Any],
    timeout: float,
) -> tuple[Answer, ...]:
    arrived: queue.Queue[tuple[InferResult | None, InferenceServerException | None]] = queue.Queue()
    client.start_stream(callback=lambda result, error: arrived.put((result, error)), stream_timeout=timeout)
    answers: list[Answer] = []
    try:
        client.async_stream_infer(model, inputs, enable_empty_final_response=True, **options)
        while True:
            try:
                result, error = arrived.get(timeout=timeout)
            except queue.Empty:
                raise InferenceServerException(f"no final response within {timeout:.0f} s") from None
            if error is not None:
                raise error
            if result is None:
                continue
            response = result.get_response()
            if response.outputs:
                answers.append(answer_of(result))
            if response.parameters["triton_final_response"].bool_param:
                return tuple(answers)
    finally:
        client.stop_stream(cancel_requests=True)


def grpc_input(item: Input) -> InferInput:
    entry = InferInput(item.name, list(item.value.shape), item.data_type)
    entry.set_data_from_numpy(item.value)
    return entry


def answer_of(result: InferResult) -> Answer:
    """The outputs of a response.

    Raises:
        InferenceServerException: one does not have the bytes of its shape.
    """
    return {
        output.name: (output.datatype, widened(output.datatype, _value(result, output.name)))
        for output in result.get_response().outputs
    }


def _value(result: InferResult, name: str) -> Array:
    try:
        value: Array = result.as_numpy(name)
    except ValueError as error:
        raise InferenceServerException(
            f"output {name!r} does not have the bytes of its shape: {error}"
        ) from error
    return value


def widened(data_type: str, value: Array) -> Array:
    """BF16, a type that NumPy's own checks and printing do not know, as float32; all else as it is."""
    return value.astype(np.float32) if data_type == "BF16" else value

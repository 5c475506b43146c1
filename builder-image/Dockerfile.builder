# The builder image of one release: compile only, with the DALI and TensorRT of the server it is built from.
#   docker build -f builder-image/Dockerfile.builder --build-arg BASE=nvcr.io/nvidia/tritonserver:26.05-py3 -t builder .
# BASE: a server image. PYTHON: its interpreter, 3.10 or newer, that imports nvidia.dali and has pip.
ARG BASE=nvcr.io/nvidia/tritonserver:26.05-py3

FROM ${BASE} AS build
ARG PYTHON=python3
ARG UV_VERSION=0.13.8
ARG HATCHLING_VERSION=1.27.0
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN ${PYTHON} -m pip install --quiet "uv==${UV_VERSION}" "hatchling==${HATCHLING_VERSION}"
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY crds/pyproject.toml crds/
COPY operator/pyproject.toml operator/
COPY builder-image/pyproject.toml builder-image/
COPY cli/pyproject.toml cli/
# The locked versions with their hashes, before the sources: a change of code re-uses this layer.
RUN ${PYTHON} -m venv --without-pip /opt/ensembles \
 && ${PYTHON} -m uv export --quiet --frozen --no-dev --no-emit-workspace --package ensemble-builder \
      --extra engines --extra environments -o /tmp/locked.txt \
 && ${PYTHON} -m pip --python /opt/ensembles/bin/python install --quiet --no-compile --require-hashes -r /tmp/locked.txt
COPY crds crds
COPY builder-image builder-image
# Without build isolation: the build backend is the one pinned above.
RUN SOURCE_DATE_EPOCH=315532800 \
    ${PYTHON} -m pip wheel --quiet --no-deps --no-build-isolation -w /tmp/wheels ./crds ./builder-image \
 && ${PYTHON} -m pip --python /opt/ensembles/bin/python install --quiet --no-compile --no-deps --no-index /tmp/wheels/*.whl
# The base's own DALI: a pipeline fits only the DALI it was made with. NVIDIA's image keeps it in a folder of its
# backend, which PYTHONPATH names.
RUN dali=$(${PYTHON} -c 'import nvidia.dali, pathlib; print(pathlib.Path(nvidia.dali.__file__).parents[2])' \
      || dirname "$(dirname "$(find /opt/tritonserver/backends/dali/wheel -type d -path '*/nvidia/dali' | head -n 1)")") \
 && test -d "$dali/nvidia/dali" \
 && echo "$dali" > "$(/opt/ensembles/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dali.pth"
# The base has TensorRT's library without its Python bindings; they must be of the same build.
RUN bindings=$(/opt/ensembles/bin/python -m ensemble_builder.compilers.toolchain bindings) \
 && if [ -n "$bindings" ]; then \
      ${PYTHON} -m pip --python /opt/ensembles/bin/python install --quiet --no-compile --no-deps "$bindings"; \
    fi \
 && /opt/ensembles/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/ensembles/lib \
 && /opt/ensembles/bin/python -m ensemble_builder.compilers.toolchain show | tee /opt/ensembles/toolchain.json

FROM ${BASE}
LABEL org.opencontainers.image.title="ensemble builder" \
      org.opencontainers.image.licenses="Apache-2.0" \
      dev.ensembles.toolchain="/opt/ensembles/toolchain.json"
COPY --from=build /opt/ensembles /opt/ensembles
# The uid has no line in /etc/passwd: USER answers who asks for its name.
ENV PATH=/opt/ensembles/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp USER=ensembles
USER 65532:65532
ENTRYPOINT ["ensemble-builder"]
CMD ["--help"]

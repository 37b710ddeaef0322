# One image for every part: the API, Ray's head and workers, MLflow, the migrations. How to build and try it: k8s/README.md.
#
#   docker build --tag espalier:0.1.0-cuda .                             with the CUDA libraries that torch's default wheel brings
#   docker build --build-arg TORCH_INDEX=URL --tag espalier:0.1.0 .      CPU only, a fifth of the size: the index of torch's CPU wheels

# Python's minor version is part of a cohort's checkpoint and of Ray's wire format: head, workers and API must agree on it.
ARG PYTHON=3.11.14

FROM python:${PYTHON}-slim-bookworm AS dependencies
# Empty: torch comes from the index that pip knows, with CUDA.
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR=/pip-cache
WORKDIR /build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Only what names the dependencies: this layer, gigabytes with CUDA, stays while the code changes.
COPY pyproject.toml constraints.txt ./
# A pip.conf given as a build secret (another index, a proxy's certificate) leaves nothing in the image.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=cache,target=/pip-cache \
    python -m venv /opt/venv \
    && /opt/venv/bin/pip install --constraint constraints.txt --upgrade pip \
    && python -c "import tomllib; it = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*it['dependencies'], *it['optional-dependencies']['service'], sep='\n')" > requirements.txt \
    && if [ -n "$TORCH_INDEX" ]; then \
        /opt/venv/bin/pip install --constraint constraints.txt --index-url "$TORCH_INDEX" torch; \
    fi \
    && /opt/venv/bin/pip install --constraint constraints.txt --requirement requirements.txt

FROM python:${PYTHON}-slim-bookworm AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR=/pip-cache
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY espalier espalier
COPY core core
COPY sweeps sweeps
COPY services services
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=cache,target=/pip-cache \
    PIP_CONSTRAINT=/build/constraints.txt pip wheel --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm
# torch.compile builds the CPU's kernels with g++, and Triton its launchers; Ray's head and workers are started by bash.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++=4:12.2.0-3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 espalier \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin espalier \
    && install --directory --owner=10001 --group=10001 /var/lib/espalier
COPY --from=dependencies /opt/venv /opt/venv
# The code is its own layer of a few hundred kilobytes.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/venv/bin/pip install --no-cache-dir --no-deps --no-index --find-links /wheels espalier

# NVIDIA_VISIBLE_DEVICES is not set: it would give every GPU of a node to pods that asked for none.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/espalier \
    SWEEP_HOME=/var/lib/espalier \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The root file system may be read-only: what is written lies here. Ray's sessions and logs are under /tmp/ray.
VOLUME ["/home/espalier", "/tmp", "/var/lib/espalier"]
WORKDIR /home/espalier
USER 10001:10001
EXPOSE 8080
# For engines without probes of their own; it speaks of the API, the image's default command.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["sweep"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]

ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="Espalier" \
    org.opencontainers.image.description="Learning-rate sweeps for PyTorch: many trials as lanes of one program" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# The job with its model inside, for CPUs; with a CUDA runtime as the base, the same image uses the GPU.
#   docker build -t ecomintent-batch .
#   docker build -t ecomintent-batch:cuda --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 \
#       --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm -v "$PWD:/data" ecomintent-batch ecomintent-batch run tickets.csv
ARG BASE=debian:13-slim
FROM ${BASE}

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# "ray" makes the image one for the nodes of a Ray cluster too.
ARG EXTRAS=warehouse

# The release of Debian or Ubuntu decides the patch level of its Python; the packages that matter are pinned below.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 ecomintent \
    && install --directory --owner ecomintent /data \
    && python3 -m venv /opt/venv

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    HF_HUB_OFFLINE=1

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY sql sql
COPY flows flows
COPY ecomintent_batch ecomintent_batch
RUN pip install --no-cache-dir --constraint constraints.txt --extra-index-url "${TORCH_INDEX}" ".[${EXTRAS}]" \
    && ecomintent-batch --version

USER 10001
WORKDIR /data
# No entrypoint: Prefect's work pools start `prefect flow-run execute` in it.
CMD ["ecomintent-batch", "--help"]

# The command line in an image, for CPUs or for NVIDIA GPUs:
#
#   docker build --tag stepcoder-trl .
#   docker build --tag stepcoder-trl:cuda --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 --build-arg TORCH_INDEX= .
#
# The sandbox needs no privileges and no options of Docker. Check it on each new machine:
#
#   docker run --rm stepcoder-trl selftest --isolation strict
#
# `make test-dockerfile` runs these steps in a fresh Debian without Docker, as root of a machine with debootstrap.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

# PyTorch's CPU build. Empty takes the build for CUDA from PyPI.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# For example `plots,deepspeed,vllm`.
ARG EXTRAS=plots

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY . .
RUN python3 -m venv /opt/stepcoder \
    && /opt/stepcoder/bin/pip install --no-cache-dir --constraint constraints.txt \
        ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} torch \
    && /opt/stepcoder/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]" \
    && rm -rf /src/build

RUN useradd --create-home --uid 1000 stepcoder
USER stepcoder
WORKDIR /home/stepcoder
ENV PATH=/opt/stepcoder/bin:/usr/local/bin:/usr/bin:/bin
ENTRYPOINT ["stepcoder-trl"]
CMD ["--help"]

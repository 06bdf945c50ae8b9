# syntax=docker/dockerfile:1
# The project for GPU nodes, in two stages; docs/usage.md says how it is built and started.
ARG BASE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${BASE} AS build
# hadolint ignore=DL3008  # Ubuntu keeps one version of each package
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /opt/goodsam
# Packages first: they change less often than the code. CUDA's libraries come with PyTorch's wheels.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir stage1_sam_cache stage2_distill \
    && touch stage1_sam_cache/__init__.py stage2_distill/__init__.py \
    && pip install --no-cache-dir -c constraints.txt '.[coco,fast,hub,onnx,views]' \
    && pip uninstall --yes goodsam
COPY stage1_sam_cache stage1_sam_cache
COPY stage2_distill stage2_distill
COPY mmseg_configs mmseg_configs
COPY tools tools
RUN pip install --no-cache-dir --no-deps -c constraints.txt -e .

FROM ${BASE}
# What opencv-python links against, and the certificates for downloads.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libgl1 libglib2.0-0t64 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 goodsam \
    && mkdir --parents /work \
    && chown goodsam /work
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/goodsam /opt/goodsam
ENV PATH=/opt/venv/bin:/opt/goodsam/tools:$PATH
USER 10001
# data/, cache/, checkpoints/ and work_dirs/ are looked for here: mount a folder of the host. With --user the container
# knows no name and no home; weights that are downloaded are kept in .cache of that folder.
ENV HOME=/work USER=goodsam
WORKDIR /work
CMD ["bash"]

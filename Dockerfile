# The commands in an image; EXTRA is one of pyproject.toml's: cuda, cuda12 or tpu. Without
# one it runs on the CPU.
#
#   docker build --build-arg EXTRA=cuda -t dtvg_jax:cuda .
#   docker run --user "$(id -u)" -v "$PWD:/mnt" dtvg_jax:cuda dtvg_jax.train --help
FROM python:3.11-slim
ARG EXTRA=""

WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY dtvg_jax dtvg_jax
COPY tasks tasks
COPY gin gin
RUN pip install --no-cache-dir -c constraints.txt ".${EXTRA:+[$EXTRA]}"

# Jobs and the cache are below the folder that is mounted, whoever the user is.
ENV HOME=/mnt
WORKDIR /mnt
RUN useradd --uid 1000 --home-dir /mnt dtvg && chown dtvg /mnt
USER 1000
ENTRYPOINT ["python", "-m"]
CMD ["dtvg_jax.train", "--help"]

# SPDX-License-Identifier: Apache-2.0
# The harness in a container; docs/how-to/containers.md has the commands. BASE is any image with Python 3.11 or later.
#   docker build -t migmatrix .
ARG BASE=python:3.13-slim
FROM $BASE
ARG PIP_OPTIONS=
COPY . /src
RUN python3 -m venv /opt/migmatrix \
 && /opt/migmatrix/bin/pip install --no-cache-dir $PIP_OPTIONS /src \
 && ln -s /opt/migmatrix/bin/migmatrix /usr/local/bin/migmatrix \
 && rm -rf /src
WORKDIR /work
ENTRYPOINT ["migmatrix"]

#!/bin/sh
# Puts otelprobe with its locked dependencies into a virtual environment: build.sh TARGET [PYTHON]
#
# The Containerfile runs this, and so does the test that starts the result without an image. TARGET is where the environment
# will stay, as its programs know their own path.
set -eu
target=$1
python=${2:-python3}
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

# What builds the wheel and lists its parts does not go into the image. Neither environment has a pip of its own: that of PYTHON does it.
"$python" -m venv --without-pip "$tools/venv"
"$python" -m pip --python "$tools/venv/bin/python" install --quiet --no-compile --require-hashes -r "$here/requirements-build.txt"
"$python" -m pip --python "$tools/venv/bin/python" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$tools" "$source"

"$python" -m venv --without-pip "$target"
"$python" -m pip --python "$target/bin/python" install --quiet --no-compile --require-hashes -r "$here/requirements.txt"
"$python" -m pip --python "$target/bin/python" install --quiet --no-compile --no-deps "$tools"/otelprobe-*.whl
"$tools/venv/bin/cyclonedx-py" environment --output-reproducible --spec-version 1.6 --of JSON \
    -o "$target/sbom.cdx.json" "$target/bin/python"
# The file system is read-only at run time: what is not compiled now is compiled at every start.
"$target/bin/python" -m compileall -q -j 0 "$target/lib" || true

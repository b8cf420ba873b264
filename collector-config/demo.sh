#!/bin/sh
# Starts the embedded identity provider and API, and runs the demo flow against them until told to stop. The demo draws its
# secrets anew at each start and prints them behind the flow file: they are handed on by the environment.
set -eu
flow="$(mktemp -d)/flow.yaml"
otelprobe demo --serve >"$flow" &
demo=$!
trap 'kill "$demo" 2>/dev/null || true' EXIT
until grep -q '^# provider and API are up' "$flow"; do
  kill -0 "$demo" 2>/dev/null || { echo "the demo did not start" >&2; exit 1; }
  sleep 0.2
done
sed -n 's/^# export //p' "$flow" >"$flow.env"
while IFS= read -r line; do
  export "${line?}"
done <"$flow.env"
rm "$flow.env"
otelprobe run "$flow" &
probe=$!
trap 'kill "$probe" 2>/dev/null; wait "$probe" || true; kill "$demo" 2>/dev/null || true' TERM INT
wait "$probe"

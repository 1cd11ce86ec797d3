#!/bin/bash
# Whether every model named has a version that answers: exit status 0, or 1 and why not.
#
# The page of a model's state is answered with 200 even if no version could be loaded, and a port
# that is open says less still; this reads the state itself. It needs bash and grep, which the image
# tensorflow/serving has. REST_PORT is 8501 if it is not set.
set -u
port="${REST_PORT:-8501}"
[ $# -gt 0 ] || { echo "usage: ready.sh MODEL..." >&2; exit 1; }
for model in "$@"; do
  exec 3<>"/dev/tcp/127.0.0.1/${port}" || { echo "nothing listens on ${port}"; exit 1; }
  printf 'GET /v1/models/%s HTTP/1.0\r\nHost: localhost\r\n\r\n' "${model}" >&3
  if ! grep -q '"state": "AVAILABLE"' <&3; then
    echo "${model} has no version that is AVAILABLE"
    exit 1
  fi
  exec 3<&- 3>&-
done

#!/bin/bash
# Start Valkey, or Redis. Without arguments it takes connections from other containers and keeps its data in /data;
# a configuration file or options may follow, as in the official images.
set -euo pipefail

server=$(basename "$(command -v valkey-server redis-server | head -n 1)")
case ${1:-} in
    "" | -* | *.conf) ;;
    valkey-server | redis-server) shift ;;
    *) exec "$@" ;;
esac
file=()
if [[ ${1:-} == *.conf ]]; then
    file=("$1")
    shift
fi
exec "$server" "${file[@]}" --protected-mode no --dir /data "$@"

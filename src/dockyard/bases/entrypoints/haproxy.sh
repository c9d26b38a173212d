#!/bin/bash
# Start HAProxy as a master with its workers, so that a signal renews the configuration without losing a connection;
# the configuration lies where the official image has it.
set -euo pipefail

case ${1:-} in
    "" | -*) ;;
    haproxy) shift ;;
    *) exec "$@" ;;
esac
[ $# -gt 0 ] || set -- -f /usr/local/etc/haproxy/haproxy.cfg
exec haproxy -W -db "$@"

#!/bin/bash
# Start PostgreSQL. An empty data folder is made a database first, by the variables that the official image has:
# POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB (each also with _FILE), POSTGRES_INITDB_ARGS and
# POSTGRES_HOST_AUTH_METHOD, and by the scripts in /docker-entrypoint-initdb.d.
set -euo pipefail
# shellcheck source=src/dockyard/bases/entrypoints/common.sh
. /usr/local/lib/dockyard/common.sh

case ${1:-postgres} in
    postgres) [ $# = 0 ] || shift ;;
    -*) ;;
    *) exec "$@" ;;
esac
data=${PGDATA:?}
sockets=/run/postgresql
[ -w $sockets ] || sockets=/tmp
major=$(postgres --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')

initialise() {
    take POSTGRES_PASSWORD
    take POSTGRES_USER postgres
    take POSTGRES_DB "$POSTGRES_USER"
    local method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256} arguments
    [ -n "$POSTGRES_PASSWORD" ] || [ "$method" = trust ] || refuse \
        "the database is empty and has no password: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"
    read -ra arguments <<<"${POSTGRES_INITDB_ARGS:-}"
    begin "$data"
    initdb --pgdata="$data/.new" --username="$POSTGRES_USER" --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust \
        --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-none}") "${arguments[@]}"
    printf 'host all all all %s\n' "$method" >>"$data/.new/pg_hba.conf"
    pg_ctl --pgdata="$data/.new" --wait --silent \
        --options="-c listen_addresses='' -c unix_socket_directories='$sockets'" start
    export PGHOST=$sockets PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB
    if [ "$POSTGRES_DB" != postgres ]; then
        psql --quiet --set=ON_ERROR_STOP=1 --set=name="$POSTGRES_DB" --dbname=postgres <<<'CREATE DATABASE :"name";'
    fi
    run_scripts psql --quiet --set=ON_ERROR_STOP=1
    pg_ctl --pgdata="$data/.new" --wait --silent --mode=fast stop
    unset PGHOST PGUSER PGDATABASE POSTGRES_PASSWORD
    finish "$data" PG_VERSION
}

if [ ! -s "$data/PG_VERSION" ]; then
    initialise
elif [ "$(<"$data/PG_VERSION")" != "$major" ]; then
    refuse "$data is a database of PostgreSQL $(<"$data/PG_VERSION"), and this is PostgreSQL $major" \
        "dump it with the older version and restore it here, or begin with an empty volume"
fi
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories="$sockets" "$@"

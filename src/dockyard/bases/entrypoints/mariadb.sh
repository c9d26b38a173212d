#!/bin/bash
# Start MariaDB. An empty data folder is made a database first, by the variables that the official image has:
# MARIADB_ROOT_PASSWORD (or MARIADB_RANDOM_ROOT_PASSWORD, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD), MARIADB_DATABASE,
# MARIADB_USER and MARIADB_PASSWORD, each also with _FILE and by its MYSQL_ name, and by the scripts in
# /docker-entrypoint-initdb.d.
set -euo pipefail
# shellcheck source=src/dockyard/bases/entrypoints/common.sh
. /usr/local/lib/dockyard/common.sh

case ${1:-mariadbd} in
    mariadbd | mysqld) [ $# = 0 ] || shift ;;
    -*) ;;
    *) exec "$@" ;;
esac
data=/var/lib/mysql
run=/run/mysqld
[ -w $run ] || run=/tmp

# either NAME [DEFAULT]: MARIADB_NAME, or what MYSQL_NAME says.
either() {
    take "MARIADB_$1"
    take "MYSQL_$1"
    local first="MARIADB_$1" second="MYSQL_$1"
    printf -v "$first" '%s' "${!first:-${!second:-}}"
}

quoted() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\\\'}"
}

named() {
    printf '\x60%s\x60' "${1//\`/\`\`}"
}

initialise() {
    local name
    for name in ROOT_PASSWORD DATABASE USER PASSWORD RANDOM_ROOT_PASSWORD ALLOW_EMPTY_ROOT_PASSWORD; do
        either "$name"
    done
    if [ -z "$MARIADB_ROOT_PASSWORD$MARIADB_ALLOW_EMPTY_ROOT_PASSWORD${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ]; then
        [ -n "$MARIADB_RANDOM_ROOT_PASSWORD" ] || refuse \
            "the database is empty and root has no password: set MARIADB_ROOT_PASSWORD or MARIADB_ROOT_PASSWORD_FILE," \
            "or MARIADB_RANDOM_ROOT_PASSWORD=1 where nobody needs it"
        MARIADB_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64)
    fi
    begin "$data"
    mariadb-install-db --datadir="$data/.new" --skip-test-db --auth-root-authentication-method=normal \
        --skip-name-resolve >/dev/null
    mariadbd --datadir="$data/.new" --socket="$run/new.sock" --pid-file="$run/new.pid" --skip-networking &
    local server=$!
    wait_for mariadb-admin --no-defaults --socket="$run/new.sock" --user=root ping
    local client=(mariadb --no-defaults --socket="$run/new.sock" --user=root)
    {
        local password
        password=$(quoted "$MARIADB_ROOT_PASSWORD")
        # The installation gives root a name for each address of this machine, all without a password.
        printf 'DELETE FROM mysql.global_priv WHERE User = "" OR (User = "root" AND Host != "localhost");\n'
        printf 'DELETE FROM mysql.proxies_priv WHERE Host != "localhost";\nFLUSH PRIVILEGES;\n'
        if [ -n "$MARIADB_DATABASE" ]; then
            printf 'CREATE DATABASE %s CHARACTER SET utf8mb4;\n' "$(named "$MARIADB_DATABASE")"
        fi
        if [ -n "$MARIADB_USER" ]; then
            printf 'CREATE USER %s@"%%" IDENTIFIED BY %s;\n' "$(quoted "$MARIADB_USER")" "$(quoted "$MARIADB_PASSWORD")"
        fi
        if [ -n "$MARIADB_USER" ] && [ -n "$MARIADB_DATABASE" ]; then
            # In a grant, _ stands for any letter.
            printf 'GRANT ALL ON %s.* TO %s@"%%";\n' "$(named "${MARIADB_DATABASE//_/\\_}")" "$(quoted "$MARIADB_USER")"
        fi
        printf 'CREATE USER root@"%%" IDENTIFIED BY %s;\n' "$password"
        printf 'GRANT ALL ON *.* TO root@"%%" WITH GRANT OPTION;\n'
    } | "${client[@]}"
    run_scripts "${client[@]}" ${MARIADB_DATABASE:+"--database=$MARIADB_DATABASE"}
    printf 'ALTER USER root@localhost IDENTIFIED BY %s;\n' "$(quoted "$MARIADB_ROOT_PASSWORD")" | "${client[@]}"
    kill "$server"
    wait "$server"
    for name in ROOT_PASSWORD PASSWORD; do unset "MARIADB_$name" "MYSQL_$name"; done
    finish "$data" mysql
}

[ -d "$data/mysql" ] || initialise
exec mariadbd --datadir="$data" --socket="$run/mysqld.sock" --pid-file="$run/mysqld.pid" --bind-address='*' "$@"

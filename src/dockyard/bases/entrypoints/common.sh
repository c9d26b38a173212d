#!/bin/bash
# What the entry points of the database images share; sourced by them.

refuse() {
    printf 'ERROR %s\n' "$@" >&2
    exit 1
}

# take NAME [DEFAULT]: give the variable NAME its own value, that of the file in NAME_FILE, or the default.
take() {
    local name=$1 file="$1_FILE"
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
        refuse "both $name and $file are set: set one of them"
    elif [ -n "${!file:-}" ]; then
        [ -r "${!file}" ] || refuse "$file is ${!file}, which cannot be read"
        # As in the official images, $( ) drops the line end that editors leave.
        printf -v "$name" '%s' "$(<"${!file}")"
    else
        printf -v "$name" '%s' "${!name:-${2:-}}"
    fi
    unset "$file"
}

# begin FOLDER: give the empty folder in which a database is made. What an interrupted start left in it goes first,
# and nothing moves to its place before it is whole: a half-made database is never taken for one.
begin() {
    [ -w "$1" ] || refuse "$1 cannot be written by user $(id -un) ($(id -u)): give it to that user, or use a named volume"
    rm -rf "$1/.new"
    mkdir -m 0700 "$1/.new"
}

# finish FOLDER LAST: move what was made to its place; LAST, by which a database is known, goes last.
finish() {
    find "$1/.new" -mindepth 1 -maxdepth 1 ! -name "$2" -exec mv -t "$1" {} +
    mv "$1/.new/$2" "$1/"
    rmdir "$1/.new"
}

# run_scripts COMMAND…: run the files that a person put beside, in the order of their names; SQL goes to COMMAND.
run_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh) echo "running $script" && bash -e "$script" ;;
            *.sql) echo "running $script" && "$@" <"$script" ;;
            *.sql.gz) echo "running $script" && gzip -dc "$script" | "$@" ;;
        esac
    done
}

# wait_for COMMAND…: wait until the server that is used to make the database answers, for a minute at the most.
wait_for() {
    for _ in {1..300}; do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    refuse "the server that makes the database does not answer; its log is above"
}

# What a script says, whom it acts as, and where it keeps things.
#
# Sourced first.

# What is made here may be run by another user than its maker; see as_server.
umask 022

say() { printf 'script/%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

is_root() { [[ $EUID -eq 0 ]]; }

as_root() {
    if is_root; then "$@"; else sudo -n "$@"; fi
}

# The user a server runs as when root starts it: Postgres and PgBouncer refuse root.
server_user() { id -un postgres 2>/dev/null || echo nobody; }

# Runs a command as the user whom servers run as.
as_server() {
    if ! is_root; then
        "$@"
    elif has runuser; then
        runuser -u "$(server_user)" -- "$@"
    else
        sudo -n -u "$(server_user)" -- "$@"
    fi
}

# Prints the folder where unpacked binaries are kept between runs.
#
# A server that root starts runs as somebody else, who may be unable to enter root's checkout.
cache_dir() {
    local dir=$PWD/.tools
    if is_root && ! as_server test -x "$PWD"; then
        dir=/var/cache/postrider
    fi
    echo "$dir"
}

# A private Postgres cluster that lives as long as the script that starts it.
#
# Sourced after packages.sh and postgres.sh. Each run has its own cluster under .test/, named by
# the script's process id, on a free loopback port: runs do not meet each other or any other
# server. A run that was killed too hard to clean up is cleaned up after by the next one.

# Ports are taken from below the range of outgoing connections, so that none of those is in the way.
PORT_FIRST=20000
PORT_COUNT=12000

# The folder of this run's cluster, once there is one.
CLUSTER_DIR=

# Makes a cluster that does not run yet, in a folder which the server's user can reach.
create_cluster() {
    discard_dead_clusters
    CLUSTER_DIR=$PWD/.test/$$
    mkdir -p "$CLUSTER_DIR"
    trap discard_cluster EXIT
    # Exiting from a signal runs the trap above.
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if is_root; then
        chown "$(server_user)" "$CLUSTER_DIR"
        if ! as_server test -w "$CLUSTER_DIR"; then
            # Others cannot enter this checkout; /root is a usual place for one.
            rmdir "$CLUSTER_DIR"
            ln -s "$(mktemp -d /tmp/postrider-test.XXXXXX)" "$CLUSTER_DIR"
            chown "$(server_user)" "$CLUSTER_DIR/"
        fi
    fi

    in_cluster "$PG_BIN/initdb" --pgdata=data --username=postgres --auth=trust \
        --encoding=UTF8 --no-locale --no-sync >/dev/null
    # Nothing here outlives the run, so nothing has to survive a crash of the machine.
    in_cluster tee -a data/postgresql.conf >/dev/null <<'SETTINGS'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
# Tests run side by side, and each opens pools of its own.
max_connections = 300
# A test database has a few hundred partitions and indexes, dropped in one transaction.
max_locks_per_transaction = 256
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = '2GB'
jit = off
timezone = 'UTC'
SETTINGS
}

# Starts the cluster on a free port and sets CLUSTER_URL.
start_cluster() {
    local port try
    # Whether a port is free is best learned by taking it.
    for try in 1 2 3 4 5 6 7 8; do
        port=$((PORT_FIRST + RANDOM % PORT_COUNT))
        if in_cluster "$PG_BIN/pg_ctl" start --silent --wait --pgdata=data --log=log \
            --options="-p $port" >/dev/null 2>&1; then
            CLUSTER_URL=postgres://postgres@127.0.0.1:$port/postgres
            return
        fi
    done
    cat "$CLUSTER_DIR/log" >&2
    die "Postgres did not start on any of $try ports; its log is above"
}

# Runs a command in the cluster's folder as the server's user.
in_cluster() {
    (cd "$CLUSTER_DIR/" && as_server "$@")
}

# Stops the server and removes every trace of it but the log of a run that failed.
discard_cluster() {
    local status=$?
    [[ -n $CLUSTER_DIR ]] || return 0
    # A second signal must not interrupt this.
    trap '' HUP INT TERM
    if [[ $status -ne 0 && -e $CLUSTER_DIR/log ]]; then
        cat "$CLUSTER_DIR/log" >.test/postgres.log
    fi
    if [[ -e $CLUSTER_DIR/data/postmaster.pid ]]; then
        in_cluster "$PG_BIN/pg_ctl" stop --silent --mode=immediate --pgdata=data >/dev/null || true
    fi
    remove_cluster "$CLUSTER_DIR"
    CLUSTER_DIR=
}

# Removes what runs that were killed have left behind.
#
# Their servers are not signalled: the process id they noted may be somebody else's by now. A server
# that misses its lock file, which it looks for every minute, shuts itself down.
discard_dead_clusters() {
    local dir pid
    for dir in "$PWD"/.test/[0-9]*; do
        pid=${dir##*/}
        if [[ -e /proc/$pid ]] || kill -0 "$pid" 2>/dev/null; then
            continue
        fi
        remove_cluster "$dir" 2>/dev/null || true
    done
}

remove_cluster() {
    if [[ -L $1 ]]; then
        rm -rf "$(readlink "$1")"
    fi
    rm -rf "$1"
}

# Finds PgBouncer for the tests that go through one, or gets it.
#
# Sourced after packages.sh. Debian's package would start a service, so it is not installed but
# unpacked into the cache.

# Exports POSTRIDER_TEST_PGBOUNCER, a command that takes PgBouncer's arguments.
#
# Without it the tests that need it fail: a run that leaves them out must not look like one that
# passed.
ensure_pgbouncer() {
    [[ -z ${POSTRIDER_TEST_PGBOUNCER:-} ]] || return 0
    if find_pgbouncer || { get_pgbouncer && find_pgbouncer; }; then
        export POSTRIDER_TEST_PGBOUNCER=$PWD/script/lib/run_pgbouncer
    else
        say "there is no pgbouncer, so the tests that need it will fail: install it (Debian," \
            "Ubuntu: apt-get install pgbouncer), or name it in POSTRIDER_TEST_PGBOUNCER"
    fi
}

# Exports PGBOUNCER_BIN, for script/lib/run_pgbouncer.
find_pgbouncer() {
    local dir
    while read -r -d: dir; do
        if [[ -x $dir/pgbouncer ]]; then
            export PGBOUNCER_BIN=$dir/pgbouncer
            return
        fi
    done <<<"$PATH:/usr/sbin:/opt/homebrew/bin:$(cache_dir)/pgbouncer/usr/sbin:"
    return 1
}

get_pgbouncer() {
    if has apt-get; then
        unpack_package pgbouncer
    else
        install_packages pgbouncer pgbouncer pgbouncer
    fi
}

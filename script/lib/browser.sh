# Finds Chromium and its driver, which the tests of pages open them in, or installs them.
#
# Sourced after packages.sh. Both are installed rather than unpacked into the cache: a browser needs
# a hundred libraries, fonts, and the folder it was built for.

# Exports POSTRIDER_TEST_CHROMIUM and POSTRIDER_TEST_CHROMEDRIVER. Without them the tests that need
# them fail: a run that leaves them out must not look like one that passed.
ensure_browser() {
    find_browser && return 0
    install_packages "chromium chromium-driver" "chromium chromedriver" "chromium chromedriver" ||
        true
    find_browser ||
        say "there is no Chromium with its driver, so the tests that need it will fail: install both" \
            "(Debian: apt-get install chromium chromium-driver), or name them in" \
            "POSTRIDER_TEST_CHROMIUM and POSTRIDER_TEST_CHROMEDRIVER"
}

find_browser() {
    local browser driver
    browser=${POSTRIDER_TEST_CHROMIUM:-$(first_of chromium chromium-browser google-chrome \
        /Applications/Chromium.app/Contents/MacOS/Chromium)}
    driver=${POSTRIDER_TEST_CHROMEDRIVER:-$(first_of chromedriver /usr/lib/chromium/chromedriver \
        /usr/lib64/chromium-browser/chromedriver)}
    [[ -x $browser && -x $driver ]] || return 1
    export POSTRIDER_TEST_CHROMIUM=$browser POSTRIDER_TEST_CHROMEDRIVER=$driver
}

# The path of the first of these programs that is there.
first_of() {
    local name
    for name in "$@"; do
        command -v "$name" && return 0
    done
    return 0
}

# Sourced by scripts/run and scripts/test: brings the machine and .venv to what they need.
# Everything is done once; a second call finds it done and takes a moment.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

# system_packages COMMAND-OR-LIBRARY=PACKAGE…: installs the packages of what is missing.
system_packages() {
    local pair missing=()
    for pair in "$@"; do
        local probe=${pair%%=*} package=${pair#*=}
        case $probe in
            lib*) ldconfig -p 2>/dev/null | grep -q "$probe" ||
                [ -n "$(find /usr/lib -path "*$probe*" -print -quit 2>/dev/null)" ] ;;
            *) PATH="$PATH:/usr/sbin:/sbin" command -v "$probe" >/dev/null ;;
        esac || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "Installing system packages: ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { say "They need root, or sudo."; exit 1; }
        as_root=(sudo)
    fi
    command -v apt-get >/dev/null ||
        { say "This is not Debian or Ubuntu: install their equivalents and start again."; exit 1; }
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# python_environment EXTRAS: .venv with this project and the given extras.
python_environment() {
    local extras=$1 stamp
    stamp=.venv/.set-up-for-${extras//,/-}
    if [ -e "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt tests/constraints.txt ]; then
        return
    fi
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { say "$("$python" --version) is too old: Python 3.11 or newer is needed (PYTHON=… chooses one)."; exit 1; }
    if [ ! -x .venv/bin/python ]; then
        say "Creating .venv"
        "$python" -m venv .venv ||
            { system_packages "libensurepip-is-missing=python3-venv"; "$python" -m venv --clear .venv; }
    fi
    say "Installing this project with the extras $extras into .venv"
    .venv/bin/python -m pip install -q --disable-pip-version-check -c tests/constraints.txt -e ".[$extras]"
    touch "$stamp"
}

# The extra that runs the models: what the machine has decides.
runtime_extra() {
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
        echo gpu
    else
        echo cpu
    fi
}

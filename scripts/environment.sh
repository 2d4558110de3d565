# Sourced by the other scripts, which set $root: which Python they use.
# $PYTHON if it is set, else .venv in the repository, else the python3 on the PATH.
users_python=${PYTHON:-}
if [ -z "$users_python" ]; then
    if [ -x "$root/.venv/bin/python" ]; then
        PYTHON="$root/.venv/bin/python"
    else
        PYTHON=python3
    fi
fi

# Make .venv and install the requirements files given, unless $PYTHON was set: that environment is the user's own.
# A marker with the checksum of those files tells a complete installation from an interrupted one.
set_up() {
    [ -z "$users_python" ] || return 0
    wanted=$(cat "$@" | cksum)
    marker="$root/.venv/installed-$(basename "$(dirname "$1")")"
    if [ ! -f "$marker" ] || [ "$(cat "$marker")" != "$wanted" ]; then
        echo "Setting up $root/.venv (once; a minute or two, 5 GB with the CUDA build of torch) ..."
        # pip is the last that venv puts there: without it, making .venv was interrupted.
        [ -x "$root/.venv/bin/pip" ] || python3 -m venv "$root/.venv" || return 1
        for file in "$@"; do
            "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$file" || return 1
        done
        printf '%s\n' "$wanted" > "$marker"
    fi
    PYTHON="$root/.venv/bin/python"
}

#!/usr/bin/env bash
# Runs a command as root and hands over the few variables that the tests read; sudo's env_reset would drop them, and PATH.
# For go test -exec: the binary is built by the user, and only the tests run as root.
set -euo pipefail

if [[ $EUID -eq 0 ]]; then
	exec "$@"
fi
if ! command -v sudo >/dev/null; then
	echo "asroot: want root or sudo, found neither; become root and run this again" >&2
	exit 1
fi

pass=("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin" "HOME=$HOME")
for name in CI TCPLAB_REQUIRE TCPLAB_KILLS TCPLAB_SEED TCPLAB_SHOTS TCPLAB_LOAD GORACE NO_COLOR LANG TERM TMPDIR GOFLAGS GOTOOLCHAIN GOPROXY GOCACHE GOMODCACHE GOPATH; do
	if [[ -n ${!name+set} ]]; then
		pass+=("$name=${!name}")
	fi
done
# -n: a password cannot be asked for when go test runs several binaries at once. make lab asks before it starts.
exec sudo -n env "${pass[@]}" "$@"

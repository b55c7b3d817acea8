#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that tcplab's targets need, and only those that are missing.
#
#   scripts/deps.sh run      what a run needs: iptables, and ip for looking around
#   scripts/deps.sh report   the above, and tshark and tcpdump to read the captures
#   scripts/deps.sh test     the above, and what the tests call
#
# It needs root or sudo only when something is missing. Go is not installed here: the version that go.mod names is newer than
# most distributions' packages.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # where iptables lives; not in every user's PATH

say() { echo "deps: $*" >&2; }

# Lines of "what:package". What is a command, a file when it begins with a slash, or something that must succeed after a "!".
wanted() {
	echo iptables:iptables
	echo ip:iproute2
	[[ $1 == run ]] && return
	echo tcpdump:tcpdump
	echo tshark:tshark
	[[ $1 == report ]] && return
	echo make:make
	echo git:git
	echo curl:curl
	echo gcc:gcc # the race detector
	echo /usr/include/stdlib.h:libc6-dev
	echo unshare:util-linux
	echo setpriv:util-linux
	echo taskset:util-linux
	echo nft:nftables # a test sees that the rules of the host stay as they were
	echo ethtool:ethtool # the commands of --dry-run, which a test types in
	echo '!python3 -c "import http.server":python3' # python3-minimal has no http.server
	echo sysctl:procps
	echo shellcheck:shellcheck
	echo chromium:chromium # looks at the report page
	echo /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc:fonts-noto-cjk # in Chinese, too
	echo qemu-system-x86_64:qemu-system-x86 # boots the kernels of run --kernel
	echo vagrant:vagrant
	echo lintian:lintian # judges the deb of make packages
	echo rpm:rpm # installs its rpm
	echo man:man-db # and shows the manual pages of both
	echo '!command -v sbatch && command -v slurmctld && command -v slurmd:slurm-wlm' # runs the array of deploy/slurm
	echo munged:munge # tells Slurm's programs who is who
}

missing() {
	local line what
	while read -r line; do
		what=${line%%:*}
		if [[ $what == !* ]]; then
			bash -c "${what#!}" >/dev/null 2>&1 || echo "${line##*:}"
		elif [[ $what == /* ]]; then
			[[ -e $what ]] || echo "${line##*:}"
		else
			command -v "$what" >/dev/null || echo "${line##*:}"
		fi
	done < <(wanted "$1")
}

as_root() {
	if [[ $EUID -eq 0 ]]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	else
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	fi
}

# The lists are fresh when one of them was written within a day.
lists_fresh() {
	[[ -n $(find /var/lib/apt/lists -maxdepth 1 -name '*Release' -mmin -1440 -print -quit 2>/dev/null) ]]
}

# What the packages would start at installation and at each boot: the tests start their own, in a folder of their own, and end them.
readonly services=(munge slurmctld slurmd) policy=/usr/sbin/policy-rc.d
hushed=''

# unhush lets services be started again, where this script kept them from it.
unhush() {
	[[ -n $hushed ]] || return 0
	hushed=''
	as_root rm -f "$policy"
}

# quietly runs a command while no service may be started, and leaves those that it brought disabled. Who had one keeps it as it was.
quietly() {
	local status=0 service had=()
	for service in "${services[@]}"; do
		[[ -e /etc/init.d/$service ]] && had+=("$service")
	done
	if [[ ! -e $policy ]]; then
		hushed=1
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
	"$@" || status=$?
	unhush
	for service in "${services[@]}"; do
		if [[ -e /etc/init.d/$service && " ${had[*]} " != *" $service "* ]]; then
			as_root update-rc.d "$service" disable >/dev/null 2>&1 || say "$service: could not be disabled"
		fi
	done
	return "$status"
}

# Another apt may hold the lock: install waits for it, update does not and is tried again.
update() {
	local try
	for try in 1 2 3 4 5; do
		say "apt-get update"
		as_root apt-get -qq -o Acquire::Retries=3 update </dev/null && return
		[[ $try -lt 5 ]] && sleep $((try * 5))
	done
	say "apt-get update: still failing; going on with the lists that are there"
}

install() {
	as_root apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
		-o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install "$@" </dev/null >"$log" 2>&1 || {
		cat "$log" >&2
		return 1
	}
}

log=$(mktemp)
trap 'rm -f "$log"; unhush' EXIT

check_go() {
	local want found
	want=$(awk '$1 == "go" { print $2 }' "$root/go.mod")
	if ! command -v go >/dev/null; then
		say "go: not found; go.mod wants Go $want or later: https://go.dev/doc/install"
		return 1
	fi
	# With GOTOOLCHAIN=auto, Go 1.21 and later fetch the wanted version themselves; asking for the module does that.
	if ! found=$(cd "$root" && go list -m 2>&1); then
		say "go: want Go $want or later; $found"
		say "go: install it as https://go.dev/doc/install says, or unset GOTOOLCHAIN if that forbids fetching it"
		return 1
	fi
}

main() {
	local set=${1:-} packages
	case $set in
	run | report | test) ;;
	*)
		echo "usage: scripts/deps.sh run|report|test" >&2
		exit 2
		;;
	esac
	check_go
	mapfile -t packages < <(missing "$set")
	if [[ ${#packages[@]} -eq 0 ]]; then
		kernels "$set"
		say "$set: everything is there"
		return
	fi
	say "$set: missing: ${packages[*]}"
	if ! command -v apt-get >/dev/null; then
		say "want apt-get (Debian, Ubuntu), found none; install these with your own package manager: ${packages[*]}"
		exit 1
	fi
	if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
		say "want root or sudo to install them, found neither; as root run: apt-get install ${packages[*]}"
		exit 1
	fi
	lists_fresh || update
	# wireshark-common asks whether every user may capture. No: tcplab captures by itself, and tshark only reads.
	if [[ " ${packages[*]} " == *" tshark "* ]]; then
		as_root debconf-set-selections <<<"wireshark-common wireshark-common/install-setuid boolean false"
	fi
	if ! quietly install "${packages[@]}"; then
		say "install: trying once more with new lists"
		update
		quietly install "${packages[@]}"
	fi
	mapfile -t packages < <(missing "$set")
	if [[ ${#packages[@]} -gt 0 ]]; then
		say "installed, but still not found: ${packages[*]}"
		exit 1
	fi
	kernels "$set"
	say "$set: everything is there now"
}

# The tests boot these: fetched through apt into the user's cache, as a user of run --kernel does. Nothing is installed.
kernels() {
	local version have
	[[ $1 == test ]] || return 0
	have=$(go -C "$root" run ./cmd/tcplab kernels list 2>/dev/null | grep -v 'offered by apt') || have=
	for version in 6.1 6.12; do
		grep -q "^$version\." <<<"$have" || go -C "$root" run ./cmd/tcplab kernels fetch "$version" >/dev/null
	done
}

main "$@"

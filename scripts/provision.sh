#!/usr/bin/env bash
# Turns a fresh Debian or Ubuntu machine into one with tcplab in /usr/local/bin. vagrant up runs it as root inside the virtual
# machine; it may be run again at any time, and then builds the working tree anew.
#
# About Go: Debian 12 has Go 1.19 and its backports have 1.23 (November 2026); go.mod wants more. The distribution's Go is used
# as it is when it is new enough. Otherwise any Go since 1.21 fetches the version that go.mod names through the Go module proxy
# (GOTOOLCHAIN=auto), checks it against the checksum database and builds with it.
set -euo pipefail

source=${TCPLAB_SOURCE:-/vagrant}
export DEBIAN_FRONTEND=noninteractive HOME=${HOME:-~root}
export GOTOOLCHAIN=auto

say() { echo "provision: $*" >&2; }

apt() { apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null; }

# newest_go prints the best Go command of this machine: PATH's, or the one of a versioned package.
newest_go() {
	local go best='' best_version=0 version
	for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
		[[ -x $go ]] || continue
		version=$(cd / && GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
		version=${version#go}
		if [[ $(printf '%s\n' "$version" "$best_version" | sort -V | tail -1) == "$version" ]]; then
			best=$go best_version=$version
		fi
	done
	echo "$best"
}

# builds says whether this Go can build the module, by itself or by fetching the right version.
builds() {
	[[ -n $1 ]] && (cd "$source" && "$1" list -m >/dev/null 2>&1)
}

# release prints one field of /etc/os-release, or nothing.
release() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" /etc/os-release; }

# packaged says whether apt has a Go that can fetch another one.
packaged() {
	local candidate
	candidate=$(apt-cache policy golang-go | awk '$1 == "Candidate:" { print $2 }')
	[[ -n $candidate && $candidate != "(none)" ]] && dpkg --compare-versions "$candidate" ge 2:1.21~
}

# add_backports adds the backports of this Debian, from the mirror that it uses already.
add_backports() {
	local codename mirror
	codename=$(release VERSION_CODENAME)
	[[ $(release ID) == debian && -n $codename ]] || return 1
	# shellcheck disable=SC2016 # apt-get replaces $(REPO_URI), not the shell
	mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $codename" 'Created-By: Packages' | sort -u | head -n 1)
	[[ -n $mirror ]] || return 1
	echo "deb $mirror $codename-backports main" >/etc/apt/sources.list.d/tcplab-backports.list
	apt update
}

install_go() {
	builds "$(newest_go)" && return
	if packaged; then
		say "installing the distribution's Go"
		apt install golang-go
	elif add_backports; then
		say "the distribution's Go is too old to fetch another; installing the one of its backports"
		apt -t "$(release VERSION_CODENAME)-backports" install golang-go
	fi
	builds "$(newest_go)" && return
	say "want Go $(awk '$1 == "go" { print $2 }' "$source/go.mod"), or 1.21 and later with the Go module proxy in reach;" \
		"found $(newest_go | grep . || echo none); install it as https://go.dev/doc/install says and run vagrant provision"
	return 1
}

main() {
	local go version
	[[ $EUID -eq 0 ]] || { say "want root, found user $EUID; vagrant provision runs it as root"; exit 1; }
	[[ -f $source/go.mod ]] || { say "want tcplab's sources in $source, found none; set TCPLAB_SOURCE"; exit 1; }
	apt update
	echo "wireshark-common wireshark-common/install-setuid boolean false" | debconf-set-selections
	apt install --no-install-recommends ca-certificates git make iptables iproute2 tcpdump tshark
	install_go
	go=$(newest_go)
	version=0.1.0+g$(git -c safe.directory="$source" -C "$source" rev-parse --short HEAD 2>/dev/null || echo unknown)
	say "building tcplab $version with $(cd "$source" && "$go" env GOVERSION)"
	PATH=$(dirname "$go"):$PATH make -C "$source" build VERSION="$version"
	install -m 0755 "$source/bin/tcplab" /usr/local/bin/tcplab
	say "done: sudo tcplab list"
}

main "$@"

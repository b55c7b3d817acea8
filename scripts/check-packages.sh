#!/usr/bin/env bash
# Checks what make packages made: builds it a second time from another folder and compares the bytes, lints the deb, installs and removes both
# forms in a temporary root, and runs what is installed. Each check has its negative control. dpkg and rpm run as
# root, because they write files of root. Nothing outside a temporary folder is touched.
#
#   scripts/check-packages.sh VERSION OUT
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

[[ $# -eq 2 ]] || { echo "usage: scripts/check-packages.sh VERSION OUT; make check-packages calls it" >&2; exit 2; }
version=$1
out=$(realpath "$2")
tmp=$(mktemp -d)
as_root() { scripts/asroot.sh "$@"; }
trap 'as_root rm -rf "$tmp"' EXIT
say() { echo "packages: $*" >&2; }
die() { say "$*"; exit 1; }
deb=$out/tcplab_$version-1_amd64.deb
rpm=$out/tcplab-$version-1.x86_64.rpm

reproducible() {
	local epoch
	epoch=${SOURCE_DATE_EPOCH:-$(git -c safe.directory="$PWD" log -1 --format=%ct)}
	mkdir "$tmp/elsewhere"
	git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tmp/elsewhere"
	SOURCE_DATE_EPOCH=$epoch make -C "$tmp/elsewhere" packages VERSION="$version" >/dev/null
	(cd "$out" && sha256sum tcplab*) >"$tmp/first"
	(cd "$tmp/elsewhere/dist" && sha256sum tcplab*) >"$tmp/second"
	diff "$tmp/first" "$tmp/second" || die "a second build, from another folder, gave other bytes"
	[[ $(wc -l <"$tmp/first") -eq 6 ]] || die "want 6 files (deb, rpm and SBOM for 2 architectures), got $(wc -l <"$tmp/first")"
	# Control: another time must give other bytes, or nothing was built.
	mv "$tmp/elsewhere/dist/build" "$tmp/build" && rm -rf "$tmp/elsewhere/dist"/tcplab* && mv "$tmp/build" "$tmp/elsewhere/dist/build"
	SOURCE_DATE_EPOCH=$((epoch + 1)) "$tmp/elsewhere/scripts/packages.sh" "$version" dist >/dev/null
	cmp -s "$deb" "$tmp/elsewhere/dist/${deb##*/}" && die "control: a build with another SOURCE_DATE_EPOCH gave the same deb"
	say "the same bytes from two folders"
}

lint() {
	lintian --allow-root --fail-on error,warning "$deb" || die "lintian finds faults"
	# Control: without its overrides the package must not pass.
	if lintian --allow-root --no-override --fail-on error "$deb" >"$tmp/control"; then
		die "control: lintian accepts a static binary without an override; it checks nothing"
	fi
	grep -q statically-linked-binary "$tmp/control" || die "control: lintian did not see the static binary"
	say "lintian-clean"
}

# A root that has nothing, and what is in it: names and kinds of all files but those of the package database.
new_root() { mkdir -p "$1/var/lib/dpkg/info" "$1/var/lib/dpkg/updates" "$1/var/lib/rpm" && : >"$1/var/lib/dpkg/status" && : >"$1/var/lib/dpkg/available"; }
listing() { (cd "$1" && find . -mindepth 1 -path ./var -prune -o -printf '%y %p\n' | sort); }

nothing_left() {
	local left
	left=$(listing "$1")
	[[ -z $left ]] || { say "$2 left:"; echo "$left" >&2; return 1; }
}

# works runs what is installed. grep reads to the end: with -q it stops at the first match, and the program before it can die of SIGPIPE.
works() {
	local root=$1 page got
	got=$("$root/usr/bin/tcplab" version)
	[[ $got == "tcplab $version "* ]] || die "tcplab version says $got, want $version"
	"$root/usr/bin/tcplab" list | grep '^exp1-syn-loss' >/dev/null || die "tcplab list does not name exp1-syn-loss"
	for page in tcplab tcplab-run; do
		MANPATH=$root/usr/share/man man -P cat 1 "$page" 2>"$tmp/man" | grep '^NAME' >/dev/null || die "man $page: $(cat "$tmp/man")"
	done
	bash -c 'set -e; _init_completion() { :; }; source "$1"; complete -p tcplab >/dev/null' - "$root/usr/share/bash-completion/completions/tcplab" ||
		die "bash: the completion does not load"
	grep -rq '^#compdef tcplab' "$root/usr/share/zsh" || die "zsh: no completion"
	grep -q '^complete -c tcplab' "$root/usr/share/fish/vendor_completions.d/tcplab.fish" || die "fish: no completion"
	"$root/usr/bin/tcplab" validate "$root"/usr/share/doc/tcplab/examples/*.yaml >/dev/null || die "an example is not valid"
}

dpkg_in() { as_root dpkg --root="$1" --log=/dev/null --force-architecture --force-depends "${@:2}" >/dev/null 2>&1; }

install_deb() {
	local root=$tmp/deb
	new_root "$root"
	dpkg_in "$root" -i "$deb" || die "dpkg -i $deb fails"
	works "$root"
	dpkg_in "$root" --purge tcplab
	nothing_left "$root" dpkg || die "a removed deb must leave nothing"
	dpkg_in "$root" -i "$out/tcplab_$version-1_arm64.deb" || die "dpkg -i of arm64 fails"
	go version -m "$root/usr/bin/tcplab" | grep 'GOARCH=arm64' >/dev/null || die "the arm64 deb holds no arm64 binary"
	# Control: a file that nobody removes must be seen.
	as_root touch "$root/usr/share/doc/tcplab/left"
	dpkg_in "$root" --purge tcplab
	nothing_left "$root" "control: dpkg" 2>/dev/null && die "control: a file that stays was not seen"
	say "deb: installed, run and removed"
}

install_rpm() {
	local root=$tmp/rpm
	new_root "$root"
	as_root rpm --root "$root" --initdb
	as_root rpm --root "$root" --nosignature --nodeps -i "$rpm" 2> >(grep -v '^rpm: ' >&2) # Debian's rpm warns that it is not for Debian
	works "$root"
	as_root rpm --root "$root" --nodeps -V tcplab || die "rpm -V: installed files differ from the package"
	echo | as_root tee -a "$root/usr/share/licenses/tcplab/LICENSE" >/dev/null # control
	as_root rpm --root "$root" --nodeps -V tcplab >/dev/null && die "control: rpm -V did not see a changed file"
	as_root rpm --root "$root" -e tcplab 2> >(grep -v '^rpm: ' >&2)
	find "$root/usr" "$root/etc" ! -type d 2>/dev/null | grep . >&2 && die "a removed rpm must leave no file"
	[[ $(rpm -qp --nosignature --qf '%{ARCH}' "${rpm%x86_64.rpm}aarch64.rpm") == aarch64 ]] || die "the rpm for arm64 names another architecture"
	say "rpm: installed, verified, run and removed"
}

# The SBOM must list what the binary has: every module with its version, the standard library, and nothing else.
lists_all() {
	diff <(go version -m "$out/build/amd64/tcplab" | awk '$1 == "dep" { print $2 "@" $3 } NR == 1 { sub(/^go/, "", $2); print "std@" $2 }' | sort) \
		<(python3 -c 'import json, sys; [print(c["name"] + "@" + c["version"]) for c in json.load(sys.stdin)["components"]]' <"$1" | sort)
}

bill() {
	local sbom=$out/tcplab_${version}_amd64.cdx.json change
	lists_all "$sbom" || die "the SBOM differs from what the binary has"
	# Controls: an SBOM that lacks a module, one that names another version, and one with a module that is not there, must be refused.
	for change in 'c.pop()' 'c[-1]["version"] += "-other"' 'c[0]["version"] = "1.0"' 'c.append({"name": "example.com/other", "version": "v1.0.0"})'; do
		python3 -c 'import json, sys; d = json.load(sys.stdin); c = d["components"]; exec(sys.argv[1]); json.dump(d, sys.stdout)' "$change" <"$sbom" >"$tmp/sbom"
		python3 -c 'import json, sys; sys.exit(not json.load(sys.stdin)["components"])' <"$tmp/sbom" || die "control: no SBOM was made for $change"
		if lists_all "$tmp/sbom" >"$tmp/control"; then
			die "control: the check accepts an SBOM after $change"
		fi
		[[ $(grep -c '^[<>]' "$tmp/control") -le 2 ]] || die "control: $change changed more than one module: $(cat "$tmp/control")"
	done
	say "SBOM: every module of the binary"
}

[[ $(uname -m) == x86_64 ]] || die "want x86_64 to run what is installed, found $(uname -m)"
reproducible
bill
install_deb
install_rpm
lint

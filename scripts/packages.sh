#!/usr/bin/env bash
# Makes a deb and an rpm for amd64 and arm64, and an SBOM of each binary. The same commit gives the same bytes, in any folder and on any day:
# every time in them is SOURCE_DATE_EPOCH, by default that of the commit.
#
#   scripts/packages.sh VERSION OUT     wants OUT/build/ARCH/tcplab, which make packages builds, and writes OUT/tcplab*
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C TZ=UTC
umask 022

[[ $# -eq 2 ]] || { echo "usage: scripts/packages.sh VERSION OUT; make packages calls it" >&2; exit 2; }
readonly version=$1 out=$2
if [[ -z ${SOURCE_DATE_EPOCH:-} ]] && ! SOURCE_DATE_EPOCH=$(git -c safe.directory="$PWD" log -1 --format=%ct); then
	echo "packages: want the time of the commit, found no git repository; set SOURCE_DATE_EPOCH (seconds since 1970)" >&2
	exit 1
fi
export SOURCE_DATE_EPOCH VERSION=$version
readonly tools=$out/tools
mkdir -p "$tools"
go build -C tools -o "$(realpath "$tools")/" ./contents github.com/goreleaser/nfpm/v2/cmd/nfpm

# Texts that are the same for every architecture: manual pages, completions and changelogs. They come from the program itself.
texts() {
	local shell page
	mkdir -p "$1/man" "$1/completion"
	go build -trimpath -buildvcs=false -ldflags "-X github.com/tcplab/tcplab/internal/cli.version=$version" -o "$tools/tcplab" ./cmd/tcplab
	"$tools/tcplab" man "$1/man"
	for page in "$1"/man/*.1; do
		gzip -9n "$page"
	done
	for shell in bash:tcplab.bash zsh:_tcplab fish:tcplab.fish; do
		"$tools/tcplab" completion "${shell%%:*}" >"$1/completion/${shell#*:}"
	done
	gzip -9nc CHANGELOG.md >"$1/changelog.gz"
	gzip -9n >"$1/changelog.Debian.gz" <<-EOF
		tcplab ($version-1) unstable; urgency=medium

		  * Build of this version; changelog.gz says what is new.

		 -- tcplab maintainers <tcplab@users.noreply.github.com>  $(date -R -d "@$SOURCE_DATE_EPOCH")
	EOF
}

rm -rf "$out"/stage "$out"/tcplab*
export TEXTS=$out/stage/texts
texts "$TEXTS"
for ARCH in amd64 arm64; do
	STAGE=$out/stage/$ARCH
	export ARCH STAGE
	mkdir "$STAGE"
	cp "$out/build/$ARCH/tcplab" "$STAGE/tcplab"
	"$tools/contents" -binary "$STAGE/tcplab" -version "$version" -sbom "$STAGE/sbom.cdx.json" -copyright "$STAGE/copyright.deb"
	"$tools/contents" -binary "$STAGE/tcplab" -version "$version" -apache /usr/share/licenses/tcplab/LICENSE -copyright "$STAGE/copyright.rpm"
	cp "$STAGE/sbom.cdx.json" "$out/tcplab_${version}_$ARCH.cdx.json"
	for form in deb rpm; do
		"$tools/nfpm" package --config packaging/nfpm.yaml --packager "$form" --target "$out/"
	done
done
rm -rf "$out/stage"
(cd "$out" && sha256sum tcplab*)

#!/usr/bin/env bash
# Runs every native fuzz target for a while, one after the other: go test -fuzz takes one target of one package at a time.
#
#   scripts/fuzz.sh 10s
set -euo pipefail
cd "$(dirname "$0")/.."

readonly duration=${1:?usage: scripts/fuzz.sh DURATION, such as 10s}
targets=$({ grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . || true; } |
	sed -E 's|^(.*)/[^/]*:[0-9]+:func (Fuzz.*)$|\1 \2|' | sort)
if [[ -z $targets ]]; then
	echo "fuzz: want fuzz targets (func FuzzX in _test.go files), found none" >&2
	exit 1
fi
while read -r package target <&3; do
	echo "fuzz: $package $target for $duration"
	# By default an input that reaches something new is made smaller for up to a minute: with documents of 50 kB that is all that happens.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 20x "$package"
done 3<<<"$targets"

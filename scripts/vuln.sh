#!/usr/bin/env bash
# Looks for known vulnerabilities that tcplab's code can reach (govulncheck). The database is the public one, or, from networks that
# reach the Go module proxy and nothing else, the module golang.org/x/vulndb, whose data/osv govulncheck reads as files.
#
#   scripts/vuln.sh [PACKAGES]
#   scripts/vuln.sh --where-possible [PACKAGES]           no database in reach is said loudly, and is not a failure
#   TCPLAB_VULNDB=file:///path/to/osv scripts/vuln.sh     another database: a URL that govulncheck -db takes
#
# It fails when a vulnerability is found (with --where-possible: in a module; what is in the standard library of an old Go is said loudly), when there is no database (but for --where-possible), and when a database does not find a
# vulnerability that is known to be there (the negative control, which always runs: govulncheck carries a small database for it).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "vuln: $*" >&2; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The module is fetched into the module cache from an empty module, so that go.mod stays as it is.
database() {
	local dir
	if [[ -n ${TCPLAB_VULNDB:-} ]]; then
		echo "$TCPLAB_VULNDB"
		return
	fi
	if curl -fsS --max-time 10 -o /dev/null https://vuln.go.dev/index/db.json 2>/dev/null; then
		echo https://vuln.go.dev
		return
	fi
	mkdir "$tmp/fetch"
	(cd "$tmp/fetch" && go mod init fetch) 2>/dev/null
	if ! dir=$(cd "$tmp/fetch" && go mod download -json golang.org/x/vulndb@latest | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p') || [[ -z $dir ]]; then
		say "database: want the module golang.org/x/vulndb from the module proxy ($(go env GOPROXY)), which did not give it"
		say "database: set TCPLAB_VULNDB to a database that can be reached, such as https://vuln.go.dev or file:///path/to/osv"
		return 1
	fi
	if [[ ! -d $dir/data/osv ]]; then
		say "database: want the folder data/osv in golang.org/x/vulndb, found none in $dir"
		return 1
	fi
	echo "file://$dir/data/osv"
}

# golang.org/x/text 0.3.5 has GO-2021-0113 in language.Parse. A database that does not say so says nothing about tcplab.
control() {
	local out status=0
	mkdir -p "$tmp/control"
	cat >"$tmp/control/main.go" <<-'EOF'
		package main

		import "golang.org/x/text/language"

		func main() { _, _ = language.Parse("") }
	EOF
	(cd "$tmp/control" && { [[ -e go.mod ]] || go mod init control; } && go get golang.org/x/text@v0.3.5) >"$tmp/control.log" 2>&1 || {
		cat "$tmp/control.log" >&2
		say "control: cannot get golang.org/x/text@v0.3.5"
		return 1
	}
	out=$("$tmp/govulncheck" -C "$tmp/control" -db "$1" . 2>&1) || status=$?
	# The line with the module is what tells it from one of the standard library, below.
	if [[ $status -ne 3 || $out != *GO-2021-0113* || $out != *$'\n  Module: golang.org/x/text\n'* ]]; then
		echo "$out" >&2
		say "control: got exit code $status, want 3 and GO-2021-0113; this database cannot be trusted to find anything"
		return 1
	fi
	say "control: GO-2021-0113 in golang.org/x/text@v0.3.5 found, as it must be"
}

lenient=
if [[ ${1:-} == --where-possible ]]; then
	lenient=1
	shift
fi

go build -o "$tmp/govulncheck" golang.org/x/vuln/cmd/govulncheck
control "file://$(go list -m -f '{{.Dir}}' golang.org/x/vuln)/cmd/govulncheck/testdata/common/vulndb-v1"
if ! db=$(database); then
	[[ -n $lenient ]] || exit 1
	say "NOT CHECKED: no database of vulnerabilities can be reached from this network; run make vuln where one can"
	exit 0
fi
say "database: $db"
control "$db"

# The standard library's are mended by a newer Go, which the tests cannot install: they come with the day, not with a change to tcplab.
status=0
"$tmp/govulncheck" -db "$db" -test -tags lab "${@:-./...}" >"$tmp/found" 2>&1 || status=$?
if [[ $status -eq 3 && -n $lenient ]] && grep -q '^Vulnerability #' "$tmp/found" && ! grep -q '^  Module: ' "$tmp/found"; then
	grep -E '^Vulnerability #|^    Fixed in: ' "$tmp/found" >&2
	say "OLD GO: $(go env GOVERSION) itself has these, and tcplab reaches them; build with the Go that mends them (make vuln fails until then)"
	exit 0
fi
cat "$tmp/found"
exit "$status"

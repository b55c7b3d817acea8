package sysctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hosts are the names that an assignment may be addressed to. "both" means client and server.
var hosts = []string{"client", "server", "both"}

// Parse reads an assignment of the form HOST.NAME=VALUE, as --set takes it: "client.net.ipv4.tcp_sack=0". HOST is client, server or
// both; NAME is the full name of a knob or its last part. It returns the full name and the value with single spaces, and checks the
// value of a knob that the catalogue knows. A net. knob that it does not know is passed on unchecked, for the kernel to judge;
// a misspelt tcp_ knob is an error that names the closest one.
func Parse(assignment string) (host, name, value string, err error) {
	fail := func(format string, args ...any) (string, string, string, error) {
		return "", "", "", fmt.Errorf("--set %q: "+format, append([]any{assignment}, args...)...)
	}
	left, right, found := strings.Cut(assignment, "=")
	if !found {
		return fail("no \"=\"; want HOST.NAME=VALUE, such as client.net.ipv4.tcp_sack=0")
	}
	host, name, found = strings.Cut(strings.TrimSpace(left), ".")
	if !found || !slices.Contains(hosts, host) {
		return fail("host is %q; want client, server or both, such as client.net.ipv4.tcp_sack=0", host)
	}
	value = normal(right)
	if value == "" {
		return fail("no value after \"=\"")
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fail("the value has a character that cannot be printed; want text or numbers, such as client.net.ipv4.tcp_sack=0")
	}
	knob, known := Lookup(name)
	switch {
	case known:
		if err := knob.Check(value); err != nil {
			return fail("%w", err)
		}
		return host, knob.Name, value, nil
	case strings.HasPrefix(name, "net.ipv4.tcp_") || !strings.HasPrefix(name, "net."):
		if near := Suggest(name); near != "" {
			return fail("%w %q; did you mean %s?", ErrUnknown, name, near)
		}
		if !strings.HasPrefix(name, "net.") {
			return fail("%w %q; want a name under net., such as net.ipv4.tcp_sack", ErrUnknown, name)
		}
	}
	if _, err := path(name); err != nil {
		return fail("%w", err)
	}
	return host, name, value, nil
}

// Command is what sets a knob by hand, for a POSIX shell: one command with its two arguments, whatever the value is.
func Command(name, value string) string { return "sysctl -w " + quote(name+"="+value) }

// quote protects a word from a shell where it needs that.
func quote(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) && !strings.ContainsRune("=/:,+", r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// ErrUnknown is wrapped by Parse where no knob has the name.
var ErrUnknown = errors.New("no knob")

// normal trims a value and puts single spaces between its parts: /proc separates the numbers of a triple by tabs.
func normal(value string) string { return strings.Join(strings.Fields(value), " ") }

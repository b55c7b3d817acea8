package cli

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// pick says whether a connection between two ends is wanted.
type pick func(client, server netip.AddrPort) bool

// parsePick reads the language of --filter and --follow, which is a small part of tcpdump's: "host 10.0.0.5 and port 443", "net 10.0.0.0/8",
// "not port 22", and an end as ADDRESS:PORT. "and" and "or" are of equal strength and read from left to right, as in tcpdump.
func parsePick(text string) (pick, error) {
	words := strings.Fields(text)
	var whole pick
	for join := ""; len(words) > 0; {
		p, rest, err := parseTerm(words)
		if err != nil {
			return nil, err
		}
		left := whole
		switch join {
		case "":
			whole = p
		case "and":
			whole = func(c, s netip.AddrPort) bool { return left(c, s) && p(c, s) }
		case "or":
			whole = func(c, s netip.AddrPort) bool { return left(c, s) || p(c, s) }
		}
		if words = rest; len(words) == 0 {
			break
		}
		if join = words[0]; join != "and" && join != "or" {
			return nil, fmt.Errorf("%q: want and or or", join)
		}
		if words = words[1:]; len(words) == 0 {
			return nil, fmt.Errorf("nothing after %q", join)
		}
	}
	if whole == nil {
		return nil, fmt.Errorf("want host ADDRESS, net PREFIX, port NUMBER or ADDRESS:PORT, got nothing")
	}
	return whole, nil
}

// parseTerm reads one condition and returns the words behind it.
func parseTerm(words []string) (pick, []string, error) {
	negated := false
	for len(words) > 0 && words[0] == "not" {
		negated, words = !negated, words[1:]
	}
	if len(words) == 0 {
		return nil, nil, fmt.Errorf("nothing after not")
	}
	p, used, err := parseCondition(words)
	if err != nil {
		return nil, nil, err
	}
	if negated {
		was := p
		p = func(c, s netip.AddrPort) bool { return !was(c, s) }
	}
	return p, words[used:], nil
}

func parseCondition(words []string) (p pick, used int, err error) {
	either := func(ok func(netip.AddrPort) bool) pick {
		return func(c, s netip.AddrPort) bool { return ok(c) || ok(s) }
	}
	if end, err := netip.ParseAddrPort(words[0]); err == nil {
		return either(func(x netip.AddrPort) bool { return x == end }), 1, nil
	}
	if len(words) < 2 {
		return nil, 0, fmt.Errorf("%q: want host ADDRESS, net PREFIX, port NUMBER or ADDRESS:PORT", words[0])
	}
	switch words[0] {
	case "host":
		a, err := netip.ParseAddr(words[1])
		if err != nil {
			return nil, 0, fmt.Errorf("host %s: want an IP address", words[1])
		}
		return either(func(x netip.AddrPort) bool { return x.Addr() == a }), 2, nil
	case "net":
		n, err := netip.ParsePrefix(words[1])
		if err != nil {
			return nil, 0, fmt.Errorf("net %s: want a prefix such as 10.0.0.0/8", words[1])
		}
		return either(func(x netip.AddrPort) bool { return n.Contains(x.Addr()) }), 2, nil
	case "port":
		n, err := strconv.ParseUint(words[1], 10, 16)
		if err != nil {
			return nil, 0, fmt.Errorf("port %s: want a number from 0 to 65535", words[1])
		}
		return either(func(x netip.AddrPort) bool { return x.Port() == uint16(n) }), 2, nil
	}
	return nil, 0, fmt.Errorf("%q: want host ADDRESS, net PREFIX, port NUMBER or ADDRESS:PORT", words[0])
}

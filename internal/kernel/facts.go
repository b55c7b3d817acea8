package kernel

import (
	"fmt"
	"strconv"
)

// Names of the facts, as keys of Facts.From and as the first column of Facts.Table.
const (
	factVersion     = "version"
	factRelease     = "release"
	factArch        = "architecture"
	factHZ          = "HZ"
	factWheel       = "timer wheel"
	factInitialRTO  = "initial RTO"
	factSYNLinear   = "tcp_syn_linear_timeouts"
	factRTOMax      = "tcp_rto_max_ms"
	factSYNExpiry   = "SYN expiry"
	factUserTimeout = "TCP_USER_TIMEOUT in SYN-SENT"
)

// String says the rule in words.
func (r ExpiryRule) String() string {
	switch r {
	case ExpireByTime:
		return "by time"
	case ExpireByCount:
		return "by count"
	case ExpireByCountOrTime:
		return "by count or time, whichever comes first"
	}
	return "ExpiryRule(" + strconv.Itoa(int(r)) + ")"
}

// String says the rule in words.
func (r UserTimeoutRule) String() string {
	switch r {
	case UserTimeoutIgnored:
		return "ignored"
	case UserTimeoutBursts:
		return "shortens the timer, does not end the connection"
	case UserTimeoutEnds:
		return "ends the connection"
	}
	return "UserTimeoutRule(" + strconv.Itoa(int(r)) + ")"
}

// Table returns the facts as rows of name, value and where the value came from, always in the same order. A fact that is not set
// (the release of a model) has no row. It is what doctor prints and what a result keeps.
func (f Facts) Table() [][3]string {
	var rows [][3]string
	add := func(name, value string) {
		from := f.From[name]
		if from == "" {
			from = "given"
		}
		rows = append(rows, [3]string{name, value, from})
	}
	add(factVersion, f.Version.String())
	if f.Release != "" {
		add(factRelease, f.Release)
	}
	if f.Arch != "" {
		add(factArch, f.Arch)
	}
	add(factHZ, fmt.Sprintf("%d (a jiffy is %v)", f.HZ, f.Jiffy()))
	add(factWheel, choose(f.Wheel, "non-cascading: late by up to 1/8 of the level", "cascading, with slack of 1/256"))
	add(factInitialRTO, f.InitialRTO.String())
	add(factSYNLinear, choose(f.SYNLinear, "yes", "no"))
	add(factRTOMax, choose(f.RTOMax, "yes", "no"))
	add(factSYNExpiry, f.SYNExpiry.String())
	add(factUserTimeout, f.UserTimeout.String())
	return rows
}

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

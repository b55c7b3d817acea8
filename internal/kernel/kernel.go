// Package kernel says what a Linux kernel is, as plain data: its version, its HZ, which TCP features it has, and where each of these
// facts came from. It is what the oracle stands on. It is not for sysctl values: those belong to a run.
//
// Its one trap: a distribution's kernel carries backports, so a version is a guess. Running detects by file and by clock where it
// can and says so in Facts.From; Model has only the version to go by.
package kernel

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Version is a kernel version. The patch level is kept for display.
type Version struct{ Major, Minor, Patch int }

// ParseVersion reads "6.18", "6.18.44" or a full release such as "6.1.0-28-cloud-amd64".
func ParseVersion(s string) (Version, error) {
	bad := func() (Version, error) {
		return Version{}, fmt.Errorf("kernel version %q: want MAJOR.MINOR[.PATCH], such as 5.15 or 6.18.44", s)
	}
	head := s
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		if s[i] != '-' && s[i] != '+' && s[i] != '_' {
			return bad()
		}
		head = s[:i]
	}
	parts := strings.Split(head, ".")
	if len(parts) < 2 {
		return bad()
	}
	var n [3]int
	for i := range parts {
		v, err := strconv.Atoi(parts[i])
		if err != nil || v > 1<<16 {
			return bad()
		}
		if i < 3 {
			n[i] = v
		}
	}
	return Version{n[0], n[1], n[2]}, nil
}

// String returns "6.18.44", or "6.18" where the patch level is zero.
func (v Version) String() string {
	if v.Patch == 0 {
		return fmt.Sprintf("%d.%d", v.Major, v.Minor)
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// AtLeast reports whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// ExpiryRule is how tcp_write_timeout decides that a connection in SYN-SENT has been tried often enough.
type ExpiryRule int

// The rules, oldest first (net/ipv4/tcp_timer.c, tcp_write_timeout).
const (
	ExpireByTime        ExpiryRule = iota // up to 4.13: the time that N retransmissions take, nothing else
	ExpireByCount                         // 4.14 to 5.3: N retransmissions
	ExpireByCountOrTime                   // since 5.4: whichever comes first
)

// UserTimeoutRule is what TCP_USER_TIMEOUT does to a connection in SYN-SENT.
type UserTimeoutRule int

// The rules, oldest first.
const (
	UserTimeoutIgnored UserTimeoutRule = iota // up to 4.18
	UserTimeoutBursts                         // 4.19 to 5.3: shortens the timer but does not end the connection: a SYN every jiffy
	UserTimeoutEnds                           // since 5.4
)

// Facts are the properties of a kernel that a prediction depends on.
type Facts struct {
	Version Version
	Release string // uname -r; empty for a model
	Arch    string // uname -m; empty for a model
	HZ      int    // CONFIG_HZ: jiffies a second

	Wheel       bool            // non-cascading timer wheel (since 4.8): timers fire late by up to 1/8 of their level's range
	InitialRTO  time.Duration   // TCP_TIMEOUT_INIT
	SYNLinear   bool            // tcp_syn_linear_timeouts exists (since 6.5)
	RTOMax      bool            // tcp_rto_max_ms and TCP_RTO_MAX_MS exist (since 6.15)
	SYNExpiry   ExpiryRule      // when a SYN-SENT connection is given up
	UserTimeout UserTimeoutRule // what TCP_USER_TIMEOUT does in SYN-SENT

	From map[string]string // name of a fact above -> where it came from
}

// Jiffy is the length of one timer interrupt period: TICK_NSEC.
func (f Facts) Jiffy() time.Duration {
	if f.HZ <= 0 {
		return 0
	}
	return time.Duration((1_000_000_000 + int64(f.HZ)/2) / int64(f.HZ))
}

// Oldest is the first kernel that tcplab can predict: 3.1 brought the initial RTO of one second.
var Oldest = Version{3, 1, 0}

// Newest is the newest kernel whose source the rules were read from, and on which runs were compared with them. A newer one is predicted by the
// same rules.
var Newest = Version{6, 18, 0}

// Unread reports whether the kernel is newer than any whose source the rules were read from.
func (f Facts) Unread() bool { return f.Version.AtLeast(Newest.Major, Newest.Minor+1) }

// CheckHZ returns an error that says what is wanted where hz is not a CONFIG_HZ.
func CheckHZ(hz int) error {
	if hz < 24 || hz > 10000 {
		return fmt.Errorf("HZ %d: want the kernel's CONFIG_HZ, such as 100, 250, 300 or 1000", hz)
	}
	return nil
}

// Model returns the facts of a mainline kernel of that version, from the version alone. Kernels before Oldest are an error.
func Model(v Version, hz int) (Facts, error) {
	if !v.AtLeast(Oldest.Major, Oldest.Minor) {
		return Facts{}, fmt.Errorf("kernel %v: tcplab predicts kernels from %v on (older ones retransmit the first SYN after 3 s)", v, Oldest)
	}
	if err := CheckHZ(hz); err != nil {
		return Facts{}, err
	}
	f := Facts{
		Version:    v,
		HZ:         hz,
		Wheel:      v.AtLeast(4, 8),
		InitialRTO: time.Second, // TCP_TIMEOUT_INIT
		SYNLinear:  v.AtLeast(6, 5),
		RTOMax:     v.AtLeast(6, 15),
		From:       map[string]string{},
	}
	switch {
	case v.AtLeast(5, 4):
		f.SYNExpiry, f.UserTimeout = ExpireByCountOrTime, UserTimeoutEnds
	case v.AtLeast(4, 19):
		f.SYNExpiry, f.UserTimeout = ExpireByCount, UserTimeoutBursts
	case v.AtLeast(4, 14):
		f.SYNExpiry, f.UserTimeout = ExpireByCount, UserTimeoutIgnored
	default:
		f.SYNExpiry, f.UserTimeout = ExpireByTime, UserTimeoutIgnored
	}
	for _, name := range []string{"timer wheel", "initial RTO", "tcp_syn_linear_timeouts", "tcp_rto_max_ms", "SYN expiry", "TCP_USER_TIMEOUT in SYN-SENT"} {
		f.From[name] = "kernel version " + v.String()
	}
	f.From["HZ"] = "given"
	return f, nil
}

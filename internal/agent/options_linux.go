package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Socket options that golang.org/x/sys does not name yet (include/uapi/linux/tcp.h).
const (
	tcpRTOMaxMS = 44
	tcpRTOMinUS = 45
)

// option is one setsockopt(2), and what getsockopt(2) must say afterwards.
type option struct {
	name       string
	level, opt int
	value      int
	back       int
	above      int // how much more it may read back as: the kernel keeps some times in jiffies, rounded up
}

// list returns the options that are to be set. SO_KEEPALIVE always is: a client with keepalive on by accident ends long experiments early.
func (o Options) list() []option {
	var set []option
	add := func(name string, level, opt, value, factor int) {
		set = append(set, option{name: name, level: level, opt: opt, value: value, back: value * factor})
	}
	tcp := func(name string, opt, value int) {
		if value != 0 {
			add(name, unix.IPPROTO_TCP, opt, value, 1)
		}
	}
	buffer := func(name string, opt, value int) {
		if value != 0 {
			add(name, unix.SOL_SOCKET, opt, value, 2) // the kernel's own overhead: sock_setsockopt doubles it
		}
	}
	flag := func(on bool) int {
		if on {
			return 1
		}
		return 0
	}
	add("SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, flag(o.KeepAlive), 1)
	tcp("TCP_SYNCNT", unix.TCP_SYNCNT, o.SYNCount)
	tcp("TCP_USER_TIMEOUT", unix.TCP_USER_TIMEOUT, int(o.UserTimeout/time.Millisecond))
	tcp("TCP_KEEPIDLE", unix.TCP_KEEPIDLE, int(o.KeepIdle/time.Second))
	tcp("TCP_KEEPINTVL", unix.TCP_KEEPINTVL, int(o.KeepInterval/time.Second))
	tcp("TCP_KEEPCNT", unix.TCP_KEEPCNT, o.KeepCount)
	tcp("TCP_LINGER2", unix.TCP_LINGER2, max(o.Linger2, -1)) // the kernel keeps all below 0 as -1
	tcp("TCP_NODELAY", unix.TCP_NODELAY, flag(o.NoDelay))
	if o.NoQuickAck {
		add("TCP_QUICKACK", unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0, 1)
	}
	tcp("TCP_MAXSEG", unix.TCP_MAXSEG, o.MaxSeg)
	buffer("SO_RCVBUF", unix.SO_RCVBUF, o.ReceiveBuffer)
	buffer("SO_SNDBUF", unix.SO_SNDBUF, o.SendBuffer)
	const jiffy = 10 * time.Millisecond // the longest there is
	jiffies := func(name string, opt int, d, unit time.Duration) {
		if d != 0 {
			v := int(d / unit)
			set = append(set, option{name, unix.IPPROTO_TCP, opt, v, v, int(jiffy / unit)})
		}
	}
	jiffies("TCP_RTO_MIN_US", tcpRTOMinUS, o.RTOMin, time.Microsecond)
	jiffies("TCP_RTO_MAX_MS", tcpRTOMaxMS, o.RTOMax, time.Millisecond)
	return set
}

// whole refuses a duration that the option's unit cannot hold: it would be cut off without a word.
func (o Options) whole() error {
	for _, d := range []struct {
		name      string
		value, in time.Duration
	}{
		{"TCP_USER_TIMEOUT", o.UserTimeout, time.Millisecond}, {"TCP_KEEPIDLE", o.KeepIdle, time.Second},
		{"TCP_KEEPINTVL", o.KeepInterval, time.Second}, {"TCP_RTO_MIN_US", o.RTOMin, time.Microsecond},
		{"TCP_RTO_MAX_MS", o.RTOMax, time.Millisecond},
	} {
		if d.value%d.in != 0 || d.value < 0 {
			return fmt.Errorf("setsockopt %s=%v: want a multiple of %v: %w", d.name, d.value, d.in, unix.EINVAL)
		}
	}
	return nil
}

// bind gives the socket its port, where it shall have one.
func (o Options) bind(fd, family int) error {
	if o.LocalPort == 0 {
		return nil
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: o.LocalPort}
	if family == unix.AF_INET6 {
		sa = &unix.SockaddrInet6{Port: o.LocalPort}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind to port %d: %w", o.LocalPort, err)
	}
	return nil
}

// apply sets the options, reads each back, and returns SO_KEEPALIVE as it was read.
func (o Options) apply(fd int) (keepalive bool, err error) {
	if err := o.whole(); err != nil {
		return false, err
	}
	for _, s := range o.list() {
		if err := unix.SetsockoptInt(fd, s.level, s.opt, s.value); err != nil {
			return false, fmt.Errorf("setsockopt %s=%d: %w", s.name, s.value, err)
		}
	}
	for _, s := range o.list() {
		got, err := unix.GetsockoptInt(fd, s.level, s.opt)
		if err != nil {
			return false, fmt.Errorf("getsockopt %s: %w", s.name, err)
		}
		if got < s.back || got > s.back+s.above {
			return false, fmt.Errorf("setsockopt %s=%d: it reads back as %d, want %d", s.name, s.value, got, s.back)
		}
		if s.opt == unix.SO_KEEPALIVE && s.level == unix.SOL_SOCKET {
			keepalive = got != 0
		}
	}
	return keepalive, nil
}

// Package evidence asks the kernel what it says itself: the state of one TCP socket and the timer that is armed on it (inet_diag).
//
// It is not for packets, and it never decides anything. Its one trap: inet_diag is a look, not a record. A state between two looks
// goes unseen, and the time of a change is known only to the look that first showed it.
package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Socket is what inet_diag shows of one TCP socket.
type Socket struct {
	State   string        // "SYN-SENT"; "CLOSED" where the kernel knows no such socket
	Timer   string        // "retransmit", "keepalive", "time-wait", "probe" or "" for none
	Expires time.Duration // until that timer's expiry as it was armed; the timer wheel adds to it
	Retrans int           // idiag_retrans: icsk_retransmits, or probes out
	Backoff int           // tcpi_backoff
	RTO     time.Duration // tcpi_rto

	// Of a full socket; requests and TIME-WAIT sockets have no struct tcp_info.
	Cwnd     int // tcpi_snd_cwnd, segments
	Ssthresh int // tcpi_snd_ssthresh, segments; 0 while it is infinite (TCP_INFINITE_SSTHRESH)
	Unacked  int // tcpi_unacked, segments; of a listener its backlog
	// SendQueue and RecvQueue are idiag_wqueue and idiag_rqueue: bytes not acknowledged and not read. A listener has its limit and its backlog there.
	SendQueue, RecvQueue int
}

// Closed is the State of a socket that is not there.
const Closed = "CLOSED"

// states by number (include/net/tcp_states.h), in the words of RFC 9293 and ss(8).
var states = [...]string{
	1: "ESTABLISHED", 2: "SYN-SENT", 3: "SYN-RECV", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT", 7: Closed, 8: "CLOSE-WAIT",
	9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN-RECV", // TCP_NEW_SYN_RECV
}

// timers by number (inet_diag(7), idiag_timer).
var timers = [...]string{1: "retransmit", 2: "keepalive", 3: "time-wait", 4: "probe"}

// named is the name of a number; "" where it has none.
func named(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return ""
}

// Diag is an inet_diag socket of one namespace. It is for one goroutine at a time.
//
// It asks by itself and not by way of package netlink, which takes and clears 64 KB for each answer: in a guest, whose code is translated and whose
// memory is not collected, that was most of what a look cost.
type Diag struct {
	fd     int
	seq    uint32
	asked  [headLen + requestLen]byte
	answer [8192]byte // the kernel gives one socket in some 500 bytes
}

const (
	headLen    = unix.SizeofNlMsghdr
	requestLen = 56 // struct inet_diag_req_v2
	patience   = 5  // seconds; the kernel answers before the system call that asks returns
)

// ErrNone is wrapped where the kernel has no inet_diag for TCP.
var ErrNone = errors.New("this kernel has no inet_diag for TCP")

// Open opens an inet_diag socket in the calling thread's namespace; use it anywhere. The error wraps ErrNone where there is no such thing.
func Open() (*Diag, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("inet_diag: %w: %w", ErrNone, err)
	}
	// Connected to the kernel, it takes nothing from anybody else (netlink_getsockbyportid).
	tv := unix.Timeval{Sec: patience}
	if err := errors.Join(unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("inet_diag: connect to the kernel: %w", err)
	}
	return &Diag{fd: fd}, nil
}

// Close closes the socket.
func (d *Diag) Close() error { return unix.Close(d.fd) }

// Look asks for the socket local -> remote by an exact look-up, which costs no walk over the kernel's socket table. A socket that does
// not exist is Closed. A listener on local answers for connections that do not exist: its State is LISTEN.
func (d *Diag) Look(local, remote netip.AddrPort) (Socket, error) {
	msg, err := d.ask(local, remote)
	if errors.Is(err, unix.ENOENT) {
		return Socket{State: Closed}, nil
	}
	if err != nil {
		return Socket{}, fmt.Errorf("inet_diag: %s to %s: %w", local, remote, err)
	}
	return parse(msg)
}

// ask sends one question, and returns the one answer, which is valid until the next. Its error is the kernel's, where that has none.
func (d *Diag) ask(local, remote netip.AddrPort) ([]byte, error) {
	d.seq++
	q := d.asked[:]
	clear(q)
	binary.NativeEndian.PutUint32(q, uint32(len(q)))
	binary.NativeEndian.PutUint16(q[4:], nl.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(q[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(q[8:], d.seq)
	request(q[headLen:], local, remote)
	if _, err := again(func() (int, error) { return unix.Write(d.fd, q) }); err != nil {
		return nil, err
	}
	for {
		n, err := again(func() (int, error) { return unix.Read(d.fd, d.answer[:]) })
		if err != nil {
			return nil, err
		}
		seq, msg, err := unwrap(d.answer[:n])
		if seq == d.seq || err != nil && seq == 0 { // else the answer to a question that was given up
			return msg, err
		}
	}
}

// again makes a system call until no signal interrupts it.
func again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

// unwrap takes an answer out of its struct nlmsghdr, and tells which question it is for; 0: it is none.
func unwrap(b []byte) (seq uint32, msg []byte, err error) {
	if len(b) < headLen {
		return 0, nil, fmt.Errorf("an answer of %d bytes, want at least %d", len(b), headLen)
	}
	n := binary.NativeEndian.Uint32(b)
	if n < headLen || uint64(n) > uint64(len(b)) {
		return 0, nil, fmt.Errorf("an answer of %d bytes that says it has %d", len(b), n)
	}
	kind, seq, msg := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[headLen:n]
	switch {
	case kind == nl.SOCK_DIAG_BY_FAMILY:
		return seq, msg, nil
	case kind == unix.NLMSG_ERROR && len(msg) >= 4:
		return seq, nil, unix.Errno(-int32(binary.NativeEndian.Uint32(msg)))
	}
	return seq, nil, fmt.Errorf("an answer of type %d, want %d", kind, nl.SOCK_DIAG_BY_FAMILY)
}

// Try looks for a listener that is known to be there. A kernel without inet_diag for TCP says of everything that it does not exist, just
// as of a socket that is gone (inet_diag_lock_handler gives ENOENT): only what must be there tells the two apart.
func (d *Diag) Try(listener, anyone netip.AddrPort) error {
	s, err := d.Look(listener, anyone)
	if err != nil {
		return err
	}
	if s.State == Closed {
		return fmt.Errorf("inet_diag: %w (modprobe tcp_diag)", ErrNone)
	}
	return nil
}

// request fills in struct inet_diag_req_v2 with an exact inet_diag_sockid: 8 + 48 bytes, which are 0.
func request(b []byte, local, remote netip.AddrPort) {
	b[0] = unix.AF_INET6
	if local.Addr().Is4() {
		b[0] = unix.AF_INET
	}
	b[1] = unix.IPPROTO_TCP
	b[2] = 1 << (netlink.INET_DIAG_INFO - 1)
	binary.NativeEndian.PutUint32(b[4:], 0xffffffff) // all states
	binary.BigEndian.PutUint16(b[8:], local.Port())
	binary.BigEndian.PutUint16(b[10:], remote.Port())
	put(b[12:28], local.Addr())
	put(b[28:44], remote.Addr())
	binary.NativeEndian.PutUint32(b[48:], nl.TCPDIAG_NOCOOKIE)
	binary.NativeEndian.PutUint32(b[52:], nl.TCPDIAG_NOCOOKIE)
}

// put writes an address in its own length.
func put(b []byte, a netip.Addr) {
	if a.Is4() {
		v := a.As4()
		copy(b, v[:])
		return
	}
	v := a.As16()
	copy(b, v[:])
}

// parse reads struct inet_diag_msg (72 bytes) and, of its attributes, the head of struct tcp_info.
func parse(b []byte) (Socket, error) {
	const msgLen = 72
	if len(b) < msgLen {
		return Socket{}, fmt.Errorf("inet_diag: answer of %d bytes, want at least %d", len(b), msgLen)
	}
	s := Socket{State: named(states[:], b[1]), Timer: named(timers[:], b[2]), Retrans: int(b[3])}
	if s.State == "" {
		s.State = fmt.Sprintf("state %d", b[1])
	}
	if s.Timer != "" {
		s.Expires = time.Duration(binary.NativeEndian.Uint32(b[52:])) * time.Millisecond
	}
	s.RecvQueue, s.SendQueue = int(binary.NativeEndian.Uint32(b[56:])), int(binary.NativeEndian.Uint32(b[60:]))
	// struct rtattr: length with these 4 bytes, type; aligned to 4. (netlink's own parser panics where the last one is not.)
	for rest := b[msgLen:]; len(rest) >= 4; {
		n, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if n < 4 || n > len(rest) {
			return Socket{}, fmt.Errorf("inet_diag: attributes: one of %d bytes where %d are left", n, len(rest))
		}
		if kind == netlink.INET_DIAG_INFO {
			s.info(rest[4:n])
		}
		rest = rest[min((n+3)&^3, len(rest)):]
	}
	return s, nil
}

// info reads the head of struct tcp_info (include/uapi/linux/tcp.h), as far as this kernel's goes.
func (s *Socket) info(b []byte) {
	const backoff, rto, unacked, ssthresh, cwnd, end = 4, 8, 24, 76, 80, 84
	if len(b) >= rto+4 {
		s.Backoff = int(b[backoff])
		s.RTO = time.Duration(binary.NativeEndian.Uint32(b[rto:])) * time.Microsecond
	}
	if len(b) >= end {
		s.Unacked = int(binary.NativeEndian.Uint32(b[unacked:]))
		s.Cwnd = int(binary.NativeEndian.Uint32(b[cwnd:]))
		if v := binary.NativeEndian.Uint32(b[ssthresh:]); v != infiniteSsthresh {
			s.Ssthresh = int(v)
		}
	}
}

const infiniteSsthresh = 0x7fffffff // TCP_INFINITE_SSTHRESH

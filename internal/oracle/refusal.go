package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Refusal is an active open that the other end refuses: no socket listens, or a rule in its INPUT chain rejects the SYN.
type Refusal struct {
	Connect
	Server string // "" means "server"
	// By is what refuses: "" a port without a socket, else what iptables or ip6tables calls --reject-with: "tcp-reset",
	// "icmp-port-unreachable", "icmp6-port-unreachable", ...
	By  string
	RTT time.Duration // the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds
	// Link is what the link does besides: it holds each TCP packet back for a time of its own. An ICMP error is none.
	Link link.Plan
}

// unreachable is the errno that an ICMP error of the REJECT target becomes: icmp_err_convert in net/ipv4/icmp.c, and tab_unreach in
// net/ipv6/icmp.c, which icmpv6_err_convert reads.
var unreachable = map[string]string{
	"icmp-net-unreachable":   "ENETUNREACH",  // code 0
	"icmp-host-unreachable":  "EHOSTUNREACH", // code 1
	"icmp-proto-unreachable": "ENOPROTOOPT",  // code 2
	"icmp-port-unreachable":  "ECONNREFUSED", // code 3
	"icmp-net-prohibited":    "ENETUNREACH",  // code 9
	"icmp-host-prohibited":   "EHOSTUNREACH", // code 10
	"icmp-admin-prohibited":  "EHOSTUNREACH", // code 13

	"icmp6-no-route":         "ENETUNREACH",  // code 0
	"icmp6-adm-prohibited":   "EACCES",       // code 1
	"icmp6-addr-unreachable": "EHOSTUNREACH", // code 3
	"icmp6-port-unreachable": "ECONNREFUSED", // code 4
	"icmp6-policy-fail":      "EACCES",       // code 5
	"icmp6-reject-route":     "EACCES",       // code 6
}

// Predict returns the SYNs, the refusals and the end of connect(2).
//
// A RST ends connect(2) at once. So does an ICMP error on a link with a delay. Without one it comes back while connect(2) still owns the
// socket, and is only noted (sk_err_soft). Since Linux 5.8 it is put into the socket's error queue as well, asked for or not: poll(2) wakes up,
// and SO_ERROR hands out the noted error, so that a program whose connect(2) does not block, as this one's, learns of it at once. Before, and
// with IPv6 in every kernel, which looks whether the program asked for it (IPV6_RECVERR), the answer to the next SYN, which a timer sends,
// ends it; the alternative there has the first ICMP error end it after all, because the kernel may leave received packets to another thread
// (ksoftirqd).
//
// Source: tcp_v4_err in net/ipv4/tcp_ipv4.c, tcp_v6_err in net/ipv6/tcp_ipv6.c, ipv6_icmp_error in net/ipv6/datagram.c, tcp_reset in
// tcp_input.c, nf_send_reset and nf_send_unreach in net/ipv4/netfilter/nf_reject_ipv4.c and their like in net/ipv6 (6.18).
func (r Refusal) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := r.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if r.Host == "" {
		r.Host = "client"
	}
	if r.Server == "" {
		r.Server = "server"
	}
	u := newRule(r.Connect, f)
	timer := int64(min(u.initial, u.most))
	play := func(hard bool) func(*world) []happening {
		return func(w *world) []happening {
			p := &refused{Refusal: r, w: w}
			p.run(timer, hard)
			return p.out
		}
	}
	errno := unreachable[r.By]
	if errno == "" || r.RTT > 0 || queued(f, strings.HasPrefix(r.By, "icmp6-")) {
		return sweep(f, start, timer, play(true)), nil
	}
	out := sweep(f, start, timer, play(false))
	alt := sweep(f, start, timer, play(true))
	alt.Why = "the first ICMP error is handled after connect(2) has let go of the socket, so it ends connect(2) at once"
	out.Alternatives = []timeline.Timeline{alt}
	return out, nil
}

// queued reports whether an ICMP error that is only noted wakes poll(2) up: commit 45af29ca761c ("tcp: allow traceroute -Mtcp for unpriv users").
func queued(f kernel.Facts, ipv6 bool) bool { return !ipv6 && f.Version.AtLeast(5, 8) }

func (r Refusal) validate(f kernel.Facts, start *Start) error {
	if err := r.Connect.validate(f, start); err != nil {
		return err
	}
	switch {
	case r.By != "" && r.By != "tcp-reset" && unreachable[r.By] == "":
		return fmt.Errorf("refusal by %q: want tcp-reset, %s", r.By, strings.Join(slices.Sorted(maps.Keys(unreachable)), ", "))
	case r.SoftError != "":
		return fmt.Errorf("refusal: soft error %q: it comes of the refusal, and is not given", r.SoftError)
	case r.RTT < 0 || r.RTT > exchangeRTT:
		return fmt.Errorf("refusal: RTT of %v: want 0 to %v", r.RTT, exchangeRTT)
	}
	return nil
}

// refused plays both ends in one world.
type refused struct {
	Refusal
	w   *world
	out []happening
}

// run plays it. hard: the first refusal ends connect(2).
func (p *refused) run(timer int64, hard bool) {
	there, errno := newLine(p.RTT, p.Link).toServer(0), unreachable[p.By]
	p.add(timeline.Event{Host: p.Host, What: timeline.SYN, Exact: true}, 0, 0, 0, say("first SYN: time starts here"))
	if errno == "" {
		p.add(timeline.Event{Host: p.Server, What: timeline.RST, RelAck: 1, Exact: true}, there, 0, 1, p.whyReset())
		p.end("ECONNREFUSED", RoundTrip(p.RTT, p.Link), 0, 2, say("a RST that acknowledges the SYN ends connect(2)"))
		return
	}
	p.add(timeline.Event{Host: p.Server, What: timeline.ICMP}, there, 0, 1, say("the rule answers the SYN with an ICMP error"))
	if hard {
		p.end(errno, there+p.RTT/2, 0, 2, say("the ICMP error ends connect(2)"))
		return
	}
	jiffy := p.w.fire(0, timer)
	nominal := p.w.fromJiffies(timer)
	p.add(timeline.Event{Host: p.Host, What: timeline.SYNRetransmission, N: 1, Exact: true, Bound: timeline.Bound{At: nominal}}, 0, jiffy, 0,
		say("0 + %v: the ICMP error came while connect(2) owned the socket, so it was only noted, and the timer runs", nominal))
	p.add(timeline.Event{Host: p.Server, What: timeline.ICMP, Bound: timeline.Bound{At: nominal}}, 0, jiffy, 0,
		say("the rule answers the repeated SYN with an ICMP error"))
	p.end(errno, nominal, jiffy, 0, say("the second ICMP error finds the socket without an owner and ends connect(2)"))
}

func (p *refused) whyReset() func() string {
	if p.By == "" {
		return say("no socket listens on this port: RST, with sequence number 0 because the SYN carries no acknowledgement to take one from (RFC 9293)")
	}
	return say("the rule answers the SYN with a RST")
}

func (p *refused) end(errno string, nominal time.Duration, jiffy int64, hops int, why func() string) {
	e := timeline.Event{Host: p.Host, What: timeline.ConnectError, Errno: errno, Bound: timeline.Bound{At: nominal}}
	p.add(e, nominal, jiffy, hops, why)
	p.out[len(p.out)-1].outcome = true
}

// add adds an event of a timer's jiffy, or, where that is 0, at an instant.
func (p *refused) add(e timeline.Event, at time.Duration, jiffy int64, hops int, why func() string) {
	h := happening{Event: e, at: at, jiffy: jiffy, late: lateness(p.RTT, hops), why: why}
	if jiffy != 0 {
		h.at, h.late = p.w.instant(jiffy), 0
	} else {
		h.Bound.At = at
	}
	p.out = append(p.out, h)
}

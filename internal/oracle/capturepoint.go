package oracle

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// CapturePoint is an open that one iptables rule breaks, at one place on the way of its SYN or of its SYN-ACK, with a capture at each end.
//
//	client: TCP ─ OUTPUT (raw, mangle, filter) ─ POSTROUTING (mangle) ─ capture ─ link ─ capture ─ PREROUTING (raw, mangle) ─ INPUT ─ TCP :server
//
// and the same way back. A capture (AF_PACKET) sits between netfilter and the link: on the way out behind every chain
// (dev_queue_xmit_nit), on the way in before every chain (__netif_receive_skb_core before ip_rcv).
type CapturePoint struct {
	Connect
	Server       Server // its Silent is not read: Host, Table and Chain say it
	At           string // the host with the rule: "client" or "server"
	Table, Chain string // "filter", "mangle" or "raw"; "INPUT", "OUTPUT", "PREROUTING" or "POSTROUTING"
}

// Count is a number of packets: at least Min, at most Max.
type Count struct{ Min, Max int }

// Holds reports whether n is in the range.
func (c Count) Holds(n int) bool { return c.Min <= n && n <= c.Max }

// Sights says what the two captures show, and how often the rule hits, by the time at which connect(2) fails and everything is over.
type Sights struct {
	Drops                          timeline.What // SYN or SYNACK: what the rule is made to match
	SYNAtClient, SYNAtServer       Count
	SYNACKAtServer, SYNACKAtClient Count // of the server's and of the client's capture
	Hits                           Count
}

// out reports whether a chain is on the way out of a host.
func (c CapturePoint) out() bool { return c.Chain == "OUTPUT" || c.Chain == "POSTROUTING" }

// Drops is what there is to drop at this place: the SYN on its way out of the client and into the server, else the SYN-ACK.
func (c CapturePoint) Drops() timeline.What {
	if c.out() == (c.At == "client") {
		return timeline.SYN
	}
	return timeline.SYNACK
}

// chains are the places where a table has a chain (xt_table.valid_hooks).
var chains = map[string]string{
	"raw":    "PREROUTING OUTPUT",
	"mangle": "PREROUTING INPUT OUTPUT POSTROUTING",
	"filter": "INPUT OUTPUT",
}

func (c CapturePoint) validate() error {
	if c.At != "client" && c.At != "server" {
		return fmt.Errorf("capture point: host %q: want client or server", c.At)
	}
	for _, chain := range strings.Fields(chains[c.Table]) {
		if chain == c.Chain {
			return nil
		}
	}
	return fmt.Errorf("capture point: table %q has no chain %q that both ends' packets pass: raw has PREROUTING and OUTPUT, filter has INPUT and OUTPUT, "+
		"mangle has all four", c.Table, c.Chain)
}

// Predict returns what goes over the wire, and the end of connect(2). A SYN that dies on its way out leaves nothing on the wire and changes
// nothing else: tcp_connect ignores that it could not be sent, and the timer runs.
func (c CapturePoint) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := c.validate(); err != nil {
		return timeline.Timeline{}, err
	}
	if c.Drops() == timeline.SYNACK {
		s := c.Server
		s.Silent = c.out()
		return SYNACKLoss{Connect: c.Connect, Server: s}.Predict(f, start)
	}
	tl, err := c.Connect.Predict(f, start)
	if c.out() {
		tl.Events = nil
	}
	return tl, err
}

// Sights counts what Predict returns, with the alternatives, and what the rule catches of it.
func (c CapturePoint) Sights(f kernel.Facts) (Sights, error) {
	tl, err := c.Predict(f, nil)
	if err != nil {
		return Sights{}, err
	}
	s := Sights{Drops: c.Drops()}
	if s.Drops == timeline.SYN {
		all, err := c.Connect.Predict(f, nil)
		if err != nil {
			return Sights{}, err
		}
		syns := count(all, timeline.SYN)
		s.Hits = syns
		if !c.out() {
			s.SYNAtClient, s.SYNAtServer = syns, syns
		}
		return s, nil
	}
	s.SYNAtClient = count(tl, timeline.SYN)
	s.SYNAtServer = s.SYNAtClient
	if c.out() {
		// Each SYN makes the server try once, and so does the timer's fire that forgets the half-open connection.
		gone := count(tl, timeline.RequestGone)
		s.Hits = Count{s.SYNAtServer.Min + gone.Min, s.SYNAtServer.Max + gone.Max}
		return s, nil
	}
	s.SYNACKAtServer = count(tl, timeline.SYNACK)
	s.SYNACKAtClient, s.Hits = s.SYNACKAtServer, s.SYNACKAtServer
	return s, nil
}

// Last is when everything is over, at the latest.
func (c CapturePoint) Last(f kernel.Facts) (time.Duration, error) {
	tl, err := c.Predict(f, nil)
	if err != nil {
		return 0, err
	}
	last := tl.Outcome.Latest
	for _, t := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
		for _, e := range t.Events {
			last = max(last, e.Latest)
		}
	}
	return last, nil
}

// count counts the events of one family over a timeline and its alternatives.
func count(tl timeline.Timeline, family timeline.What) Count {
	c := Count{Min: 1 << 30}
	for _, t := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
		sure, all := 0, 0
		for _, e := range t.Events {
			if e.What.Family() != family {
				continue
			}
			all++
			if !e.Maybe {
				sure++
			}
		}
		c.Min, c.Max = min(c.Min, sure), max(c.Max, all)
	}
	return c
}

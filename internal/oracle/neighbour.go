package oracle

import (
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// The neighbour table's own timers, as arp_tbl (net/ipv4/arp.c) and nd_tbl (net/ipv6/ndisc.c) have them in every kernel.
const (
	neighbourProbes = 3           // mcast_solicit: ARP requests, or neighbour solicitations, before an address counts as unreachable
	neighbourWait   = time.Second // retrans_time_ms: between them
)

// NoNeighbour is an active open to an address on the link whose owner answers no ARP request, or with IPv6 no neighbour solicitation: no SYN
// ever leaves, because each waits for a hardware address.
type NoNeighbour struct {
	Connect
	IPv6 bool
}

// Predict returns the end of connect(2); there is no TCP on the wire.
//
// After three ARP requests the host tells itself "host unreachable" (arp_error_report, ipv4_link_failure), and connect(2) fails with
// EHOSTUNREACH. But first that error takes back one doubling of the SYN's timer and, because the queued SYN is long overdue, makes the
// timer fire at once (tcp_ld_RTO_revert, RFC 6069): where the retransmissions are used up by then, the end is ETIMEDOUT instead. With few
// retransmissions the timer itself may end it before.
//
// With IPv6 (ndisc_error_report, ip6_link_failure: "address unreachable") the error takes nothing back: tcp_v6_err leaves RFC 6069 to
// connections that were open, and to the code "no route". So the end is EHOSTUNREACH wherever the timer has not ended it before.
func (n NoNeighbour) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := n.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if n.Host == "" {
		n.Host = "client"
	}
	r := newRule(n.Connect, f)
	_, last := r.nominal(1)
	fires, _ := r.nominal(last + 2)
	longest := max(int64(r.longest()), ceilJiffies(f, neighbourWait))
	return sweep(f, start, longest, func(w *world) []happening {
		o := &open{SYNACKLoss: SYNACKLoss{Connect: n.Connect}, rule: r, w: w, fires: fires, last: last}
		o.unresolved(n.IPv6)
		return o.out
	}), nil
}

// unresolved plays the SYN's timer against the neighbour's.
func (o *open) unresolved(ipv6 bool) {
	failed, nominal := int64(0), neighbourProbes*neighbourWait
	for range neighbourProbes {
		failed = o.w.fire(failed, o.w.toJiffies(neighbourWait))
	}
	timer := min(o.initial, o.most)
	next := o.w.fire(0, int64(timer))
	n := 0
	for ; next <= failed; n++ {
		if o.expired(n, next) {
			o.end(next, o.fires[min(n, len(o.fires)-1)].at, func() string { return o.whyEnd(o.last, o.fires[o.last].at) })
			return
		}
		timer = backoff(o.rule, n+1, timer, o.most)
		next = o.w.fire(next, o.clampIn(next, int64(timer)))
	}
	asked, backedOff := "ARP requests", n > o.linear
	if ipv6 {
		asked, backedOff = "neighbour solicitations", false
	}
	if backedOff && o.expired(n, failed) {
		o.end(failed, nominal, say("%v: %d ARP requests unanswered; the error makes the SYN's timer fire at once, after %s: used up",
			nominal, neighbourProbes, plural(n, "retransmission")))
		return
	}
	e := timeline.Event{Host: o.c.Host, What: timeline.ConnectError, Errno: "EHOSTUNREACH", Bound: timeline.Bound{At: nominal}}
	o.out = append(o.out, happening{Event: e, at: o.w.instant(failed), jiffy: failed, outcome: true,
		why: say("%v: %d %s, %v apart, were not answered", nominal, neighbourProbes, asked, neighbourWait)})
}

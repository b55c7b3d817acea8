package page

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// deaths are the packets that did not arrive, that their receiver threw away, or that were sent again: with the kernel's own reason, and the
// mechanism that sent them.
func (c *composer) deaths(r *result.Result, id string) evidence {
	e := evidence{Title: c.text("Packets that died or came again"), Heads: c.heads("packet", "time", "from", "what", "where it died", "the kernel's reason", "in the function", "sent again by")}
	names := labels(r)
	for i := range r.Packets {
		p := &r.Packets[i]
		again := timeline.What(p.What).Again()
		if p.Fate == result.Delivered && p.DropReason == "" && !again {
			continue
		}
		if len(e.Rows) == mostRows {
			e.Remark = c.text("and more; result.json has all")
			break
		}
		where, reason, cause := p.Where, p.DropReason, p.Cause
		switch {
		case p.Fate == result.Lost:
			where = "lost on its way"
		case p.Fate == result.Delivered && reason != "":
			where = "in TCP, after its arrival"
		}
		if told := r.Evidence != nil && r.Evidence.Tracepoints; told {
			if reason == "" && p.Fate == result.Dropped {
				reason = "not told"
			}
			if cause == "" && again {
				cause = "not told"
			}
		}
		link := c.same(fmt.Sprintf("#%d", p.ID))
		link.Href = "#" + packetID(id, p.ID)
		e.Rows = append(e.Rows, []text{link, c.same(secs(result.Seconds(p.At()))), c.host(p.From), c.text(names[p.ID]), c.text(where), c.text(reason), c.same(p.DropHook), c.text(cause)})
	}
	return e
}

// labels are what the ladder calls the packets.
func labels(r *result.Result) map[int]string {
	out := map[int]string{}
	rungs, _, _ := report.Rungs(r)
	for _, g := range rungs {
		if g.Packet != nil && out[g.Packet.ID] == "" {
			out[g.Packet.ID] = g.Label
		}
	}
	return out
}

// told says what there is of the kernel's own evidence, and what is missing.
func (c *composer) told(r *result.Result) evidence {
	e := evidence{Title: c.text("What the kernel was asked")}
	say := func(s string) { e.Rows = append(e.Rows, []text{c.text(s)}) }
	k := r.Evidence
	switch {
	case len(r.Packets) == 0 && k == nil:
	case k == nil:
		say("Nothing: no tracepoints were followed and no counters were read (--evidence=off, or a result without them). Where a packet died and what repeated it stands on the rules' counters and the captures alone.")
	case !k.Tracepoints:
		say("The counters only: the tracepoints could not be followed here, and a note says why. Where a packet died and what repeated it stands on the rules' counters and the captures alone.")
	case k.Lost > 0:
		say(fmt.Sprintf("The tracepoints and the counters. %d events of the tracepoints were lost: what is not told here may have happened.", k.Lost))
	default:
		say("The tracepoints and the counters; no event was lost.")
	}
	if len(r.Packets) > 0 && len(r.Samples) == 0 {
		say("No samples of inet_diag: there are several connections side by side, or this kernel has none.")
	}
	return e
}

// kernelEvents are the hits of the tracepoints, in the order of time.
func (c *composer) kernelEvents(r *result.Result, id string) evidence {
	e := evidence{Title: c.text("What the kernel's tracepoints told"), Folded: true,
		Heads: c.heads("time", "host", "tracepoint", "packet", "what", "state", "congestion state", "repeats", "backoff", "RTO", "cwnd", "ssthresh", "in flight")}
	if r.Evidence == nil {
		return e
	}
	known := map[int]bool{}
	for _, p := range r.Packets {
		known[p.ID] = true
	}
	for i, k := range r.Evidence.Events {
		if i == mostRows {
			e.Remark = c.textf("and %d more; result.json has all", len(r.Evidence.Events)-mostRows)
			break
		}
		row := []text{c.same(secs(k.At)), c.host(k.Host), c.same(k.Hook), {}, c.what(k), c.same(k.State)}
		if known[k.Packet] {
			row[3] = c.same(fmt.Sprintf("#%d", k.Packet))
			row[3].Href = "#" + packetID(id, k.Packet)
		}
		if k.CA == "" { // not of a full socket
			row = append(row, make([]text, 7)...)
		} else {
			row = append(row, c.cells(k.CA, fmt.Sprint(k.Retrans), fmt.Sprint(k.Backoff), small(k.RTO.Duration()), fmt.Sprint(k.Cwnd), infinite(k.Ssthresh), fmt.Sprint(k.InFlight))...)
		}
		e.Rows = append(e.Rows, row)
	}
	return e
}

// what an event says, in a few words.
func (c *composer) what(k result.KernelEvent) text {
	switch {
	case k.Hook == result.HookDrop:
		return c.same(k.Reason + " · " + k.Where)
	case k.Hook == result.HookState:
		return c.same(k.Was + " → " + k.State)
	case k.Errno != "":
		return c.textf("%s, not sent: %s", k.Cause, k.Errno)
	case k.Hook == result.HookTimer && k.Due != nil:
		return c.textf("%s, due at %s: rounded up by %s", k.Timer, secs(*k.Due), small(k.Rounded.Duration()))
	case k.Hook == result.HookTimer:
		return c.textf("%s, rounded up by %s", k.Timer, small(k.Rounded.Duration()))
	}
	return c.text(k.Cause)
}

// infinite prints a threshold that may not be set yet.
func infinite(ssthresh int) string {
	if ssthresh == 0 {
		return "∞"
	}
	return fmt.Sprint(ssthresh)
}

// counters are those that changed, a line for each name.
func (c *composer) counters(r *result.Result) evidence {
	e := evidence{Title: c.text("Counters of the kernel that changed"), Heads: c.heads("counter", "client", "server"), Folded: true}
	if r.Evidence == nil {
		return e
	}
	var names []string
	for _, k := range r.Evidence.Counters {
		if !slices.Contains(names, k.Name) {
			names = append(names, k.Name)
		}
	}
	slices.Sort(names)
	if len(names) > 2*mostRows { // a kernel has some 400
		names = names[:2*mostRows]
	}
	added := func(host, name string) string {
		if n := r.Evidence.Added(host, name); n > 0 {
			return fmt.Sprintf("+%d", n)
		}
		return ""
	}
	for _, name := range names {
		e.Rows = append(e.Rows, c.cells(name, added("client", name), added("server", name)))
	}
	return e
}

// samples are the looks of inet_diag in which something had changed. Several connections come one after the other, each with its share of the
// rows.
func (c *composer) samples(r *result.Result) evidence {
	e := evidence{Title: c.text("What inet_diag said of the sockets"), Folded: true, Heads: c.heads("time", "host", "state", "timer", "expires in", "repeats", "backoff", "RTO", "cwnd", "ssthresh",
		"segments in flight", "send queue", "receive queue")}
	of := func(s result.Sample) int { return cmp.Or(s.Port, r.LookAt) }
	ports := map[int]int{} // how many samples each connection has
	for _, s := range r.Samples {
		ports[of(s)]++
	}
	share := mostRows / max(len(ports), 1)
	several := len(ports) > 1 || ports[0] == 0 && len(ports) > 0
	if several {
		e.Heads = slices.Insert(e.Heads, 1, c.text("port"))
	}
	more := 0
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		shown := 0
		for _, s := range r.Samples {
			if of(s) != port {
				continue
			}
			if shown++; shown > share {
				more++
				continue
			}
			row := c.sample(s)
			if several {
				row = slices.Insert(row, 1, c.same(fmt.Sprint(port)))
			}
			e.Rows = append(e.Rows, row)
		}
	}
	if more > 0 {
		e.Remark = c.textf("and %d more; result.json has all", more)
	}
	return e
}

func (c *composer) sample(s result.Sample) []text {
	var rto, expires string
	if s.RTO > 0 {
		rto = small(s.RTO.Duration())
	}
	if s.Timer != "" {
		expires = small(s.Expires.Duration())
	}
	row := append([]text{c.same(secs(s.At)), c.host(s.Host)}, c.cells(s.State, s.Timer, expires, fmt.Sprint(s.Retrans), fmt.Sprint(s.Backoff), rto)...)
	if s.Cwnd == 0 { // a half-open connection, a listener, or none: no struct tcp_info
		row = append(row, make([]text, 3)...)
	} else {
		row = append(row, c.cells(fmt.Sprint(s.Cwnd), infinite(s.Ssthresh), fmt.Sprint(s.Unacked))...)
	}
	return append(row, c.cells(fmt.Sprint(s.SendQueue), fmt.Sprint(s.RecvQueue))...)
}

// secs and small print a time that no line of a table breaks: the space before the unit is none to break at.
func secs(s result.Seconds) string { return fmt.Sprintf("%.6f\u00a0s", time.Duration(s).Seconds()) }

func small(d time.Duration) string { return strings.ReplaceAll(report.Small(d), " ", "\u00a0") }

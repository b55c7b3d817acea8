package runner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// linkStalls are the times in which the process that carries the frames of a link with an RTT did not run in time: those in which a packet
// took a jiffy or more longer than half the RTT between the two captures. What was sent on the word of such a packet is late by as much.
// A link that is not late is not told of, so that it excuses nothing.
func linkStalls(packets []result.Packet, l *result.Link, jiffy time.Duration) []result.Stall {
	var out []result.Stall
	if l == nil {
		return nil
	}
	dues := judge.Dues(*l, packets)
	for i, p := range packets {
		if p.SentAt == nil || p.ArrivedAt == nil {
			continue
		}
		due := dues[i]
		if late := p.ArrivedAt.Duration() - due; late >= jiffy {
			out = append(out, result.Stall{At: result.Seconds(due), For: result.Seconds(late), CPU: -1, Process: "link"})
		}
	}
	slices.SortStableFunc(out, func(a, b result.Stall) int { return cmp.Compare(a.At, b.At) })
	return out
}

// scheduled judges the schedule. Where it is contradicted and the link was late by a jiffy or more, the sender measured another RTT than the
// one that was asked for, and its timers, which are made of it, are longer by a multiple: then the run proves nothing.
func scheduled(in judge.Input, packets []result.Packet, l *result.Link) (events []result.Event, outcome *result.Event, checks []result.Check, other string) {
	events, outcome, checks, other = judge.Schedule(in)
	if !judge.Contradicted(checks) {
		return events, outcome, checks, other
	}
	late := linkStalls(packets, l, in.Jiffy)
	if len(late) == 0 && !judge.Contradicted(checks[:1]) { // the number of packets
		all := slices.Clone(events)
		if outcome != nil {
			all = append(all, *outcome)
		}
		late = stretched(packets, l, all)
	}
	if len(late) == 0 {
		return events, outcome, checks, other
	}
	worst := slices.MaxFunc(late, func(a, b result.Stall) int { return cmp.Compare(a.For, b.For) })
	in.Link = fmt.Errorf("the link was late by %v at %v, so the sender measured another RTT and made its timers of it", worst.For.Duration(), worst.At.Duration())
	return judge.Schedule(in)
}

// leftOpenByLink is how late a link with a jitter may be at each crossing for a prediction to hold: those timers that it then makes are alternatives.
const leftOpenByLink = time.Millisecond

// stretched are the times by which a link with a jitter was later than predictions leave open, though by less than a jiffy, where that may be all that
// contradicts the prediction: each event that does was seen, not before its time, and behind a packet of its own connection that was so late. 3.8 ms were seen, of
// a SYN-ACK; the RTO, which is made of it, is longer by a multiple.
func stretched(packets []result.Packet, l *result.Link, events []result.Event) (out []result.Stall) {
	if l == nil || !l.Every {
		return nil
	}
	dues := judge.Dues(*l, packets)
	for _, e := range events {
		if e.Verdict != result.Fail {
			continue
		}
		if !e.Expected || e.Seen == nil || *e.Seen < e.Earliest {
			return nil
		}
		explained := false
		for i, p := range packets {
			if p.SentAt == nil || p.ArrivedAt == nil || *p.ArrivedAt >= *e.Seen || e.Port != 0 && p.SrcPort != e.Port && p.DstPort != e.Port {
				continue
			}
			if late := p.ArrivedAt.Duration() - dues[i]; late >= leftOpenByLink {
				explained = true
				out = append(out, result.Stall{At: result.Seconds(dues[i]), For: result.Seconds(late), CPU: -1, Process: "link"})
			}
		}
		if !explained {
			return nil
		}
	}
	return out
}

// underWay reports whether a packet can still be on a link with an RTT, so that nobody can say yet whether it arrives.
func (o *observer) underWay(v *view, e result.Event) bool {
	if o.r.setup.RTT == 0 {
		return false
	}
	now, err := kernel.MonotonicNow()
	return err == nil && now-v.origin-seenAt(e) < o.r.setup.OnLink()+pairWithin
}

func (r *run) host(name string) *lab.Host {
	switch name {
	case "server":
		return r.lab.Server
	case "router":
		return r.lab.Router
	}
	return r.lab.Client
}

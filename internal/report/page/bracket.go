package page

import (
	"fmt"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// bracket joins a packet with its repeat.
type bracket struct {
	X      int // the upright
	In     int // where its ends point
	Y0, Y1 triple
	Label  text
	Kind   text // RTO, PTO
	TextX  int
	Anchor string
	Quiet  bool // no words on the linear scale: they would stand on others
}

// Mid is the middle of the upright, a little higher, because the words are two lines.
func (b *bracket) Mid() triple {
	var m triple
	for s := range m {
		m[s] = (b.Y0[s]+b.Y1[s])/2 - 3
	}
	return m
}

// Path is the bracket's line on the first scale.
func (b *bracket) Path() string {
	return fmt.Sprintf("M%d %sH%dV%sH%d", b.In, b.Y0.First(), b.X, b.Y1.First(), b.In)
}

// timers names the timer behind a repeat, or behind the end of a call; what is not here was not made by a timer.
var timers = map[timeline.What]string{timeline.SYNRetransmission: "RTO", timeline.SYNACKAgain: "RTO", timeline.RTORetransmission: "RTO",
	timeline.FINAgain: "RTO", timeline.TailLossProbe: "PTO", timeline.KeepaliveProbe: "keepalive"}

// thread is one end of one connection: its packets share a retransmission timer.
type thread struct {
	host string
	port int
}

// timed is a line of the ladder as the brackets see it: the thread that it belongs to, the timer that made it, if one did, and whether that
// timer counted from the line before of the same thread.
func timed(row *rowView, last map[thread]*rowView) (k thread, timer string, ok bool) {
	p, e := row.rung.Packet, row.rung.Event
	switch {
	case !row.rung.Seen:
		return k, "", false
	case p != nil && (timeline.What(p.What).Family() != timeline.ACK || len(last) > 0 && timeline.What(p.What) == timeline.ACK):
		return thread{p.From, p.SrcPort + p.DstPort}, timers[timeline.What(p.What)], true
	case e != nil && e.Expected && e.Verdict == result.Pass && (e.SeenErr == "ETIMEDOUT" || e.Errno == "ETIMEDOUT"):
		for t := range last {
			if t.host == e.Host {
				k, ok = t, true
			}
		}
		return k, "RTO", ok && len(last) <= 2
	}
	return k, "", false
}

// brackets join each repeat that a timer made with the packet from which that timer counted, and the last of them with the end of the
// call. Where several connections overlap there is no room for them, and there are none.
func (c *composer) brackets(v *ladderView, left string) []*bracket {
	last := map[thread]*rowView{}
	lastTimer := map[thread]string{}
	busy := map[string]float64{} // where the last bracket of a side ends
	var out []*bracket
	for _, row := range v.Rows {
		k, timer, ok := timed(row, last)
		if !ok {
			continue
		}
		before := last[k]
		last[k] = row
		if row.rung.Packet == nil { // the end of a call: the same timer once more
			timer = lastTimer[k]
		}
		lastTimer[k] = timer
		if timer == "" || before == nil {
			continue
		}
		if before.Y[compressed] < busy[k.host] {
			return nil
		}
		busy[k.host] = row.Y[compressed]
		out = append(out, c.bracket(before, row, timer, k.host == left))
	}
	return out
}

func (c *composer) bracket(from, to *rowView, timer string, leftSide bool) *bracket {
	const room = 30 // for two lines
	b := &bracket{Quiet: to.Y[linear]-from.Y[linear] < room, X: bracketX, In: bracketX + 7, Y0: from.Y, Y1: to.Y, TextX: bracketX - 6, Anchor: "end", Kind: c.text(timer),
		Label: c.same(fmt.Sprintf("%.3f s", (to.rung.At - from.rung.At).Seconds()))}
	if !leftSide {
		b.X, b.In, b.TextX, b.Anchor = rightX+112, rightX+105, rightX+118, "start"
	}
	return b
}

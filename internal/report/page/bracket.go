package page

import (
	"fmt"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// bracket is the wait behind a repeat.
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

// ended finds the thread whose timer ended a call with ETIMEDOUT: that of the call's host, where there is one connection.
func ended(e *result.Event, last map[thread]*rowView) (k thread, ok bool) {
	if e == nil || !e.Expected || e.Verdict != result.Pass || e.SeenErr != "ETIMEDOUT" && e.Errno != "ETIMEDOUT" {
		return k, false
	}
	for t := range last {
		if t.host == e.Host {
			if ok {
				return k, false
			}
			k, ok = t, true
		}
	}
	return k, ok
}

// brackets join each repeat that a timer made with the packet before it of the same end that waits for an answer, and the last of them with
// the end of the call. They say which timer fired and how long the wait was; a timer that an acknowledgement had set anew has waited less.
// Where several connections overlap there is no room for them, and there are none.
func (c *composer) brackets(v *ladderView, left string) []*bracket {
	last := map[thread]*rowView{}    // packets that wait for an answer
	lastAny := map[thread]*rowView{} // all: a keepalive timer counts from any
	lastTimer := map[thread]string{}
	busy := map[string]float64{} // where the last bracket of a side ends
	var out []*bracket
	for _, row := range v.Rows {
		p := row.rung.Packet
		if !row.rung.Seen || p == nil && row.rung.Event == nil {
			continue
		}
		var k thread
		var timer string
		ok := true
		if p != nil {
			k, timer = thread{p.From, p.SrcPort + p.DstPort}, timers[timeline.What(p.What)]
		} else if k, ok = ended(row.rung.Event, last); ok {
			timer = lastTimer[k] // the same timer once more
		}
		if !ok {
			continue
		}
		before := last[k]
		if timer == "keepalive" {
			before = lastAny[k]
		}
		lastAny[k] = row
		if p != nil && timeline.What(p.What).Family() == timeline.ACK {
			continue
		}
		last[k], lastTimer[k] = row, timer
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

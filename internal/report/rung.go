package report

import (
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// End says how far a packet got between the two capture points.
type End int

// The ends of a packet's way.
const (
	Unknown        = End(endUnknown)   // nothing is known beyond that it was seen
	Arrived        = End(endDelivered) // reached the receiver
	DiedAtReceiver = End(endReceiver)  // passed the receiver's capture point and died behind it
	DiedOnWire     = End(endWire)      // passed the sender's capture point and never reached the receiver's
	DiedAtSender   = End(endSender)    // died before the sender's own capture point
)

// Rung is one line of the ladder as data, for those who draw it otherwise than Ladder does. Its strings may come from outside.
type Rung struct {
	At     time.Duration  // when it was seen; of what was not seen, when it was due
	Seen   bool           // false: nobody saw it
	Host   string         // who did it; of a change of state, whose state
	Label  string         // what the arrow carries, or what a program saw; empty for a mere change of state
	State  string         // the host's new TCP state, where it changed
	Event  *result.Event  // nil: a packet that no event names, or a mere change of state
	Packet *result.Packet // nil: it is not a packet, or no capture saw it
	OnWire bool           // it is a packet, seen or not
	End    End
	Where  string // the place where it died, as the ladder names it
	Off    string // how far it is from its nominal time or its tick: "+4 ms", "tick +41 µs"
	Mark   string // the judgement: "ok", "late", "missing"; empty for none
}

// Rungs lists the lines of r's ladder in the order in which Ladder writes them, and the names of the hosts at its two ends.
func Rungs(r *result.Result) (rungs []Rung, left, right string) {
	l := newLadder(newPen(Style{}), r)
	for _, it := range l.states(l.items()) {
		switch {
		case it.event != nil:
			rungs = append(rungs, l.rung(it))
		case it.packet != nil:
			rungs = append(rungs, l.packetRung(it))
		default:
			rungs = append(rungs, Rung{At: it.at, Seen: true, Host: it.host, State: it.state})
		}
	}
	return rungs, l.left, l.right
}

func (l *ladder) packetRung(it item) Rung {
	pk := it.packet
	return Rung{At: it.at, Seen: true, Host: pk.From, Label: l.label(pk.From, pk.What, pk.N, pk), State: it.state, Packet: pk, OnWire: true,
		End: End(endOf(pk)), Where: placeOf(pk)}
}

func placeOf(pk *result.Packet) string { return strings.Replace(pk.Where, " filter ", " ", 1) }

func (l *ladder) rung(it item) Rung {
	e := *it.event
	pk := l.packetOf(e)
	g := Rung{At: it.at, Seen: e.Seen != nil, Host: e.Host, State: it.state, Event: it.event, Packet: pk, OnWire: timeline.What(e.What).OnWire()}
	g.Label = l.labelOf(e, pk)
	if !g.OnWire {
		g.Label = callText(e)
	}
	if pk != nil {
		g.End, g.Where = End(endOf(pk)), placeOf(pk)
	}
	if g.Seen {
		g.Off, g.Mark = deviation(e).text, l.mark(e).text
		return g
	}
	return l.unseenRung(g, e, pk)
}

// unseenRung is what missing and unseen write, as data.
func (l *ladder) unseenRung(g Rung, e result.Event, pk *result.Packet) Rung {
	rule := l.hidden(e)
	switch {
	case g.OnWire && (endOf(pk) == endSender || pk == nil && e.Verdict != result.Fail && rule != nil):
		g.End, g.Mark = DiedAtSender, "unseen"
		if e.Verdict == result.Pass {
			g.Mark = "ok"
		}
		if g.Where == "" && rule != nil {
			g.Where = rule.Host + " " + rule.Tool() + " " + chain(*rule)
		}
	case e.Maybe && e.Verdict != result.Fail:
		g.Mark = "optional"
	case e.Verdict == result.Inconclusive:
		g.Mark = "unsure"
	case e.Verdict == result.Skip || e.Verdict == "":
		g.Mark = string(e.Verdict)
	default:
		g.Mark = "missing"
	}
	return g
}

// Clean makes a string from outside safe to show: control characters, broken UTF-8 and the invisible characters that reorder a line
// become visible escapes.
func Clean(s string) string { return clean(s) }

// KernelName is the kernel as the head of a report names it: "Linux 6.18.44 x86_64 HZ=250".
func KernelName(k result.Kernel) string { return kernelName(k) }

// CaptureText says what a capture holds and lost.
func CaptureText(c result.Capture) string { return captureText(c) }

// ClockText lists what is known of the clock, a sentence each.
func ClockText(c result.Clock) []string {
	var out []string
	for _, row := range clockText(c) {
		out = append(out, row[0])
	}
	return out
}

// Who is what stood still: "CPU 1", "the process of the client".
func Who(s result.Stall) string { return who(s) }

// Small prints a short duration in the unit that suits it: "52 µs", "4 ms", "2.385 s".
func Small(d time.Duration) string { return small(d) }

// Quote protects a word from a POSIX shell where it needs it.
func Quote(s string) string { return quote(s) }

// Package timeline is the common language of prediction and observation: what happened on the wire, at which host, when.
//
// The oracle writes a Timeline from kernel facts, the analyser writes one from a capture, and neither imports the other; whoever
// compares them needs only this package. It is not for packets (pcapout.Segment) nor for verdicts (package result).
//
// Its one trap: an observed Event has only At. A predicted one has a Bound, and the kernel may keep it anywhere in
// [Earliest, Latest]: kernel timers fire late, never early, so the window is one-sided and At is its nominal lower end.
package timeline

import "time"

// What names a kind of event, in the protocol's words. The names appear in JSON and are stable.
type What string

// The kinds of event on the wire. A host "does" the event: it sends the segment.
const (
	SYN               What = "syn"                // first SYN of a connection
	SYNRetransmission What = "syn-retransmission" // the same SYN again: same ISN, N counts from 1
	SYNACK            What = "syn-ack"
	SYNACKAgain       What = "syn-ack-retransmission"
	ACK               What = "ack"  // no data, nothing new: an acknowledgement only
	Data              What = "data" // carries payload seen for the first time
	DataAgain         What = "data-retransmission"
	FIN               What = "fin"
	FINAgain          What = "fin-retransmission"
	RST               What = "rst"
	ICMP              What = "icmp-error"
	ConnectError      What = "connect-error" // not on the wire: connect(2) returns with Event.Errno
	Connected         What = "connected"     // not on the wire: connect(2) returns 0
)

// OnWire reports whether the event is a packet, as against something a program or a socket sees.
func (w What) OnWire() bool { return w != ConnectError && w != Connected }

var words = map[What]string{
	SYN: "SYN", SYNRetransmission: "SYN again", SYNACK: "SYN-ACK", SYNACKAgain: "SYN-ACK again", ACK: "ACK",
	Data: "data", DataAgain: "data again", FIN: "FIN", FINAgain: "FIN again", RST: "RST", ICMP: "ICMP error",
	ConnectError: "connect() fails", Connected: "connect() succeeds",
}

// Words is the reader's word for a kind of event: "SYN again". A kind that this version does not know keeps its own name.
func (w What) Words() string {
	if s, ok := words[w]; ok {
		return s
	}
	return string(w)
}

// Bound says when an event may come, as offsets from the first packet of the experiment.
type Bound struct {
	// At is the nominal time: the formula without the timer wheel. Never later than Earliest on a kernel with a wheel; before 4.8 a
	// timer may come up to a jiffy early.
	At time.Duration
	// Earliest and Latest are the first and last instants that the kernel's timer wheel can reach, over every phase of jiffies
	// at the start (or over the one phase that was known). Zero in an observed event.
	Earliest, Latest time.Duration
	// Tick is the jiffy in which the timer fires, counted from the jiffy of the first packet: exact where the phase of jiffies at
	// the start was known, 0 where it was not.
	Tick int64
	// TickLast is the last jiffy that the rounding of milliseconds leaves open where Tick is known. Zero or Tick: there is only one.
	TickLast int64
	// GapEarliest and GapLatest bound the time since the event before, over the same phases. Zero for the first event.
	GapEarliest, GapLatest time.Duration
}

// Late is how much later than At the event may come: what prediction/v1 calls "late".
func (b Bound) Late() time.Duration { return b.Latest - b.At }

// Event is one thing that a host does, predicted or seen.
type Event struct {
	Bound
	Host string // "client" or "server"
	What What
	N    int // which repetition, from 1; 0 for the first of its kind
	// Errno is the symbolic error of a ConnectError ("ETIMEDOUT"), empty elsewhere.
	Errno string
	// Why is the formula behind a predicted event, in words and numbers; empty in an observed one.
	Why string
	// Maybe marks a predicted event that a correct kernel may also leave out: its threshold falls inside the timer wheel's window.
	Maybe bool
}

// Timeline is a sequence of events in time order, with what became of the call that started it.
type Timeline struct {
	Events []Event
	// Outcome is how the client's connect(2) ended; nil where it has not ended, or where there was none.
	Outcome *Event
}

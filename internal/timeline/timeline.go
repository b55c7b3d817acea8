// Package timeline is the common language of prediction and observation: what happened on the wire, at which host, when.
//
// The oracle writes a Timeline from kernel facts, the analyser writes one from a capture, and neither imports the other; whoever
// compares them needs only this package. It is not for packets (pcapout.Segment) nor for verdicts (package result).
//
// Its one trap: an observed Event has only At. A predicted one has a Bound, and the kernel may keep it anywhere in
// [Earliest, Latest]: kernel timers fire late, never early, so the window is one-sided and At is its nominal lower end.
package timeline

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Bound says when an event may come, as offsets from the first packet of the experiment.
type Bound struct {
	// At is the nominal time: the formula without the timer wheel. Never later than Earliest on a kernel with a wheel, unless it
	// counts from a later call of a program, which may fall into the jiffy before the planned one; before 4.8 a timer may come up to a
	// jiffy early.
	At time.Duration
	// Earliest and Latest are the first and last instants that the kernel's timer wheel can reach, over every phase of jiffies
	// at the start (or over the one phase that was known). Zero in an observed event.
	Earliest, Latest time.Duration
	// Tick is the jiffy in which the timer fires, counted from the jiffy of the first packet: exact where the phase of jiffies at
	// the start was known, 0 where it was not, or where no timer rules the event.
	Tick int64
	// TickLast is the last jiffy that the rounding of milliseconds leaves open where Tick is known. Zero or Tick: there is only one.
	TickLast int64
	// After is how long after the start of its jiffy an event with a Tick comes: the time on the link, where a packet must cross it
	// before the event can happen. Zero: at once.
	After time.Duration
	// GapEarliest and GapLatest bound the time since the event before in the same Chain, over the same phases. Zero for the first.
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
	// Port tells whose event it is, where a timeline has several connections side by side: the server's port, or the client's where that is
	// what differs; 0: there is one.
	Port uint16
	// RelSeq, RelAck and Len are the sequence number and the acknowledgement relative to the initial ones, and the bytes of data. In a
	// predicted event they are compared where Exact is set.
	RelSeq, RelAck uint32
	Len            int
	Exact          bool
	// Errno is the symbolic error of a ConnectError or SocketError ("ETIMEDOUT"), empty elsewhere.
	Errno string
	// Why is the formula behind a predicted event, in words and numbers; empty in an observed one.
	Why string
	// Maybe marks a predicted event that a correct kernel may also leave out: its threshold falls inside the timer wheel's window, or
	// the kernel is free to merge it with another.
	Maybe bool
	// Chain names the timer that a predicted event belongs to: its gap counts from the event before in the same chain. Empty: the
	// host's retransmission timer.
	Chain string
	// ByProgram says that a predicted event follows a call which a program makes when it has learned what a timer did: its Tick is that timer's,
	// and how soon the program goes on is the machine's. What no timer rules (Tick 0) need not say so, but for what the kernel says on its own
	// because a program has read: a window update.
	ByProgram bool
	// Since is the last instant at which a state was still seen, of an observed event that ends one (RequestGone) and that only looks
	// from time to time can show: it happened between Since and At. Zero: At is exact.
	Since time.Duration
	// Ended is when the kernel ended the connection, or in Connected when it was established, by its own record (tracepoint
	// inet_sock_set_state), of an observed event in which a program learns of it. Zero: there is no such record.
	Ended time.Duration
	// Due is when the kernel's timer wheel had the timer due that made an observed event, by its own record (tracepoint timer_expire_entry): the
	// start of that jiffy. The kernel may have come to it later. Zero: there is no such record.
	Due time.Duration
	// Dropped says that an observed packet did not reach the other end's TCP: a rule dropped it, or nothing shows that it arrived.
	Dropped bool
}

// Timeline is a sequence of events in time order, with what became of the call that started it.
type Timeline struct {
	Events []Event
	// Outcome is how the call that the experiment is about ended: the client's connect(2), or its connection; nil where it has not
	// ended, or where there was none.
	Outcome *Event
	// Alternatives are other timelines that a correct kernel may follow, each whole, where two things that fall into one instant can
	// come in either order. This one is the usual. Empty in an observed timeline.
	Alternatives []Timeline
	// Unlisted says that there are more alternatives than these: too many to play, or not modelled.
	Unlisted bool
	// Why says what makes an alternative differ.
	Why string
	// Connections are those of a timeline that has several side by side which have nothing to do with each other, each with alternatives of
	// its own. Events are then what all of them usually do, and the whole has no alternatives and no Outcome. Empty: the timeline is one.
	Connections []Connection
}

// Connection is what one of several connections does; each of its events has its Port.
type Connection struct {
	Port uint16
	Timeline
}

// SideBySide is the timeline of connections that have nothing to do with each other.
func SideBySide(connections []Connection) Timeline {
	type placed struct {
		Event
		at time.Duration // not before what comes before it in its own connection, whatever the formula says: a timer may be late
	}
	var all []placed
	for _, c := range connections {
		var at time.Duration
		for _, e := range c.Events {
			at = max(at, e.At)
			all = append(all, placed{e, at})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	out := Timeline{Connections: connections}
	for _, p := range all {
		out.Events = append(out.Events, p.Event)
	}
	return out
}

// All are the timeline, its alternatives, and those of its connections: whatever may come is in one of them.
func (t Timeline) All() iter.Seq[Timeline] {
	return func(yield func(Timeline) bool) {
		if !yield(t) {
			return
		}
		for _, alt := range t.Alternatives {
			if !yield(alt) {
				return
			}
		}
		for _, c := range t.Connections {
			for one := range c.All() {
				if !yield(one) {
					return
				}
			}
		}
	}
}

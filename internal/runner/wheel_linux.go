package runner

import (
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/timeline"
)

// madeBy are the timers that can be behind an event, by the functions that they call. What is not listed, no timer
// makes.
var madeBy = map[timeline.What][]string{
	timeline.ACK:            {evidence.DelackTimer},
	timeline.KeepaliveProbe: {evidence.KeepaliveTimer},
	timeline.SYNACKAgain:    {evidence.RequestTimer, evidence.WriteTimer}, // WriteTimer: of a socket that Fast Open made
	timeline.ConnectError:   {evidence.WriteTimer},
	timeline.SocketError:    {evidence.WriteTimer, evidence.KeepaliveTimer},
	timeline.RequestGone:    {evidence.RequestTimer, evidence.WriteTimer},
	timeline.SocketGone:     {evidence.TimeWaitTimer, evidence.KeepaliveTimer, evidence.WriteTimer},
	timeline.RST:            {evidence.WriteTimer, evidence.KeepaliveTimer},

	timeline.SYNRetransmission: {evidence.WriteTimer},
	timeline.TailLossProbe:     {evidence.WriteTimer},
	timeline.RTORetransmission: {evidence.WriteTimer},
	timeline.FINAgain:          {evidence.WriteTimer},
	timeline.WindowProbe:       {evidence.WriteTimer},
}

// wound adds to what was seen when the timer wheel had the timer due that made it, by the kernel's record of the last such timer of the host's
// connection that fired just before, or since the state was seen whose end it is.
func (r *run) wound(v *view, got *timeline.Timeline) {
	const (
		within = 100 * time.Millisecond // how far what a timer does may be behind it: the softirq, and what a program learns of it
		slack  = 50 * time.Microsecond  // CLOCK_REALTIME, which stamps packets, against CLOCK_MONOTONIC
	)
	if r.told == nil || r.clock == nil {
		return
	}
	fired := slices.DeleteFunc(slices.Clone(r.told.events), func(k evidence.Event) bool { return k.Kind != evidence.Expire })
	if len(fired) == 0 {
		return
	}
	add := func(e *timeline.Event) {
		last := e.At - within
		if e.Since != 0 {
			last = e.Since - slack
		}
		for _, k := range fired {
			at := k.Mono - v.origin
			if k.Host == e.Host && slices.Contains(madeBy[e.What], k.Timer) && at <= e.At+slack && at >= last &&
				!(v.several && v.portOf(k) != e.Port) {
				last = at
				e.Due = (r.clock.Start(k.Bucket) - v.origin).Round(time.Microsecond)
			}
		}
	}
	for i := range got.Events {
		add(&got.Events[i])
	}
	if got.Outcome != nil {
		outcome := *got.Outcome
		add(&outcome)
		got.Outcome = &outcome
	}
}

package oracle

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// LateOpen is an active open of which the first SYNs are lost, and then none: the next one is answered, and connect(2) returns.
type LateOpen struct {
	Connect
	Server string        // "" means "server"
	Lost   int           // SYNs that are lost, from the first on
	RTT    time.Duration // the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds
}

// Predict returns the SYNs, the answer to the one that arrives, the third packet, and the end of connect(2). If the kernel gives up before it
// sends that SYN, it is the timeline of Connect; where only some phases of jiffies reach it, that is an alternative.
//
// Source: as Connect; tcp_rcv_synsent_state_process in net/ipv4/tcp_input.c for the rest: the SYN-ACK answers the initial sequence number,
// which is the same in each SYN, so it is taken whichever SYN it answers.
func (o LateOpen) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	switch {
	case o.Lost < 0:
		return timeline.Timeline{}, fmt.Errorf("open: %d SYNs lost: want 0 or more", o.Lost)
	case o.RTT < 0 || o.RTT > exchangeRTT:
		return timeline.Timeline{}, fmt.Errorf("open: RTT of %v: want 0 to %v, well below the first timeout of %v", o.RTT, exchangeRTT, f.InitialRTO)
	}
	dies, err := Near(f, start, o.Connect.Predict)
	if err != nil || o.Lost >= len(dies.Events) {
		return dies, err
	}
	heard := dies.Events[o.Lost]
	out := timeline.Timeline{Events: slices.Clone(dies.Events[:o.Lost+1])}
	out.Events[o.Lost].Maybe = false
	if heard.Maybe {
		dies.Events = dies.Events[:o.Lost]
		dies.Why = "the kernel gives up before it sends the SYN that would have arrived"
		out.Alternatives = []timeline.Timeline{dies}
	}
	server := o.Server
	if server == "" {
		server = "server"
	}
	client := heard.Host
	out.Events = append(out.Events,
		timeline.Event{Host: server, What: timeline.SYNACK, RelAck: 1, Exact: true, Bound: shifted(heard.Bound, o.RTT/2, lateness(o.RTT, 1)), Why: "answers the SYN that arrives, at once"},
		timeline.Event{Host: client, What: timeline.ACK, RelSeq: 1, RelAck: 1, Exact: true, Bound: shifted(heard.Bound, o.RTT, lateness(o.RTT, 2)), Why: "completes the handshake: never delayed"})
	why := fmt.Sprintf("the SYN-ACK has come: %s lost before", plural(o.Lost, "SYN"))
	out.Outcome = &timeline.Event{Host: client, What: timeline.Connected, Bound: shifted(heard.Bound, o.RTT, lateness(o.RTT, 2)), Why: why}
	return out, nil
}

// shifted is the bound of what follows an event by so much, and may be so late.
func shifted(b timeline.Bound, d, late time.Duration) timeline.Bound {
	b.At, b.Earliest, b.Latest, b.After = b.At+d, b.Earliest+d, b.Latest+d+late, d
	b.GapEarliest, b.GapLatest = 0, 0
	if b.Tick == 0 {
		b.After = 0
	}
	return b
}

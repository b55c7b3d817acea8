package oracle

import (
	"time"

	"github.com/tcplab/tcplab/internal/link"
)

// line is a link while the TCP packets of one world are put on it, in the order in which they are: each is held back for as long as the plan
// says of its number in its direction.
type line struct{ there, back link.Way }

func newLine(rtt time.Duration, plan link.Plan) *line {
	return &line{there: link.Way{Plan: plan, Delay: rtt / 2}, back: link.Way{Plan: plan.Reverse(), Delay: rtt / 2}}
}

// toServer is how long the next packet of the client's is under way, which is put on the link at an instant.
func (l *line) toServer(at time.Duration) time.Duration { return takes(&l.there, at) }

// toClient is the same of the server's.
func (l *line) toClient(at time.Duration) time.Duration { return takes(&l.back, at) }

func takes(w *link.Way, at time.Duration) time.Duration {
	if w.Zero() {
		return w.Delay
	}
	return w.Due(at, 0, true) - at
}

// Accepted is when the third packet of a connection has come, from the first.
func Accepted(rtt time.Duration, plan link.Plan) time.Duration {
	l := newLine(rtt, plan)
	at := l.toServer(0)
	at += l.toClient(at)
	return at + l.toServer(at)
}

// RoundTrip is how long the first packet of each end takes, there and back.
func RoundTrip(rtt time.Duration, plan link.Plan) time.Duration {
	l := newLine(rtt, plan)
	there := l.toServer(0)
	return there + l.toClient(there)
}

package experiments

import (
	"context"
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
)

// rttMost is the longest round trip of a link in an experiment of the catalogue: the first timeout of an open, a second, stays far away.
const rttMost = 200 * time.Millisecond

// rttParam is the parameter of an experiment that plays on any link. Not given: a veth.
func rttParam() Param {
	return Param{Flag: "rtt", Doc: fmt.Sprintf("round-trip time of the link, 0s to %v; 0s: a veth, without a delay", rttMost), Kind: Time, Max: int64(rttMost)}
}

// rtt is the round-trip time of the link that a run is on. 0: a veth.
func (o Options) rtt() time.Duration { return o.Duration("rtt") }

// sinceAccept is a time from the client's connect(2) as one from the server's accept(2), which returns when the third packet has come.
func (o Options) sinceAccept(d time.Duration) time.Duration {
	return d - oracle.Accepted(o.rtt(), o.jittered())
}

// overLink gives an experiment that has the parameter a link with that round trip.
func (x *Experiment) overLink() {
	if _, ok := x.param("rtt"); !ok {
		return
	}
	setup := x.Setup
	x.Setup = func(o Options) Setup {
		s := setup(o)
		s.RTT = o.rtt()
		return s
	}
}

// waitByHand is arrived in a line of Python.
func waitByHand(o Options) string {
	if o.rtt() == 0 {
		return ""
	}
	return fmt.Sprintf("time.sleep(%g); ", (o.longestTrip()/2 + arriveWithin).Seconds())
}

// arriveWithin is how much later than half its round trip a link may deliver.
const arriveWithin = 10 * time.Millisecond

// arrived waits until what was sent before is there: what is broken now must not meet it.
func arrived(ctx context.Context, o Options) error {
	if o.rtt() == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(o.longestTrip()/2 + arriveWithin):
		return nil
	}
}

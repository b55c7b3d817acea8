package runner

import (
	"context"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/timeline"
)

// settleFor is how long the captures stay open after the experiment: whatever was still on its way arrives, and a segment that nobody
// predicted has the time to show. It is part of the experiment, not a wait for something.
const settleFor = 100 * time.Millisecond

// settle waits until Run is over and the last thing that is predicted had its time: a server may go on long after its client. Where what
// was seen by then is not the usual, it waits as long as the alternatives take.
func (o *observer) settle(ctx context.Context) {
	o.look()
	o.wait(ctx, settleFor)
	for _, alternatives := range []bool{false, true} {
		o.mu.Lock()
		v := o.view()
		if v == nil {
			o.mu.Unlock()
			break
		}
		if err := o.anchor(); err != nil {
			o.failed = err
		}
		last := o.lasts(true)
		if longer := o.lasts(false); alternatives && longer > last { // else it does not matter which it is, and judging takes a while
			if _, _, checks, _ := judge.Schedule(v.judgeInput(o.r)); !judge.Passes(checks) {
				last = longer
			}
		}
		wait := last + judge.Allowance(o.r.facts.Jiffy()) + lookEvery - v.ended
		o.mu.Unlock()
		o.wait(ctx, wait)
	}
	o.wait(ctx, 2*o.r.setup.OnLink()) // what is still on the link
	o.everybody()
	o.look()
}

// lasts is when the last thing is predicted. What is late for its start is seen, too.
func (o *observer) lasts(usual bool) time.Duration {
	last := latest(usually(o.r.want, usual))
	if near := o.r.near; near != nil {
		last = max(last, latest(usually(o.r.foretold, usual))+near.moved)
	}
	return last
}

// usually is a timeline, without its other orders where it is to be the usual one.
func usually(t timeline.Timeline, usual bool) timeline.Timeline {
	if usual {
		t.Alternatives, t.Connections = nil, nil
	}
	return t
}

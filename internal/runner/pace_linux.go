package runner

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// startIn is how far ahead the client's first call is put: long enough to start its process. In virtual time, which runs on translated
// code, that takes longer, and waiting costs nothing.
func (r *run) startIn() time.Duration {
	if r.Virtual {
		return 1500 * time.Millisecond
	}
	return 100 * time.Millisecond
}

// soonest is when the client's first call can be made. In virtual time it is at a whole second: what was done before took a few nanoseconds
// more or less than the last time (docs/adr/0013), and what is to come begins at the same instant nevertheless.
func (r *run) soonest(now time.Duration) time.Duration {
	at := now + r.startIn()
	if r.Virtual {
		at = at.Truncate(time.Second) + time.Second
	}
	return at
}

// choosing is how long the start is looked for.
func (r *run) choosing() time.Duration { return min(r.startIn()/2, 300*time.Millisecond) }

// choose picks the start: of those in the next two buckets of the wheel's first level, the one that leaves the least open, as far as
// there is time to look.
func (r *run) choose(now time.Duration) (timeline.Timeline, error) {
	const tries = 16
	soonest, _ := r.clock.At(r.soonest(now))
	phase := r.clock.Jiffy * 2 / 5
	var best timeline.Timeline
	least := -1
	for i := range uint64(tries) {
		start := &oracle.Start{Jiffies: soonest + i, Phase: phase}
		begun, err := kernel.MonotonicNow()
		if err != nil {
			return best, err
		}
		t, err := forecast(r.Experiment, r.env, start)
		if err != nil {
			return t, err
		}
		if n := openness(t); least < 0 || n < least {
			least, best = n, t
			r.env.Start, r.env.StartAt = start, r.clock.Start(start.Jiffies)+phase
		}
		// Another try would take as long as this one.
		if done, err := kernel.MonotonicNow(); err != nil || least == 0 || done+(done-begun) > now+r.choosing() {
			return best, err
		}
	}
	return best, nil
}

// lookEvery is the pace of inet_diag and of the Watcher's Status.
const lookEvery = 250 * time.Millisecond

// closeLook is the pace around the moment at which something is due that only looks can show, where that moment is known to the tick.
const closeLook = time.Millisecond

// overdue is for how long the looks stay close after the time is up: on a busy machine one of them must fall behind it, or what is too late
// would look as if it could have been in time.
const overdue = 60 * time.Millisecond

// pause is how long to wait for the next look, where nothing wakes the observer up before: a packet, and what the client tells, do. Around
// what only looks can show they come close on each other. Else, in virtual time, they are a part apart of the time that has passed since
// something was seen. The caller holds the lock.
func (o *observer) pause() time.Duration {
	const part = 2
	if o.connecting == nil {
		return lookEvery
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return lookEvery
	}
	wait := lookEvery
	if o.r.Virtual {
		wait = max((now-o.woken)/part, lookEvery)
		if len(o.r.setup.Listen) > 1 { // there are looks aside only
			wait = max(wait, o.asideAt+o.asideEvery()-now)
		}
	}
	return o.closer(now-o.connecting.Before, wait)
}

// closer is the pause at a time since the first call where what only looks can show, in any order of things, may be due sooner than in wait.
func (o *observer) closer(elapsed, wait time.Duration) time.Duration {
	for _, e := range o.r.byLook {
		if last, ok := o.last(e.Host); ok && none(last.State) {
			continue // it has happened
		}
		from, to := o.due(e)
		pace := min(max((to-from)/16, closeLook), lookEvery)
		switch from -= 4 * pace; {
		case elapsed < from: // epoll_wait(2) may come a thousandth late (select_estimate_accuracy), and where time is virtual it does
			wait = min(wait, max((from-elapsed)*127/128, closeLook))
		case elapsed < to+judge.Allowance(o.r.facts.Jiffy())+max(4*pace, overdue): // one that is overdue may never come
			wait = min(wait, pace)
		}
	}
	return wait
}

// judgeBy takes a prediction as the one that is judged. What only looks can show of it is listed here, once and not at each look: some predictions have
// hundreds of orders, most of which have it at the same time.
func (r *run) judgeBy(t timeline.Timeline) {
	r.want, r.byLook = t, nil
	type moment struct {
		host string
		timeline.Bound
	}
	listed := map[moment]bool{}
	for t := range t.All() {
		for _, e := range t.Events {
			at := moment{e.Host, e.Bound}
			if (e.What == timeline.RequestGone || e.What == timeline.SocketGone) && !listed[at] {
				listed[at] = true
				r.byLook = append(r.byLook, e)
			}
		}
	}
}

// due is the time in which an event is expected, from the first call on: its ticks where they are known.
func (o *observer) due(e timeline.Event) (from, to time.Duration) {
	if r := o.r; r.start != nil && e.Tick > 0 {
		begin := r.clock.Start(r.start.Jiffies) - o.connecting.Before + e.After
		return begin + time.Duration(e.Tick)*r.facts.Jiffy(), begin + time.Duration(max(e.Tick, e.TickLast))*r.facts.Jiffy()
	}
	return max(e.At, e.Earliest), e.Latest
}

// woke notes that something is new.
func (o *observer) woke() {
	now, err := kernel.MonotonicNow()
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.woken = now
}

// wait lets time pass, up to the end of ctx.
func (o *observer) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// unwatched reports whether nobody looks on while the run goes on, and time is virtual: working out what is known so far, again and again,
// would be most of the machine's work.
func (o *observer) unwatched() bool { return o.r.Virtual && o.r.Watch == nil }

// expect lets the watcher for stalls rest where nothing is predicted, from the first call as it was made: on a busy machine it may be made long
// after it was planned. Before it, the watcher never rests. The caller holds the lock.
func (o *observer) expect() {
	if o.r.stall != nil && o.connecting != nil {
		o.r.stall.Expect(o.r.due(o.r.want, o.connecting.Before))
	}
}

// due are the times around all that is predicted for a start. The first call may be made later than planned on a busy machine, and all else with
// it; and what is late is looked for where it comes. After hours a window is minutes wide, and where the start is known the tick in it is, too.
func (r *run) due(t timeline.Timeline, start time.Duration) []lab.Span {
	const before, after, wide, beside = 100 * time.Millisecond, 400 * time.Millisecond, 5 * time.Second, time.Second
	var spans []lab.Span
	add := func(e *timeline.Event) {
		switch {
		case e == nil:
		case r.clock != nil && r.start != nil && e.Tick > 0 && e.Latest-e.Earliest > wide:
			begin := r.clock.Start(r.start.Jiffies) + e.After
			spans = append(spans, lab.Span{From: begin + time.Duration(e.Tick)*r.facts.Jiffy() - beside, To: begin + time.Duration(max(e.Tick, e.TickLast))*r.facts.Jiffy() + beside})
		default:
			spans = append(spans, lab.Span{From: start + e.Earliest - before, To: start + e.Latest + after})
		}
	}
	for t := range t.All() {
		for i := range t.Events {
			add(&t.Events[i])
		}
		add(t.Outcome)
	}
	slices.SortFunc(spans, func(a, b lab.Span) int { return cmp.Compare(a.From, b.From) })
	var joined []lab.Span
	for _, s := range spans {
		if last := len(joined) - 1; last >= 0 && s.From <= joined[last].To {
			joined[last].To = max(joined[last].To, s.To)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

package runner

import (
	"context"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// startIn is how far ahead the client's first call is put: long enough to start its process. In virtual time, which runs on translated
// code, that takes longer, and waiting costs nothing.
func (r *run) startIn() time.Duration {
	if r.Virtual {
		return 1500 * time.Millisecond
	}
	return 100 * time.Millisecond
}

// choosing is how long the start is looked for.
func (r *run) choosing() time.Duration { return min(r.startIn()/2, 300*time.Millisecond) }

// lookEvery is the pace of inet_diag and of the Watcher's Status.
const lookEvery = 250 * time.Millisecond

// pause is how long to wait for the next look, where nothing wakes the observer up before. In virtual time it is a part of the time that
// has passed since something was seen. Only where something is expected that only a look can show are the looks around it as close as
// ever: a packet, and what the client tells, wake the observer. The caller holds the lock.
func (o *observer) pause() time.Duration {
	const near, part = time.Second, 4
	if !o.r.Virtual || o.connecting == nil {
		return lookEvery
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return lookEvery
	}
	elapsed := now - o.connecting.Before
	wait := (now - o.woken) / part
	for _, e := range o.r.want.Events {
		if e.What == timeline.RequestGone && elapsed < e.Latest+near { // one that is overdue may never come
			wait = min(wait, max(e.At, e.Earliest)-near-elapsed)
		}
	}
	return max(wait, lookEvery)
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

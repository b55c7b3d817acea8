package runner

import (
	"cmp"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// testimony is what the kernel's tracepoints and counters tell of a run. All of it is optional: where something cannot be had, the run says
// so and goes on.
type testimony struct {
	tracer   *evidence.Tracer // nil: the tracepoints cannot be followed
	missing  error            // why not
	unwound  error            // why the timer wheel cannot be followed besides
	events   []evidence.Event
	lost     int
	before   map[string]evidence.Counters // by host
	after    map[string]evidence.Counters
	from, to time.Duration // CLOCK_MONOTONIC: the rules and the counters were read between the two
}

// KernelTypes are what a run on another kernel needs of that kernel's BTF to follow its tracepoints: see Options.KernelTypes.
func KernelTypes(vmlinux io.ReaderAt) ([]byte, error) { return evidence.Distil(vmlinux) }

// Tracepoints are the programs that follow a kernel's tracepoints, loaded at their first use for all runs that are given the same ones: see
// Options.Tracepoints. The zero value is ready to use, by one run at a time.
type Tracepoints struct{ programs *evidence.Programs }

func (s *Tracepoints) follow(hosts []evidence.Namespace, types []byte) (*evidence.Tracer, error) {
	if s == nil {
		return evidence.Trace(hosts, types)
	}
	if s.programs == nil {
		var err error
		if s.programs, err = evidence.Load(types); err != nil {
			return nil, err
		}
	}
	return s.programs.Follow(hosts)
}

// testify starts to follow the tracepoints, and reads the counters. What this machine does not give is no error.
func (r *run) testify() {
	if r.NoEvidence {
		return
	}
	t := &testimony{before: map[string]evidence.Counters{}, after: map[string]evidence.Counters{}}
	var hosts []evidence.Namespace
	for _, h := range []*lab.Host{r.lab.Client, r.lab.Server} {
		hosts = append(hosts, evidence.Namespace{Host: h.Name, Path: h.NamespacePath(), Addr: h.Addr})
	}
	if t.tracer, t.missing = r.Tracepoints.follow(hosts, r.KernelTypes); t.missing == nil {
		t.unwound = t.tracer.Unwound()
	}
	t.count(r, t.before)
	r.told = t
}

// count reads the counters of both ends.
func (t *testimony) count(r *run, into map[string]evidence.Counters) {
	for _, h := range []*lab.Host{r.lab.Client, r.lab.Server} {
		err := h.Do(func() error {
			c, err := evidence.ReadCounters()
			into[h.Name] = c
			return err
		})
		if err != nil && t.missing == nil {
			t.missing = err
		}
	}
}

// drain takes what the tracepoints told since the last time. The caller holds the observer's lock.
func (t *testimony) drain() {
	if t == nil || t.tracer == nil {
		return
	}
	events, err := t.tracer.Events()
	t.events = events
	if err != nil && t.missing == nil {
		t.missing = err
	}
}

// close ends it; what was told stays. The caller has read everything that it wants.
func (t *testimony) close() error {
	if t == nil || t.tracer == nil {
		return nil
	}
	err := t.tracer.Close()
	t.tracer = nil
	return err
}

// reckon reads the counters and then the last events. between reads what else must be read in that time: the rules' counters.
func (t *testimony) reckon(r *run, between func()) error {
	if t == nil {
		between()
		return nil
	}
	var err error
	if t.from, err = kernel.MonotonicNow(); err != nil {
		return err
	}
	between()
	t.count(r, t.after)
	if t.to, err = kernel.MonotonicNow(); err != nil || t.tracer == nil {
		return err
	}
	r.obs.mu.Lock()
	defer r.obs.mu.Unlock()
	t.drain()
	if t.lost, err = t.tracer.Lost(); err != nil && t.missing == nil {
		t.missing = err
	}
	return nil
}

// evidence puts what the kernel told into the result, joined to the packets, and holds it against the captures. The caller holds the
// observer's lock.
func (r *run) evidence(v *view) []result.Check {
	t := r.told
	if t == nil {
		return nil
	}
	if t.missing != nil {
		r.note(explain.NoTracepoints, "The kernel's own evidence is not whole, and the run is judged without it: %v.", t.missing)
	}
	if t.unwound != nil {
		r.note(explain.NoTracepoints, "The timer wheel's own record of when a timer was due is missing, and a timer that is handled late is judged without it: %v.", t.unwound)
	}
	if len(t.after) < 2 { // no counters either
		return nil
	}
	ev := &result.Evidence{Tracepoints: t.missing == nil, Lost: t.lost}
	for _, host := range []string{"client", "server"} {
		d := t.after[host].Since(t.before[host])
		for _, name := range slices.Sorted(maps.Keys(d)) {
			ev.Counters = append(ev.Counters, result.Counter{Host: host, Name: name, Added: d[name]})
		}
	}
	r.res.Evidence = ev
	if t.missing != nil {
		return nil
	}
	j := &joining{v: v, packets: r.res.Packets, events: t.events, joined: make([][]int, len(t.events))}
	j.join()
	for i, e := range t.events {
		if k, ok := r.kernelEvent(e, v.origin); ok && (e.Host != "" || len(j.joined[i]) > 0) { // without a host it may be another lab's
			if len(j.joined[i]) > 0 {
				k.Packet = r.res.Packets[j.joined[i][0]].ID
			}
			if len(j.joined[i]) > 1 {
				k.Segments = len(j.joined[i])
			}
			ev.Events = append(ev.Events, k)
		}
	}
	slices.SortStableFunc(ev.Events, func(a, b result.KernelEvent) int { return cmp.Compare(a.At, b.At) })
	checks := judge.Evidence(r.sides(j), r.lostPackets(), t.lost)
	if !v.several { // of several connections the states are of one, or of none
		checks = append(checks, judge.Transitions(r.res.States, ev.Events, t.lost))
	}
	for _, c := range checks {
		if c.Verdict == result.Pass && c.Code != "" { // a pass that says something
			r.note(c.Code, "%s: %s.", c.Name, c.Detail)
		}
	}
	return checks
}

// ends adds to what programs learned when the kernel ended their connection, or established it, where it recorded just one such change in the time
// before.
func (r *run) ends(v *view, got *timeline.Timeline) {
	const learns = 250 * time.Millisecond // how late a program may learn it
	add := func(e *timeline.Event) {
		state, ok := map[timeline.What]string{timeline.ConnectError: evidence.Closed, timeline.SocketError: evidence.Closed, timeline.Connected: "ESTABLISHED"}[e.What]
		if !ok {
			return
		}
		found := 0
		for _, k := range r.told.events {
			at := (k.Mono - v.origin).Round(time.Microsecond)
			if k.Kind != evidence.StateChange || k.State != state || k.Host != e.Host || at > e.At || at < e.At-learns || v.several && v.portOf(k) != e.Port {
				continue
			}
			found, e.Ended = found+1, at
		}
		if found != 1 {
			e.Ended = 0
		}
	}
	if r.told == nil {
		return
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

// portOf is the port that tells the connection of a socket from others, where there are several side by side.
func (v *view) portOf(e evidence.Event) uint16 {
	if (e.Host == "client") != v.byClient {
		return e.Dst.Port()
	}
	return e.Src.Port()
}

// kernelEvent is an event in the result's form; ok is false for what is not about the experiment: packets that are not TCP and belong to the
// machine's own habits, and the lab's sockets before the first packet.
func (r *run) kernelEvent(e evidence.Event, origin time.Duration) (k result.KernelEvent, ok bool) {
	if e.Kind == evidence.Drop && !e.TCP && e.Reason == "NOT_SPECIFIED" || e.Kind == evidence.StateChange && e.State == "LISTEN" {
		return k, false
	}
	jiffies := func(n int) result.Seconds { return result.Seconds(time.Duration(n) * r.facts.Jiffy()) }
	k = result.KernelEvent{
		At: result.Seconds((e.Mono - origin).Round(time.Microsecond)), Host: e.Host, Hook: e.Kind.String(), Seq: e.Seq, Cause: e.Cause,
		Reason: e.Reason, Where: e.Where, Was: e.Was, State: e.State,
		CA: e.Timers.CA, Pending: e.Timers.Pending, Retrans: e.Timers.Retransmits, Backoff: e.Timers.Backoff, RTO: jiffies(e.Timers.RTO),
		Cwnd: e.Timers.Cwnd, Ssthresh: e.Timers.Ssthresh, InFlight: e.Timers.Out,
	}
	if e.Kind == evidence.StateChange {
		k.Seq = 0
	}
	if e.Src.IsValid() {
		k.Src, k.Dst = e.Src.String(), e.Dst.String()
	}
	if e.Kind == evidence.Expire {
		k.Timer, k.Rounded = e.Timer, jiffies(int(e.Bucket-e.Asked))
		if r.clock != nil {
			due := result.Seconds((r.clock.Start(e.Bucket) - origin).Round(time.Microsecond))
			k.Due = &due
		}
	}
	if e.Errno != 0 {
		if k.Errno = unix.ErrnoName(unix.Errno(e.Errno)); k.Errno == "" {
			k.Errno = strconv.Itoa(e.Errno)
		}
	}
	return k, true
}

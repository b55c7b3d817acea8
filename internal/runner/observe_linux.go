package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
)

// observer collects what both ends show while a run goes on, and tells the Watcher.
type observer struct {
	r       *run
	capture map[string]*pcapout.Source
	diag    map[string]*evidence.Diag
	decoded map[string]*captured
	wake    chan struct{} // something new: packets, or a client's event

	mu         sync.Mutex
	connecting *lab.Event  // the client's first SYN is under way
	events     []lab.Event // of the client, from then on
	served     []lab.Event // of the server
	looks      []look
	aside      []look                  // at several connections side by side, where something had changed
	neighbours []*neighbour            // those connections
	ofPort     map[uint16][]*neighbour // the same, by the port of their looks
	listed     int                     // how many of the events they were taken from
	asideAt    time.Duration           // CLOCK_MONOTONIC of the newest round of them
	told       map[string]bool         // events that the Watcher was told of
	orders     []following             // of each connection of the prediction
	state      string                  // client state that the Watcher was told last
	woken      time.Duration           // CLOCK_MONOTONIC when something was last new
	ended      bool                    // nothing more is observed
	gaveUp     bool                    // the run's time is up: what the client tells from now on does not count
	failed     error                   // of inet_diag; looking stops
	origin     *time.Duration          // CLOCK_MONOTONIC time of the first packet that was captured
	unwritten  error                   // the first event that could not be written
}

// look is one sample, with its CLOCK_MONOTONIC time.
type look struct {
	mono time.Duration // when it had the answer
	took time.Duration // since it asked: a program on a busy machine may be held up before it reads the clock
	host string
	port int // of a look aside: the server's, or the client's where clients have ports of their own; else 0
	evidence.Socket
}

func newObserver(r *run) *observer {
	return &observer{r: r, capture: map[string]*pcapout.Source{}, decoded: map[string]*captured{}, diag: map[string]*evidence.Diag{}, wake: make(chan struct{}, 1), told: map[string]bool{}, ofPort: map[uint16][]*neighbour{}}
}

// open starts the captures and opens inet_diag at both ends.
func (o *observer) open() error {
	for _, h := range []*lab.Host{o.r.lab.Client, o.r.lab.Server} {
		src, err := openCapture(h, o.r.setup.NoNeighbours)
		if err != nil {
			return err
		}
		o.capture[h.Name] = src
		d, err := openDiag(h)
		if err != nil {
			o.failed = err // states and timers are not shown; the packets are judged without them
			continue
		}
		o.diag[h.Name] = d
	}
	if d := o.diag["server"]; d != nil {
		server := o.server()
		o.failed = d.Try(server, o.r.lab.Client.Port(1))
	}
	return nil
}

// close ends the captures and closes inet_diag. The captured packets stay readable. A capture that had ended by itself was told before.
func (o *observer) close() error {
	var errs []error
	for _, s := range o.capture {
		_ = s.Close()
	}
	for _, d := range o.diag {
		errs = append(errs, d.Close())
	}
	o.diag = map[string]*evidence.Diag{}
	return errors.Join(errs...)
}

// server is the address that inet_diag is asked about.
func (o *observer) server() netip.AddrPort { return o.r.lab.Server.Port(o.r.setup.Listen[0].Port) }

// client is told every event of a lab's process, on the lab's goroutine. What the server's side tells goes into the event stream only.
func (o *observer) client(host string, e lab.Event) {
	o.mu.Lock()
	if now, err := kernel.MonotonicNow(); err == nil {
		o.stir(now, e.Local.Port(), e.Remote.Port())
	}
	if !o.gaveUp && host == "server" { // on a busy machine it may be told before the client's connect(2) that it follows
		o.served = append(o.served, e)
	}
	if !o.gaveUp && host == "client" {
		if e.Event == lab.Connecting && o.connecting == nil {
			o.connecting = &e
			o.r.expire.Reset(o.r.bound)
			o.expect()
		}
		if o.connecting != nil {
			o.events = append(o.events, e)
		}
	}
	o.mu.Unlock()
	if host == "server" {
		o.log("server", e)
	} else {
		o.log("client", e)
	}
	o.poke()
}

// local is the client's end of its newest connection.
func (o *observer) local() netip.AddrPort {
	if at := o.r.setup.LookAt; at != 0 {
		return netip.AddrPortFrom(o.connecting.Local.Addr(), at)
	}
	local := o.connecting.Local
	for _, e := range o.events {
		if e.Event == lab.Connecting {
			local = e.Local
		}
	}
	return local
}

// giveUp ends the client's part in the observation.
func (o *observer) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gaveUp = true
}

func (o *observer) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// pairWithin is how long after a packet's first sight the other end's capture is given to show it too, before it is told.
const pairWithin = 3 * time.Millisecond

// watch starts to observe; the returned function ends it and waits. A capture that fails ends the run, by end.
func (o *observer) watch(end context.CancelCauseFunc) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for host, s := range o.capture {
		wg.Go(func() { // wakes the loop for each batch of packets
			for n := 0; ; {
				batch, err := s.From(ctx, n)
				if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) && !o.r.down(host, err) {
					end(fmt.Errorf("%s: %w: %w", host, errCapture, err))
				}
				if err != nil {
					return
				}
				n += len(batch)
				o.captured(batch)
				o.poke()
			}
		})
	}
	wg.Go(func() { o.loop(ctx) })
	return func() {
		cancel()
		wg.Wait()
		o.ended = true
		o.refresh()
	}
}

func (o *observer) loop(ctx context.Context) {
	pace := time.NewTimer(lookEvery)
	defer pace.Stop()
	pair := time.NewTimer(time.Hour)
	pair.Stop()
	defer pair.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
			o.woke()
			o.look()
			if !o.unwatched() {
				pair.Reset(pairWithin + o.r.setup.OnLink())
			}
			o.mu.Lock()
			pace.Reset(o.pause()) // what only looks can show may be due right behind a packet
			o.mu.Unlock()
		case <-pair.C:
			o.refresh()
		case <-pace.C:
			o.look()
			o.mu.Lock()
			next := o.pause()
			if !o.unwatched() && next > 4*closeLook { // a look a millisecond is for the looks' sake
				o.status()
			}
			o.mu.Unlock()
			pace.Reset(next)
		}
	}
}

// look asks both kernels' sides for their socket.
func (o *observer) look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.r.told.drain()
	if o.connecting == nil || o.failed != nil {
		return
	}
	if len(o.r.setup.Listen) > 1 { // of several connections none is the one to judge by
		o.failed = o.lookAside()
		return
	}
	local, remote := o.local(), o.server()
	for host, pair := range map[string][2]netip.AddrPort{"client": {local, remote}, "server": {remote, local}} {
		d := o.diag[host]
		if d == nil {
			continue
		}
		l, err := timed(func() (evidence.Socket, error) { return o.ask(host, d, pair) })
		if err != nil {
			o.failed = err
			return
		}
		l.host = host
		o.note(l)
	}
	if o.r.setup.LookAt != 0 && o.pause() > 4*closeLook { // a round of looks aside must not come between two that are close
		o.failed = o.lookAside()
	}
}

// refresh works out what is known so far and tells the Watcher what is new. It is a preview: the rule counters are read at the end. What
// may still be on the link waits, except at the end of observation.
func (o *observer) refresh() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.anchor(); err != nil {
		o.failed = err
	}
	o.r.listRules(o.r.res) // Run may have made one
	v := o.view()
	if v == nil {
		return
	}
	res := o.r.res
	res.Packets, res.States = v.packets, v.states(o.looks)
	in := v.judgeInput(o.r)
	events, outcome := o.preview(in)
	res.Events, res.Outcome = events, outcome
	if outcome != nil {
		events = append(slices.Clone(events), *outcome)
	}
	slices.SortStableFunc(events, func(a, b result.Event) int { return cmp.Compare(seenAt(a), seenAt(b)) })
	newest := map[string]time.Duration{}
	for _, e := range events {
		if timeline.What(e.What).OnWire() {
			newest[e.Host] = max(newest[e.Host], seenAt(e))
		}
	}
	for _, e := range events {
		if e.Verdict == result.Fail && !o.ended && timeline.What(e.What).OnWire() && seenAt(e) == newest[e.Host] {
			continue // what it is called can change with what comes after it, and a contradiction with its name
		}
		if !o.ended && o.underWay(v, e) {
			continue
		}
		// It is told once, as it is named then.
		if id := fmt.Sprintf("%s %v", e.Host, seenAt(e)); e.Seen != nil && !o.told[id] {
			o.told[id] = true
			o.tell(e)
		}
	}
	o.status() // what was told is not awaited any more
}

// seenAt is when an event was seen, in nanoseconds; 0 where it was not.
func seenAt(e result.Event) time.Duration {
	if e.Seen == nil {
		return 0
	}
	return e.Seen.Duration()
}

// tell passes one event on, with the client's state where it is new.
func (o *observer) tell(e result.Event) {
	state := ""
	for _, s := range o.r.res.States {
		if s.Host == "client" {
			state = s.State
		}
	}
	if state == o.state {
		state = ""
	} else {
		o.state = state
	}
	if o.r.Watch != nil {
		o.r.Watch.Event(o.r.res, e, state)
	}
	o.write("event", e)
}

// status tells the Watcher where the run stands. The caller holds the lock.
func (o *observer) status() {
	s := Status{Elapsed: -1}
	if origin := o.began(); origin != nil {
		now, err := kernel.MonotonicNow()
		if err != nil {
			return
		}
		s.Elapsed = now - *origin
		for _, l := range o.looks {
			if l.host == "client" {
				s.Client = l.sample(*origin)
			} else {
				s.Server = l.sample(*origin)
			}
		}
	}
	s.Next = o.next()
	if o.r.Watch != nil {
		o.r.Watch.Status(s)
	}
	o.write("status", s.line())
}

// next is the earliest predicted event that was not seen yet.
func (o *observer) next() *result.Event {
	p := o.r.res.Prediction
	if len(o.r.res.Events) == 0 && len(p.Events) > 0 {
		return &p.Events[0]
	}
	for i := range o.r.res.Events {
		if e := &o.r.res.Events[i]; e.Expected && e.Seen == nil {
			return e
		}
	}
	if e := o.r.res.Outcome; e == nil || e.Seen == nil {
		return p.Outcome
	}
	return nil
}

func (l look) sample(origin time.Duration) result.Sample {
	return result.Sample{At: result.Seconds(l.mono - origin), Took: result.Seconds(l.took.Truncate(time.Millisecond)), Host: l.host, Port: l.port, State: l.State, Timer: l.Timer, Expires: result.Seconds(l.Expires),
		Retrans: l.Retrans, Backoff: l.Backoff, RTO: result.Seconds(l.RTO), Cwnd: l.Cwnd, Ssthresh: l.Ssthresh, Unacked: l.Unacked, SendQueue: l.SendQueue, RecvQueue: l.RecvQueue}
}

// statusLine is a Status in events.ndjson.
type statusLine struct {
	Elapsed result.Seconds `json:"elapsed"`
	Next    string         `json:"next,omitempty"`
	NextAt  result.Seconds `json:"next_at,omitempty"`
	Client  result.Sample  `json:"client"`
	Server  result.Sample  `json:"server"`
}

func (s Status) line() statusLine {
	l := statusLine{Elapsed: result.Seconds(s.Elapsed), Client: s.Client, Server: s.Server}
	if s.Next != nil {
		l.Next, l.NextAt = judge.Title(*s.Next), max(s.Next.At, s.Next.Earliest)
	}
	return l
}

// log writes one line to the event stream.
func (o *observer) log(kind string, v any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.write(kind, v)
}

// write writes one line of NDJSON: {"type": kind, kind: v}. The caller holds the lock. A reader that went away does not end the run; Run
// tells of it at its end.
func (o *observer) write(kind string, v any) {
	if o.r.Events == nil {
		return
	}
	line := map[string]any{"schema": "tcplab.event/v1", "type": kind, "time": time.Now().UTC().Format(time.RFC3339Nano), kind: v}
	b, err := json.Marshal(line)
	if err != nil {
		return
	}
	if _, err := o.r.Events.Write(append(b, '\n')); err != nil && o.unwritten == nil {
		o.unwritten = fmt.Errorf("write events: %w", err)
	}
}

// seen are the events that are not on the wire, of the kinds that are predicted. origin is the CLOCK_MONOTONIC time of the first packet.
func (o *observer) seen(origin time.Duration) []timeline.Event {
	wanted := map[timeline.What]bool{}
	for t := range o.r.want.All() {
		for _, e := range t.Events {
			wanted[e.What.Family()] = !e.What.OnWire() || wanted[e.What.Family()]
		}
	}
	var out []timeline.Event
	for _, e := range o.events {
		if t := clientEvent(e, origin); t != nil && wanted[t.What.Family()] {
			switch {
			case o.r.setup.LookAt != 0:
				t.Port = e.Local.Port()
			case len(o.r.setup.Listen) > 1:
				t.Port = e.Remote.Port()
			}
			out = append(out, *t)
		}
	}
	return append(out, slices.DeleteFunc(o.vanished(origin), func(e timeline.Event) bool { return !wanted[e.What] })...)
}

// outcome is how the call that the experiment is about ended; nil where it has not, or where none is predicted.
func (o *observer) outcome(origin time.Duration) *timeline.Event {
	want := o.r.want.Outcome
	if want == nil {
		return nil
	}
	for _, e := range o.events {
		if t := clientEvent(e, origin); t != nil && t.What.Family() == want.What.Family() {
			return t
		}
	}
	return nil
}

// over reports whether the call that the experiment is about has ended, or the client's process has nothing left that it waits for.
func (o *observer) over() bool {
	return o.connecting != nil && (o.r.want.Outcome == nil || o.outcome(0) != nil)
}

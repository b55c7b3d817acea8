package experiments

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// Fourteen connections side by side, each to a port of its own, each in another state when its peer dies or stops to read:
//
//	client, a process for each ══ link ══ server, a listener for each
//
// What is sent to a dead peer reaches the server's link, where the capture still sees it, and dies in the server's INPUT chain.
func init() {
	register(&Experiment{
		Name:    "exp11-timeouts",
		Summary: "one table of timeouts: in each state of a connection, when a program learns that its peer is dead",
		Question: "A peer dies without a word. How long until the program at the other end is told: while it connects, while the connection is idle, while data is in flight, " +
			"while the window is closed, while it closes? Which sysctl or socket option decides, and in which state does nothing ever tell it?",
		Params: append([]Param{
			{Flag: "cases", Doc: "which rows of the table, by number, two or more: 1,2,7, or all", Kind: List, Min: 1, Max: int64(len(standings)), Choices: []string{"all"}, Default: "all"},
			{Flag: "syn-retries", Doc: "SYN retransmissions of the client, 1 to 127", Host: "client", Sysctl: "net.ipv4.tcp_syn_retries", Textbook: "6", Fast: "1", Code: explain.CountAndTime},
			{Flag: "syn-linear-timeouts", Doc: "first retransmissions at a constant 1 s, 0 to 127 (Linux 6.5 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_syn_linear_timeouts", Textbook: "0", Fast: "0", Absent: "0", Code: explain.LinearSYNTimeouts},
			{Flag: "synack-retries", Doc: "SYN-ACK retransmissions of the server, 0 to 255", Host: "server", Sysctl: "net.ipv4.tcp_synack_retries", Textbook: "5", Fast: "1"},
			{Flag: "keepalive-time", Doc: "idle time before the first keepalive probe, 2 to 32767 s", Host: "client", Sysctl: "net.ipv4.tcp_keepalive_time",
				Textbook: "7200", Fast: "2", Code: explain.Keepalive},
			{Flag: "keepalive-intvl", Doc: "time between keepalive probes without an answer, 1 to 32767 s", Host: "client", Sysctl: "net.ipv4.tcp_keepalive_intvl",
				Textbook: "75", Fast: "1", Code: explain.Keepalive},
			{Flag: "keepalive-probes", Doc: "keepalive probes without an answer that end a connection, 0 to 255", Host: "client",
				Sysctl: "net.ipv4.tcp_keepalive_probes", Textbook: "9", Fast: "2", Code: explain.Keepalive},
			{Flag: "retries2", Doc: "how long unacknowledged data is repeated, and how many window probes, 0 to 255", Host: "client",
				Sysctl: "net.ipv4.tcp_retries2", Textbook: "15", Fast: "2", Code: explain.RetriesAreTime},
			{Flag: "orphan-retries", Doc: "how long a FIN is repeated that nobody owns, 0 to 255; 0 means 8", Host: "client",
				Sysctl: "net.ipv4.tcp_orphan_retries", Textbook: "0", Fast: "1", Code: explain.Orphans},
			{Flag: "rto-max-ms", Doc: "longest wait between two repeats, 1000 to 120000 ms (Linux 6.15 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_rto_max_ms", Textbook: "120000", Fast: "120000", Absent: "120000", Code: explain.RTOMax},
			{Flag: "keepidle", Doc: "TCP_KEEPIDLE of the sockets with SO_KEEPALIVE, 2 to 32767 s: overrides --keepalive-time", SocketOption: "TCP_KEEPIDLE", Min: 2, Max: 32767},
			{Flag: "keepintvl", Doc: "TCP_KEEPINTVL of the sockets with SO_KEEPALIVE, 1 to 32767 s: overrides --keepalive-intvl", SocketOption: "TCP_KEEPINTVL", Min: 1, Max: 32767},
			{Flag: "keepcnt", Doc: "TCP_KEEPCNT of the sockets with SO_KEEPALIVE, 1 to 127: overrides --keepalive-probes", SocketOption: "TCP_KEEPCNT", Min: 1, Max: 127},
			{Flag: "user-timeout", Doc: "TCP_USER_TIMEOUT of the sockets that have it, 1 to 86400000 ms", SocketOption: "TCP_USER_TIMEOUT", Min: 1, Max: 86400000,
				Default: "30000", Fast: "2500"},
			rttParam(),
		}, flowJitterParams()...),
		UnderJitter: closesUnderJitter,
		Flows:       flowsOfTimeouts,
		Setup:       setupTimeouts,
		Calls:       callsOfTimeouts,
		Predict:     predictTimeouts,
		Cases:       casesOfTimeouts,
		Run:         runTimeouts,
		Checks:      checksOfTimeouts,
		Rivals:      rivalsOfTimeouts,
		Story:       storyOfTimeouts,
		HandServer:  serverOfTimeouts,
		ByHand:      handOfTimeouts,
	})
}

// plight is a state in which a connection is when its peer dies, or stops to read.
type plight int

const (
	plightConnect  plight = iota // the SYN gets no answer
	plightHalfOpen               // the SYN-ACK gets no answer: the server's side of an open
	plightIdle
	plightBusy     // data is in flight
	plightShutdown // the FIN of shutdown(2) gets no answer, and the program reads
	plightClose    // that of close(2), which has returned long ago
	plightGone     // the window is closed, and the peer dies
	plightUnread   // the window is closed, the peer lives, and its program does not read
)

// standing is what a connection is.
type standing struct {
	name       string
	is         plight
	keep, user bool // SO_KEEPALIVE and TCP_USER_TIMEOUT are set
}

// standings are all, in the order of their ports and of the table.
var standings = []standing{
	{"connecting", plightConnect, false, false},
	{"connecting, user timeout", plightConnect, false, true},
	{"half-open, at the server", plightHalfOpen, false, false},
	{"idle", plightIdle, false, false},
	{"idle, keepalive", plightIdle, true, false},
	{"idle, keepalive and user timeout", plightIdle, true, true},
	{"data in flight", plightBusy, false, false},
	{"data in flight, keepalive", plightBusy, true, false},
	{"data in flight, user timeout", plightBusy, false, true},
	{"window closed, peer dead", plightGone, false, false},
	{"window closed, peer not reading", plightUnread, false, false},
	{"window closed, peer not reading, user timeout", plightUnread, false, true},
	{"shut down", plightShutdown, false, false},
	{"closed", plightClose, false, false},
}

const (
	firstStanding = 8101
	betweenOpens  = 20 * time.Millisecond
	leastIdle     = 2 * time.Second // of keepalive, so that no probe comes before the peers are dead
)

// silenceFrom is when a program writes to a peer that has died by then, from its connect(2): the rule is made after the last exchange, and a busy machine
// takes its time.
func silenceFrom(o Options) time.Duration {
	return 1500*time.Millisecond + 3*o.rtt() + 2*o.jitter()
}

// entry is a standing that is in the table.
type entry struct {
	standing
	n      int           // its row's number in the whole table, from 1
	port   uint16        // the server's: it follows from the number
	offset time.Duration // of its connect(2), from that of the first
}

// entries are those that the options ask for.
func entries(o Options) []entry {
	asked := o.List("cases") // none: all
	var out []entry
	for i, s := range standings {
		if asked == nil || slices.Contains(asked, int64(i+1)) {
			out = append(out, entry{s, i + 1, firstStanding + uint16(i), time.Duration(len(out)) * betweenOpens})
		}
	}
	return out
}

// cut reports whether the rule that is made on the way is what kills its peer; the others are there from the start.
func (s standing) cut() bool { return s.is == plightIdle || s.is == plightBusy }

// flowsOfTimeouts are the connections by the server's ports.
func flowsOfTimeouts(o Options) []uint16 {
	var out []uint16
	for _, one := range entries(o) {
		out = append(out, one.port)
	}
	return out
}

// died is the range of the ports of which the peer dies on the way; 0 to 0: there is none.
func died(o Options) (first, last uint16) {
	for _, one := range entries(o) {
		if one.cut() {
			if first == 0 {
				first = one.port
			}
			last = one.port
		}
	}
	return first, last
}

func setupTimeouts(o Options) Setup {
	s := Setup{Apart: true, OwnMSS: "server"}
	for _, one := range entries(o) {
		listen := lab.ListenOptions{Port: one.port, Service: lab.Sink}
		rule := lab.Rule{}
		switch one.is {
		case plightConnect:
			rule = lab.DropSYN(one.port)
		case plightHalfOpen:
			rule = lab.DropACK(one.port)
		case plightBusy:
			listen.Service = lab.Echo
		case plightShutdown, plightClose:
			rule = lab.DropFIN(one.port)
		case plightGone:
			rule = lab.DropBare(one.port) // the third packet of the handshake as well: the data opens the connection
		}
		if one.is == plightGone || one.is == plightUnread {
			listen.ReceiveBuffer, listen.ReadAfter = smallestBuffer, lab.NeverReads
		}
		s.Listen = append(s.Listen, listen)
		if rule.Chain != "" {
			s.Faults = append(s.Faults, Fault{Host: "server", Rule: rule})
		}
	}
	return s
}

// as is e with the options of another experiment, whose reading of the settings is the same.
func (e Env) as(o Options) Env {
	e.Options = o
	return e
}

// options are the socket options of one of the connections, as the other experiments call them.
func (s standing) options(o Options) Options {
	out := Options{"ipv6": o["ipv6"], "rtt": o["rtt"]}
	take := func(on bool, flags ...string) {
		for _, f := range flags {
			if v := o[f]; on && v != "" {
				out[f] = v
			}
		}
	}
	take(s.user, "user-timeout")
	take(s.keep, "keepidle", "keepintvl", "keepcnt")
	return out
}

// userTimeout is the option's value where it is set.
func (s standing) userTimeout(o Options) time.Duration {
	return time.Duration(s.options(o).Number("user-timeout")) * time.Millisecond
}

// The later calls of a program, by the name of its connection.
func (s standing) call(what string) string { return s.name + ": " + what }

// later are the calls after connect(2), from that on, in order: what they are called, and when.
func (s standing) later(e Env) []Call {
	watch, err := watchTimeouts(e)
	if err != nil {
		return nil
	}
	switch s.is {
	case plightHalfOpen:
		return []Call{{Name: callRead, At: watch}}
	case plightIdle:
		if !s.keep {
			return []Call{{Name: callRead, At: watch}}
		}
	case plightBusy:
		return []Call{{Name: "request", At: e.Whole(ackLossExchange + e.Options.longestTrip())}, {Name: "write", At: e.Whole(silenceFrom(e.Options))}}
	case plightShutdown, plightClose:
		return []Call{{Name: callClose, At: e.Whole(finCloseAt(e.Options))}}
	case plightGone:
		return []Call{{Name: burstCall, At: e.Whole(closingWrite(e.Options))}}
	case plightUnread:
		if s.user { // well after its end
			watch += e.Whole(s.userTimeout(e.Options)*9/8 + 2*time.Second)
		}
		return []Call{{Name: burstCall, At: e.Whole(closingWrite(e.Options))}, {Name: callRead, At: watch}}
	}
	return nil
}

func callsOfTimeouts(e Env) []Call {
	var out []Call
	for _, one := range entries(e.Options) {
		begin := e.Whole(one.offset)
		out = append(out, Call{Name: one.name, At: begin, Port: one.port})
		for _, c := range one.later(e) {
			out = append(out, Call{Name: one.call(c.Name), At: begin + c.At, Port: one.port})
		}
	}
	return out
}

// opened is when a connection's connect(2) was called, from the first one.
func (one entry) opened(e Env) time.Duration {
	return max(e.Call(one.name, e.Whole(one.offset)), 0)
}

// mechanism is what rules one of the connections: a rule of another experiment's.
func (one entry) mechanism(e Env) (oracle.Mechanism, error) {
	s := one.standing
	if s.keep && s.options(e.Options)["keepidle"] == "" {
		if v, ok, err := e.Int("client", "net.ipv4.tcp_keepalive_time"); err == nil && ok && time.Duration(v)*time.Second < leastIdle {
			return nil, fmt.Errorf("--keepalive-time=%d: want %d or more: the peers die within two seconds", v, leastIdle/time.Second)
		}
	}
	when := map[string]time.Duration{} // of a call, from connect(2)
	for _, c := range s.later(e) {
		when[c.Name] = e.Call(s.call(c.Name), e.Whole(one.offset)+c.At) - one.opened(e)
	}
	o, held := s.options(e.Options), e.Options.jitteredFlow(one.port)
	switch s.is {
	case plightConnect:
		c, err := connectInput(e.as(o))
		return oracle.LateOpen{Connect: c, Lost: 1 << 20}, err // all are lost, however long they were under way
	case plightHalfOpen:
		o["cut"] = "start"
		b, err := ackLossInput(e.as(o))
		b.Retries2, b.UserTimeout, b.Write, b.Link = 0, 0, when[callRead], held
		return unwritten{b}, err
	case plightIdle:
		o["peer"] = "gone"
		if !s.keep {
			o["no-keepalive"], o["watch"] = "yes", "1s" // whatever: the call says when
		}
		k, err := keepaliveInput(e.as(o))
		k.Until, k.Link = when[callRead], held
		return k, err
	case plightBusy:
		o["cut"], o["idle"] = "mid", silenceFrom(e.Options).String()
		b, err := ackLossInput(e.as(o))
		b.Exchange, b.Write, b.Link = when["request"], when["write"], held
		return inWords{b}, err
	case plightShutdown, plightClose:
		o["lose"] = "fin"
		if s.is == plightShutdown {
			o["call"] = "shutdown"
		}
		c, err := finLossRules(e.as(o))
		c.ClientClose, c.Link = when[callClose], held
		return c, err
	case plightGone:
		o["peer"] = "gone"
	}
	o["drain-at"] = never
	z, err := zeroWindowInput(e.as(o))
	z.Write, z.Until, z.Link = when[burstCall], when[callRead], held
	return z, err
}

// unwritten is a BlackHole whose program never writes: what comes before it would, and then the end of its read(2).
type unwritten struct{ oracle.BlackHole }

// Predict leaves out what follows from the write.
func (u unwritten) Predict(f kernel.Facts, start *oracle.Start) (timeline.Timeline, error) {
	t, err := u.BlackHole.Predict(f, start)
	if err != nil {
		return t, err
	}
	var out timeline.Timeline
	for _, e := range t.Events {
		if e.What == timeline.Data {
			e.What, e.RelSeq, e.RelAck, e.Len, e.Exact, e.Why = timeline.Quiet, 0, 0, 0, false, "the program has waited in read() until then"
			out.Outcome = &e
			break
		}
		out.Events = append(out.Events, e)
	}
	return out, nil
}

func predictTimeouts(e Env) (timeline.Timeline, error) {
	chosen := entries(e.Options)
	if len(chosen) < 2 {
		return timeline.Timeline{}, fmt.Errorf("--cases=%s: want two rows of the table or more: their connections are side by side", e.Options["cases"])
	}
	all := oracle.SideBySide{Memory: e.Memory}
	for _, one := range chosen {
		m, err := one.mechanism(e)
		if err != nil {
			return timeline.Timeline{}, err
		}
		all.Connections = append(all.Connections, oracle.Connection{Port: one.port, Offset: one.opened(e), Mechanism: m})
	}
	return e.Ask(all)
}

// runTimeouts opens the connections, each from a process of its own, lets the peers of some die, and waits for what each program is told.
func runTimeouts(ctx context.Context, l *lab.Lab, e Env) error {
	mss, err := segmentOption(e, closingSize)
	if err != nil {
		return err
	}
	if err := l.Server.ReceiveWindow(1, mss); err != nil {
		return err
	}
	chosen := entries(e.Options)
	clients := make([]*lab.Client, len(chosen))
	errs := make([]error, len(chosen))
	var wg sync.WaitGroup
	for i := range chosen {
		wg.Go(func() { clients[i], errs[i] = l.Client.Start(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err // the lab ends those that run
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return err
	}
	begin := e.Begin(now).StartAt
	var alive sync.WaitGroup // those whose peer is to die on the way
	dead := make(chan struct{})
	for i, one := range chosen {
		p := program{entry: one, c: clients[i], begin: begin + e.Whole(one.offset), dead: dead, established: func() {}}
		if one.cut() {
			alive.Add(1)
			p.established = sync.OnceFunc(alive.Done)
		}
		wg.Go(func() {
			err := p.run(ctx, l, e)
			p.established()
			if told := (*lab.CallError)(nil); err != nil && !errors.As(err, &told) && !errors.Is(err, lab.ErrQuiet) {
				errs[i] = err
			}
		})
	}
	alive.Wait()
	if first, last := died(e.Options); first != 0 {
		if err = arrived(ctx, e.Options); err == nil { // the third packet of a handshake, and what acknowledges the answer
			_, err = l.Server.Drop(ctx, lab.DropTo(first, last))
		}
		if err == nil {
			var probe time.Duration
			if probe, err = firstProbe(e, begin); err == nil {
				err = inTime(probe)
			}
		}
	}
	close(dead)
	wg.Wait()
	return errors.Join(append(errs, err)...) // the processes live on, as some connections do: their end would send FINs
}

// firstProbe is the first instant at which a keepalive probe could find a peer that is to be dead, for connections of which the first begins at an
// instant. What a program writes comes after the rule in any case.
func firstProbe(e Env, begin time.Duration) (time.Duration, error) {
	for _, one := range entries(e.Options) {
		if one.cut() && one.keep {
			k, err := keepaliveInput(e.as(one.options(e.Options)))
			return begin + e.Whole(one.offset) + k.First(), err
		}
	}
	return math.MaxInt64, nil // none asks
}

// program is one client and what it does.
type program struct {
	entry
	c           *lab.Client
	begin       time.Duration // CLOCK_MONOTONIC of its connect(2)
	established func()        // tells that the peer may die
	dead        chan struct{} // closed when it has
}

func (p program) run(ctx context.Context, l *lab.Lab, e Env) error {
	at := map[string]time.Duration{}
	for _, c := range p.later(e) {
		at[c.Name] = p.begin + c.At
	}
	o := lab.DialOptions{At: p.begin}
	opts := p.options(e.Options)
	o.UserTimeout = p.userTimeout(e.Options)
	if p.keep {
		second := func(flag string) time.Duration { return time.Duration(opts.Number(flag)) * time.Second }
		o.KeepAlive, o.KeepIdle, o.KeepInterval, o.KeepCount = true, second("keepidle"), second("keepintvl"), int(opts.Number("keepcnt"))
	}
	if err := p.c.Connect(ctx, l.Server.Port(p.port), o); err != nil {
		return err
	}
	if err := p.talk(ctx, at); err != nil {
		return err
	}
	if p.is == plightClose {
		return nil // the program has nothing left that could be told
	}
	_, err := p.c.Receive(ctx, lab.ReceiveOptions{Until: at[callRead]})
	return err
}

// talk does what a program does before it waits.
func (p program) talk(ctx context.Context, at map[string]time.Duration) error {
	var err error
	switch p.is {
	case plightIdle:
		p.established()
	case plightBusy:
		if _, err = p.c.Send(ctx, ackLossRequest, at["request"]); err == nil {
			_, err = p.c.Receive(ctx, lab.ReceiveOptions{})
		}
		p.established()
		if err != nil {
			return err
		}
		select {
		case <-p.dead:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err = p.c.Send(ctx, ackLossData, at["write"])
	case plightShutdown:
		_, err = p.c.Shutdown(ctx, at[callClose])
	case plightClose:
		_, err = p.c.Hangup(ctx, at[callClose])
	case plightGone, plightUnread:
		_, err = p.c.Write(ctx, 2, closingSize, at[burstCall])
	}
	return err
}

package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// FINLoss says which packet of a close is lost on its way, every time that it is sent.
type FINLoss int

// The losses.
const (
	CloseWhole       FINLoss = iota
	CloseNoFIN               // the client's FIN
	CloseNoACK               // what the server sends without a FIN: its acknowledgement of the client's FIN
	CloseNoSecondFIN         // the server's FIN
	CloseNoLastACK           // what the client sends without a FIN: its acknowledgement of the server's FIN
)

// Closing is a connection that never carried data and is closed, on a link on which one packet of the close is lost.
type Closing struct {
	Client, Server ClosingEnd // the zero Host stands for "client" and "server"
	Lose           FINLoss
	NoSACK         bool          // tcp_sack=0 at either end: no tail loss probe
	RTT            time.Duration // the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds
	Link           link.Plan     // what the link does besides: it holds each packet back for a time of its own
	// ClientClose and ServerClose are when the programs close, from the connect(2): the client first, the server 20 ms later or more. A
	// ServerClose of 0: never.
	ClientClose, ServerClose time.Duration
	// Shutdown: the client's program calls shutdown(2) instead of close(2), keeps its socket and waits in read(2), until Until from the
	// connect(2) at most (0: to the end of the connection).
	Shutdown bool
	Until    time.Duration

	// firstRTT is what the handshake measured, of the client and of the server; 0: the RTT.
	firstRTT [2]time.Duration
}

// ClosingEnd is what rules the close at one end.
type ClosingEnd struct {
	Host          string
	OrphanRetries int           // tcp_orphan_retries, 0 to 255
	Retries2      int           // tcp_retries2, 0 to 255: of a socket that a program still has
	FINTimeout    time.Duration // tcp_fin_timeout in whole seconds, up to an hour
	Linger2       int           // TCP_LINGER2 in seconds: instead of FINTimeout, 120 s at most; below 0: no FIN-WAIT-2 at all. 0: not set
	UserTimeout   time.Duration // TCP_USER_TIMEOUT in whole ms, up to a day; 0: not set
	RTOMax        time.Duration // tcp_rto_max_ms, as in BlackHole
	RTOMin        time.Duration // tcp_rto_min_us, as in BlackHole
	EarlyRetrans  int           // tcp_early_retrans, 0 to 4
}

const (
	finTimeoutMax = time.Hour         // of what is modelled
	linger2Max    = 120 * time.Second // TCP_FIN_TIMEOUT_MAX: the kernel cuts TCP_LINGER2 to it
	orphanDefault = 8                 // tcp_orphan_retries(): what 0 stands for while the RTO still grows
	afterClose    = 20 * time.Millisecond
	finTimer      = "FIN" // Chain of a FIN's timer
)

// Predict returns the handshake, the FINs with their repeats and acknowledgements, and for each end the moment at which its socket is gone.
// Which states it passes through, States tells. The outcome is the end of the read(2) of a client that called shutdown(2); there is none
// else.
//
// What nobody acknowledges is repeated like data (BlackHole). Once close(2) was called nobody owns the socket, and not tcp_retries2 but
// tcp_orphan_retries is the limit, a time like the other. FIN-WAIT-2 of a socket without an owner has a timer of its own, TIME-WAIT always
// 60 s.
//
// Source: tcp_close, __tcp_close and tcp_fin_time in net/ipv4/tcp.c and include/net/tcp.h; tcp_fin and tcp_rcv_state_process in tcp_input.c;
// tcp_orphan_retries, tcp_write_timeout and tcp_keepalive_timer in tcp_timer.c; tcp_time_wait and tcp_timewait_state_process in
// tcp_minisocks.c; inet_twsk_schedule in inet_timewait_sock.c (6.18).
func (c Closing) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	c = c.named()
	if err := c.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	var tl timeline.Timeline
	var repeats [2]bool
	floored, near := false, ""
	handshakes := c.handshakes(f)
	for i, measured := range handshakes {
		if measured[0] != handshakes[0][0] && !repeats[0] || measured[1] != handshakes[0][1] && !repeats[1] {
			continue // the RTO of an end that repeats nothing
		}
		c.firstRTT = measured
		t := sweep(f, start, c.longest(f), func(w *world) []happening {
			p := c.play(w)
			floored, near = floored || p.floored, cmp.Or(near, p.near)
			for n, e := range p.ends {
				repeats[n] = repeats[n] || e.repeats > 0
			}
			return p.out
		})
		if i == 0 {
			tl = t
			continue
		}
		t.Why = fmt.Sprintf("the handshake was measured a little longer than it is on the link: the RTO is %v at the client and %v at the server",
			time.Duration(c.rto(f, c.Client))*f.Jiffy(), time.Duration(c.rto(f, c.Server))*f.Jiffy())
		tl.Alternatives = append(tl.Alternatives, t)
	}
	switch {
	case c.Link.Zero():
	case floored:
		return timeline.Timeline{}, fmt.Errorf("close: FIN-WAIT-2 would be shorter than 3.5 RTOs on this link (tcp_fin_time), and how long those are hangs on the FIN's own round trip: want a longer tcp_fin_timeout or TCP_LINGER2")
	case near != "":
		return timeline.Timeline{}, fmt.Errorf("close: two packets of the %s come so near to each other that either may be the first, so it is not known which the link holds back for how long: want another time for the server's close", near)
	}
	return tl, nil
}

// handshakes are what the handshake can have measured, of the client and of the server: with a Link all that make other timers, and first that of a link
// which is never late.
func (c Closing) handshakes(f kernel.Facts) [][2]time.Duration {
	if c.Link.Zero() {
		return make([][2]time.Duration, 1)
	}
	l := newLine(c.RTT, c.Link)
	there := l.toServer(0)
	back := l.toClient(there)
	clients := c.differ(f, c.Client, there+back+linkOverhead)
	servers := c.differ(f, c.Server, back+l.toServer(there+back)+linkOverhead) // tcp_synack_rtt_meas: from the SYN-ACK to the third packet
	var out [][2]time.Duration
	for _, client := range clients {
		for _, server := range servers {
			out = append(out, [2]time.Duration{client, server})
		}
	}
	return out
}

// differ are round trips of an end, from one on, that make different timers, where the link may be late at each crossing.
func (c Closing) differ(f kernel.Facts, e ClosingEnd, rtt time.Duration) []time.Duration {
	var out []time.Duration
	var timers []dataTimers
	rules := newDataRule(e.hole(c, 0), f)
	for most := rtt + lateness(c.RTT, 2); rtt <= most; rtt += time.Microsecond {
		if t := rules.after([]time.Duration{rtt}); !slices.Contains(timers, t) {
			out, timers = append(out, rtt), append(timers, t)
		}
	}
	return out
}

// longest is the longest delay of a timer, in jiffies.
func (c Closing) longest(f kernel.Facts) int64 {
	longest := int64(0)
	for _, e := range []ClosingEnd{c.Client, c.Server} {
		if c.Lose != CloseWhole { // a FIN can be repeated
			longest = max(longest, newDataRule(e.hole(c, e.limit(c)), f).longest())
		}
		longest = max(longest, ceilJiffies(f, min(e.wait(), TimeWaitLen)), ceilJiffies(f, e.wait()-TimeWaitLen), finFloor(c.rto(f, e)+2)) // a delayed ACK makes it a little longer
	}
	if c.ServerClose > 0 || c.Lose == CloseNoLastACK {
		longest = max(longest, ceilJiffies(f, TimeWaitLen))
	}
	return longest
}

// A Stay is one TCP state of an end, and how long it lasts: 0 to the end of what is predicted.
type Stay struct {
	State string // as inet_diag names it
	For   time.Duration
}

// States returns the states that each end passes through from ESTABLISHED on, where timers fire as they do from one start. A socket that is
// gone is CLOSED.
func (c Closing) States(f kernel.Facts) (map[string][]Stay, error) {
	c = c.named()
	if err := c.validate(f, nil); err != nil {
		return nil, err
	}
	p := c.play(&world{facts: f, tick: f.Jiffy().Nanoseconds(), jiffies: 1 << 40})
	out := map[string][]Stay{}
	for _, e := range p.ends {
		for i := range e.passed {
			s := Stay{State: e.passed[i].state}
			if i+1 < len(e.passed) {
				s.For = e.passed[i+1].at - e.passed[i].at
			}
			out[e.Host] = append(out[e.Host], s)
		}
	}
	return out, nil
}

// FINWait is how long a socket without an owner stays in FIN-WAIT-2 by the formula: tcp_fin_time is its timer up to 60 s; of more only what
// exceeds 60 s is waited for, by the full socket, and the same again by the small one that takes its place (tcp_keepalive_timer,
// tcp_time_wait).
func (e ClosingEnd) FINWait() time.Duration {
	if w := e.wait(); w > TimeWaitLen {
		return 2 * (w - TimeWaitLen)
	}
	return e.wait()
}

// wait is tcp_fin_time without its floor of 3.5 RTOs.
func (e ClosingEnd) wait() time.Duration {
	if e.Linger2 > 0 {
		return min(time.Duration(e.Linger2)*time.Second, linger2Max)
	}
	return e.FINTimeout
}

// limit is what rules how long an end repeats its FIN, in retries.
func (e ClosingEnd) limit(c Closing) int {
	if c.Shutdown && e.Host == c.Client.Host {
		return e.Retries2
	}
	return e.Orphan()
}

// Orphan is tcp_orphan_retries as the kernel takes it: 0 has a meaning of its own.
func (e ClosingEnd) Orphan() int { return cmp.Or(e.OrphanRetries, orphanDefault) }

// hole is the end as what writes into a black hole: a FIN is repeated as a segment of data is.
func (e ClosingEnd) hole(c Closing, retries int) BlackHole {
	return BlackHole{Host: e.Host, Write: c.ClientClose, Bytes: 1, Retries2: retries, RTOMax: e.RTOMax, RTOMin: e.RTOMin,
		UserTimeout: e.UserTimeout, EarlyRetrans: e.EarlyRetrans, NoSACK: c.NoSACK, RTT: c.RTT, FirstRTT: c.opened(e)}
}

// opened is what the handshake measured of an end; 0: the RTT.
func (c Closing) opened(e ClosingEnd) time.Duration {
	if e.Host == c.Server.Host {
		return c.firstRTT[1]
	}
	return c.firstRTT[0]
}

// longestTrip is how long a packet and the answer to it are under way at most.
func (c Closing) longestTrip() time.Duration { return c.RTT + 2*c.Link.Longest(0, 0) }

// finDue is when the client's first FIN, its third packet, is at the server.
func (c Closing) finDue() time.Duration {
	l := newLine(c.RTT, c.Link)
	there := l.toServer(0)
	l.toServer(there + l.toClient(there))
	return c.ClientClose + l.toServer(c.ClientClose)
}

// FINFloor is the least time of an end in FIN-WAIT-2: 3.5 RTOs in whole jiffies (tcp_fin_time), of the RTO that the handshake left.
func (c Closing) FINFloor(f kernel.Facts, server bool) time.Duration {
	c = c.named()
	e := c.Client
	if server {
		e = c.Server
	}
	return time.Duration(finFloor(c.rto(f, e))) * f.Jiffy()
}

// rto is the RTO after the handshake, in jiffies.
func (c Closing) rto(f kernel.Facts, e ClosingEnd) int64 { return newDataRule(e.hole(c, 0), f).rto }

// finFloor is FINFloor in jiffies, of an RTO.
func finFloor(rto int64) int64 { return rto<<2 - rto>>1 }

// Waits reports whether the read(2) of a client that called shutdown(2) never ends by itself: its FIN was acknowledged, and no other comes.
func (c Closing) Waits() bool {
	return c.Shutdown && (c.Lose == CloseNoSecondFIN || c.ServerClose == 0 && c.Lose == CloseWhole)
}

// Limit is the time after the first repeat by the retransmission timer from which on a fire of it ends the end's socket.
func (c Closing) Limit(f kernel.Facts, server bool) time.Duration {
	c = c.named()
	e := c.Client
	if server {
		e = c.Server
	}
	return newDataRule(e.hole(c, e.limit(c)), f).limit
}

func (c Closing) named() Closing {
	if c.Client.Host == "" {
		c.Client.Host = "client"
	}
	if c.Server.Host == "" {
		c.Server.Host = "server"
	}
	return c
}

func (c Closing) validate(f kernel.Facts, start *Start) error {
	for _, e := range []ClosingEnd{c.Client, c.Server} {
		switch {
		case e.OrphanRetries < 0 || e.OrphanRetries > 255:
			return fmt.Errorf("close: %s: tcp_orphan_retries=%d: the kernel takes 0..255", e.Host, e.OrphanRetries)
		case e.FINTimeout < 0 || e.FINTimeout > finTimeoutMax || e.FINTimeout%time.Second != 0:
			return fmt.Errorf("close: %s: tcp_fin_timeout of %v: whole seconds up to %v are modelled", e.Host, e.FINTimeout, finTimeoutMax)
		}
		if err := e.hole(c, e.Retries2).validate(f, start); err != nil {
			return fmt.Errorf("close: %s: %w", e.Host, err)
		}
	}
	switch {
	case c.Lose < CloseWhole || c.Lose > CloseNoLastACK:
		return fmt.Errorf("close: loss %d: want one of the FINLosses", c.Lose)
	case c.ServerClose == 0 && (c.Lose == CloseNoSecondFIN || c.Lose == CloseNoLastACK):
		return fmt.Errorf("close: the server never closes: there is no second FIN to be lost, and no ACK of it")
	case c.RTT < 0 || c.RTT > exchangeRTT:
		return fmt.Errorf("close: RTT of %v: want 0 to %v", c.RTT, exchangeRTT)
	case c.ClientClose < afterClose+c.longestTrip()*3/2:
		return fmt.Errorf("close: client's close at %v: want it after the handshake, %v or later", c.ClientClose, afterClose+c.longestTrip()*3/2)
	case c.ServerClose != 0 && c.ServerClose < c.ClientClose+afterClose:
		return fmt.Errorf("close: server's close at %v: want it %v or more after the client's, %v", c.ServerClose, afterClose, c.ClientClose)
	case c.ServerClose != 0 && c.RTT > 0 && (c.ServerClose-c.finDue()).Abs() < afterClose:
		return fmt.Errorf("close: server's close at %v: the client's FIN arrives at %v, and which of the two is first decides the states: want %v or more between them",
			c.ServerClose, c.finDue(), afterClose)
	case !c.Shutdown && c.Until != 0:
		return fmt.Errorf("close: read until %v: nobody reads after close(2)", c.Until)
	case c.Until != 0 && c.Until < c.ClientClose:
		return fmt.Errorf("close: read until %v: want it after the close, %v", c.Until, c.ClientClose)
	case c.Waits() && c.Until == 0:
		return fmt.Errorf("close: this read(2) never ends: want the time until which the program waits")
	}
	return nil
}

// play closes the connection in one world.
func (c Closing) play(w *world) *closing {
	p := &closing{Closing: c, w: w, line: newLine(c.RTT, c.Link)}
	for i, e := range []ClosingEnd{c.Client, c.Server} {
		p.ends[i] = &finEnd{ClosingEnd: e, closing: p, rule: hole{dataRule: newDataRule(e.hole(c, e.limit(c)), w.facts), w: w}}
		p.ends[i].atMost = hole{dataRule: newDataRule(e.hole(c, 0), w.facts), w: w}
		p.ends[i].enter("ESTABLISHED", instant{})
	}
	p.ends[0].peer, p.ends[1].peer = p.ends[1], p.ends[0]
	p.run()
	return p
}

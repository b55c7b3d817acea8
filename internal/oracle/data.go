package oracle

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Cut says when the server stops hearing the client.
type Cut int

// The cuts.
const (
	// CutACK: every packet with the ACK flag is lost on its way to the server. The SYN is not: the server is in SYN-RECV, and the client,
	// which has its SYN-ACK, in ESTABLISHED.
	CutACK Cut = iota
	// CutMid: the handshake and one exchange are whole, then everything is lost.
	CutMid
)

// BlackHole is a connection of which one end, the client, writes one small segment that is never acknowledged.
type BlackHole struct {
	Host   string // who writes; "" means "client"
	Server Server // the other end. Of it, CutMid uses the Host alone, and CutACK SYNACKRetries too
	Cut    Cut

	Write    time.Duration // when it writes, from the connect(2); after the handshake and the exchange
	Bytes    int           // how much, 1 to 1000: one segment
	Exchange time.Duration // with CutMid: when it sends its request, from the connect(2)
	Request  int           // with CutMid: the bytes of the request and of its echo, 1 to 1000

	RTT  time.Duration // of the link, 0 up to 2 s; the hosts add at least linkOverhead
	Link link.Plan     // what the link does besides: it holds each packet back for a time of its own
	// FirstRTT is what the handshake measured, where that is not the RTT: if the SYN-ACK got through only as the answer to a repeated SYN,
	// it echoes the first one's timestamp, and the time since that one counts. Without timestamps nothing was measured: negative. 0: the RTT.
	FirstRTT    time.Duration
	Retries2    int           // tcp_retries2, 0 to 255
	RTOMax      time.Duration // tcp_rto_max_ms or TCP_RTO_MAX_MS, 1 s to 120 s in whole ms; 0: 120 s; others need Facts.RTOMax
	RTOMin      time.Duration // tcp_rto_min_us or TCP_RTO_MIN_US, in whole µs; 0: 200 ms; others need kernel 6.11
	UserTimeout time.Duration // TCP_USER_TIMEOUT in whole ms, up to a day; 0: not set
	// EarlyRetrans is tcp_early_retrans, 0 to 4: with 3 and 4, and with SACK, the first repeat is a tail loss probe.
	EarlyRetrans int
	// InvalidRatelimit is tcp_invalid_ratelimit of who writes: repeated SYN-ACKs are answered at most this often; 0: always.
	InvalidRatelimit time.Duration

	NoSACK     bool   // tcp_sack=0 at either end: no tail loss probe
	ThinLinear bool   // tcp_thin_linear_timeouts or TCP_THIN_LINEAR_TIMEOUTS
	SoftError  string // the last ICMP error heard, as errno ("EHOSTUNREACH"); "": none, so the socket says ETIMEDOUT
}

const thinLinearRetries = 6 // TCP_THIN_LINEAR_RETRIES

// Predict returns the handshake, the server's repeats of its SYN-ACK with the client's challenge ACKs, the end of the half-open
// connection, the data with its repeats, and the moment at which the socket has its error. The windows leave open a jiffy for each call
// after the first.
//
// tcp_retries2 is a time: the socket dies at the first fire of its timer that comes that much or more after its first RTO retransmission.
// Where that limit falls inside the window of the timers, the repeats that may be absent are marked (Maybe) and the end has the window of
// both. Where a fire meets the limit in the very millisecond, the time that its handler takes to run may decide; that is not modelled.
//
// With a Link the round trips that the client measures are those of the packets as they are held back, and a millisecond more at each crossing, which a
// link may be late by. Where that makes another RTO or probe timeout, in whole jiffies, each pair of them is an alternative.
//
// Source: tcp_retransmit_timer, tcp_write_timeout, retransmits_timed_out, tcp_model_timeout, tcp_clamp_rto_to_user_timeout in
// net/ipv4/tcp_timer.c; tcp_schedule_loss_probe, tcp_send_loss_probe in net/ipv4/tcp_output.c; tcp_rearm_rto, tcp_send_challenge_ack in
// net/ipv4/tcp_input.c (6.18).
func (b BlackHole) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := b.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if b.Host == "" {
		b.Host = "client"
	}
	if b.Server.Host == "" {
		b.Server.Host = "server"
	}
	r := newDataRule(b, f)
	var buffer []happening // one world at a time, and sweep keeps none
	near := false
	play := func(t dataTimers) timeline.Timeline {
		r.dataTimers = t
		return sweep(f, start, r.longest(), func(w *world) []happening {
			h := &hole{dataRule: r, w: w, line: newLine(b.RTT, b.Link), out: buffer[:0]}
			h.run()
			buffer = h.out
			near = near || h.near
			return h.out
		})
	}
	timers := r.timers()
	tl := play(timers[0])
	for _, t := range timers[1:] {
		other := play(t)
		other.Why = t.measured(r.tick)
		tl.Alternatives = append(tl.Alternatives, other)
	}
	if near {
		return timeline.Timeline{}, fmt.Errorf("data: tcp_invalid_ratelimit of %v is so near to the time between two SYN-ACKs that what the link holds back decides whether the second one is answered: choose another value", b.InvalidRatelimit)
	}
	return tl, nil
}

// Timers returns the RTOs that the data may have, the usual one first, and the time after the first RTO retransmission from which on a fire of the timer
// ends the connection: what tcp_retries2 or TCP_USER_TIMEOUT stands for. There is one RTO where there is no Link. The input must be one that Predict takes.
func (b BlackHole) Timers(f kernel.Facts) (rtos []time.Duration, limit time.Duration) {
	r := newDataRule(b, f)
	for _, t := range r.timers() {
		if rto := time.Duration(t.rto) * r.tick; !slices.Contains(rtos, rto) {
			rtos = append(rtos, rto)
		}
	}
	return rtos, r.limit
}

// longestTrip is how long a packet and the answer to it are under way at most.
func (b BlackHole) longestTrip() time.Duration { return b.RTT + 2*b.Link.Longest(0, 0) }

// roundTrips are those that the client measures: of the handshake, negative where that measured none, and with CutMid of the request.
func (b BlackHole) roundTrips() []time.Duration {
	l := newLine(b.RTT, b.Link)
	there := l.toServer(0)
	open := there + l.toClient(there)
	all := []time.Duration{open + linkOverhead}
	if b.FirstRTT != 0 {
		all[0] = b.FirstRTT
	}
	if b.Cut == CutMid {
		l.toServer(open)
		there = b.Exchange + l.toServer(b.Exchange)
		all = append(all, there+l.toClient(there)-b.Exchange+linkOverhead)
	}
	return all
}

func (b BlackHole) validate(f kernel.Facts, start *Start) error {
	// The rules for what an open and a connection share are those of Connect.
	shared := Connect{SYNRetries: 1, RTOMax: b.RTOMax, UserTimeout: b.UserTimeout, SoftError: b.SoftError}
	if err := shared.validate(f, start); err != nil {
		return err
	}
	trip := b.longestTrip()
	first := trip
	if b.Cut == CutMid {
		first = b.Exchange + trip
	}
	switch {
	case b.Cut != CutACK && b.Cut != CutMid:
		return fmt.Errorf("data: cut %d: want CutACK or CutMid", b.Cut)
	case b.RTT < 0 || b.RTT > 2*time.Second:
		return fmt.Errorf("data: RTT of %v: want 0 to 2 s", b.RTT)
	case (b.RTT > 0 || b.FirstRTT > 0) && !f.Version.AtLeast(3, 15):
		return fmt.Errorf("data: kernel %v measures round trips in jiffies (until 3.15), which is modelled for an RTT of 0 only", f.Version)
	case b.FirstRTT > 2*time.Minute:
		return fmt.Errorf("data: first RTT of %v: want up to 2 min", b.FirstRTT)
	case b.Cut == CutMid && b.Exchange < trip:
		return fmt.Errorf("data: exchange at %v: want it after the handshake, %v or later", b.Exchange, trip)
	case b.Write < first || b.Write > 30*24*time.Hour:
		return fmt.Errorf("data: write at %v: want %v or later, up to 30 days", b.Write, first)
	case b.Bytes < 1 || b.Bytes > 1000 || b.Cut == CutMid && (b.Request < 1 || b.Request > 1000):
		return fmt.Errorf("data: %d bytes after a request of %d: want 1 to 1000, one segment", b.Bytes, b.Request)
	case b.Retries2 < 0 || b.Retries2 > 255:
		return fmt.Errorf("data: tcp_retries2=%d: the kernel takes 0..255", b.Retries2)
	case b.EarlyRetrans < 0 || b.EarlyRetrans > 4:
		return fmt.Errorf("data: tcp_early_retrans=%d: the kernel takes 0..4", b.EarlyRetrans)
	case b.RTOMin < 0 || b.RTOMin%time.Microsecond != 0 || b.RTOMin > rtoMax:
		return fmt.Errorf("data: tcp_rto_min_us of %v: want 1 µs to 120 s in whole µs, 0 stands for 200 ms", b.RTOMin)
	case b.RTOMin != 0 && b.RTOMin != 200*time.Millisecond && !f.Version.AtLeast(6, 11):
		return fmt.Errorf("data: tcp_rto_min_us of %v: kernel %v has no such knob (since 6.11) and uses 200 ms; use 0", b.RTOMin, f.Version)
	case b.InvalidRatelimit < 0:
		return fmt.Errorf("data: tcp_invalid_ratelimit of %v: want 0 ms or more", b.InvalidRatelimit)
	case b.UserTimeout > 24*time.Hour:
		return fmt.Errorf("data: TCP_USER_TIMEOUT of %v: up to a day is modelled", b.UserTimeout)
	case b.Cut == CutACK:
		return b.Server.validate(f)
	}
	return nil
}

// probes reports whether tail loss probes are sent.
func (b BlackHole) probes(f kernel.Facts) bool {
	return !b.NoSACK && b.EarlyRetrans >= 3 && f.Version.AtLeast(3, 10)
}

// dataTimers are what the round trips that were measured make of the timers, in jiffies.
type dataTimers struct {
	rto int64 // of the data
	pto int64 // probe timeout, cut to the RTO; 0: no probe
}

// measured says when a connection has them.
func (t dataTimers) measured(tick time.Duration) string {
	rto, pto := time.Duration(t.rto)*tick, time.Duration(t.pto)*tick
	if pto == 0 {
		return fmt.Sprintf("the round trips were measured a little longer than they are on the link: the RTO is %v", rto)
	}
	return fmt.Sprintf("the round trips were measured a little longer than they are on the link: the RTO is %v and the probe timeout %v", rto, pto)
}

// dataRule is a BlackHole in the kernel's units.
type dataRule struct {
	BlackHole
	dataTimers // those of a link that is never late
	facts      kernel.Facts
	tick       time.Duration
	most       int64 // largest RTO

	inJiffies    bool // before 4.13 the time test compares jiffies, not milliseconds
	limitJiffies int64
	limitMS      int64
	limit        time.Duration // the same without the kernel's rounding
	limitName    string
}

func newDataRule(b BlackHole, f kernel.Facts) dataRule {
	r := dataRule{BlackHole: b, facts: f, tick: f.Jiffy(), inJiffies: !f.Version.AtLeast(4, 13)}
	most := rtoMax
	if b.RTOMax != 0 {
		most = b.RTOMax
	}
	r.most = ceilJiffies(f, most)
	r.dataTimers = r.after(b.roundTrips())
	if b.UserTimeout > 0 {
		r.limitJiffies = ceilJiffies(f, b.UserTimeout)
		r.limitMS, r.limit = b.UserTimeout.Milliseconds(), b.UserTimeout
		if !f.Version.AtLeast(4, 19) { // kept in jiffies
			r.limitMS = jiffiesToMS(f, r.limitJiffies)
		}
		r.limitName = fmt.Sprintf("%v (TCP_USER_TIMEOUT)", b.UserTimeout)
		return r
	}
	r.limitJiffies = int64(model(b.Retries2, uint64(rtoMin(f)), uint64(r.most)))
	r.limitMS = jiffiesToMS(f, r.limitJiffies)
	r.limit = time.Duration(r.limitMS) * time.Millisecond
	r.limitName = fmt.Sprintf("%v (tcp_retries2=%d)", r.limit, b.Retries2)
	return r
}

// after are the timers of a connection that has measured these round trips, the handshake's first.
func (r dataRule) after(roundTrips []time.Duration) (t dataTimers) {
	e := newEstimator(r.facts, r.RTOMin)
	for i, rtt := range roundTrips {
		if rtt > 0 {
			e.sample(rtt)
		}
		if i == 0 {
			e.handshakeOver()
		}
	}
	t.rto = e.rto(r.most)
	if r.probes(r.facts) {
		t.pto = min(e.probe(), t.rto)
	}
	return t
}

// timers are those that the round trips may make where the link may be late at each crossing, the ones of a link that is not first. The last round trip is
// tried by the microsecond; one before it, which counts up to seven times as much (tcp_rtt_estimator), in steps that this fills.
func (r dataRule) timers() []dataTimers {
	all := []dataTimers{r.dataTimers}
	if r.Link.Zero() {
		return all
	}
	trips := r.roundTrips()
	late, last, most := slices.Clone(trips), len(trips)-1, lateness(r.RTT, 2)
	for before := time.Duration(0); before <= most; before += most / 8 {
		late[0] = trips[0] + before
		for by := time.Duration(0); by <= most; by += time.Microsecond {
			late[last] = trips[last] + by
			if t := r.after(late); !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
		if last == 0 {
			break
		}
	}
	return all
}

// jiffiesToMS is jiffies_to_msecs: rounded up.
func jiffiesToMS(f kernel.Facts, j int64) int64 { return (j*1000 + int64(f.HZ) - 1) / int64(f.HZ) }

// longest is the longest delay that can be armed before the end, in jiffies: a timer doubles only while the limit has not passed.
func (r dataRule) longest() int64 {
	longest := min(r.most, r.limitJiffies+2*r.rto)
	if r.Cut == CutACK {
		longest = max(longest, r.Server.longest(r.facts))
	}
	return longest
}

package oracle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Recovery is one write of equal segments, all in flight at once, of which some are lost on their first way. The receiver has a low water
// mark (SO_RCVLOWAT) of the whole write: its program sleeps until all is there, so each segment meets an idle socket, and no
// acknowledgement is merged with another because the program held the socket (tcp_add_backlog, tcp_backlog_ack_defer).
type Recovery struct {
	Host, Peer string        // who sends, and who receives; "" means "client" and "server"
	Segments   int           // in the write, 1 to MaxBurst; the sender's initial window and the receiver's window must hold them all
	Size       int           // bytes in each, which is the connection's MSS
	Lose       []int         // which segments are lost, counted from 1 as they arrive, repeats included: 15 is the 15th of the burst
	Write      time.Duration // when the write is planned, from the first SYN
	RTT        time.Duration // the link's, both ways together: minBurstRTT to maxBurstRTT
	Lag        time.Duration // how much longer than RTT a round trip may really take; 0: linkLag
	SACK       bool          // tcp_sack of both ends
	// TCPRecovery is tcp_recovery: bit 1 RACK (since 6.17 without effect: there is nothing else), bit 4 no shortcut by three duplicate ACKs.
	TCPRecovery  int
	EarlyRetrans int           // tcp_early_retrans, 0 to 4: 3 and 4 allow tail loss probes
	Reordering   int           // tcp_reordering: duplicate ACKs, or segments SACKed, that prove a loss; 0: 3
	FRTO         bool          // tcp_frto is not 0
	RTOMin       time.Duration // tcp_rto_min_us; 0: 200 ms
	RTOMax       time.Duration // tcp_rto_max_ms; 0: 120 s
	// Link is what the link does besides its delay to the sender's segments. Zero: nothing, all of the burst arrives at once.
	Link  link.Plan
	Frame int // bytes of a segment's frame, from the Ethernet header on; wanted where Link has a rate
}

// MostLost bounds Recovery.Lose.
const MostLost = 1000

// MaxBurst bounds Recovery.Segments: with 1000 bytes each, what the first window of a receiver (64 KiB without scaling) holds.
const MaxBurst = 42

const (
	// The whole burst must be on its way before its first acknowledgement is back. Shorter round trips end the write in the middle of
	// recovery, and RACK's waiting time, a quarter of the round trip, is then shorter than the burst.
	minBurstRTT = 4 * time.Millisecond
	maxBurstRTT = 300 * time.Millisecond
	// A delay line never delivers early. What two stacks and two interrupts add was 20 to 60 µs on a veth, and up to 1 ms on a delay line.
	linkLagLeast = 20 * time.Microsecond
	linkLag      = time.Millisecond
	// maxHold is the longest that a link holds a segment back: shorter than the least RTO, so that no timer runs out for it alone.
	maxHold = 150 * time.Millisecond
	// compressedACK is the longest that a receiver holds a SACK back after the third: tcp_comp_sack_delay_ns and its slack.
	compressedACK = 1100 * time.Microsecond
)

// Predict returns the handshake, the burst, what the receiver answers, and what is sent again, why and when. The alternatives are the
// choices that the kernel makes by microseconds.
//
// Source: tcp_ack, tcp_fastretrans_alert, tcp_cwnd_reduction (PRR) and tcp_process_loss in net/ipv4/tcp_input.c, tcp_recovery.c (RACK),
// tcp_schedule_loss_probe and tcp_xmit_retransmit_queue in tcp_output.c, tcp_enter_loss (6.18).
func (r Recovery) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := r.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	r = r.filled()
	play := func(v variant) func(*world) []happening {
		return func(w *world) []happening { return playBurst(r, w, v) }
	}
	longest := ceilJiffies(f, 2*(r.RTT+r.Lag+max(r.RTOMin, 2*(r.RTT+r.Lag)))) // the first RTO, doubled once
	out := sweep(f, start, longest, play(variant{}))
	shape, open := r.shape(f, variant{}) // open: not every way is modelled
	seen := []string{shape}
	all := variants()
	if !r.Link.Zero() {
		all = variantsApart()
	}
	for _, v := range all {
		shape, one := r.shape(f, v)
		open = open || one
		if slices.Contains(seen, shape) {
			continue
		}
		if v.held > 0 { // it is no alternative, but what contradicts the others may be it
			open = true
			continue
		}
		seen = append(seen, shape)
		alt := sweep(f, start, longest, play(v))
		alt.Why = v.why()
		out.Alternatives = append(out.Alternatives, alt)
	}
	// What comes after a recovery that was taken back hangs on when RACK's timer was armed anew, and was seen otherwise than it is played here.
	out.Unlisted = open
	return out, nil
}

// Recovered is how long the sender took from its first repeat to the acknowledgement of everything, in round trips, and how often it
// repeated each way. Of the usual timeline, by the formula.
type Recovered struct {
	RTTs                       int
	Fast, Probes, Fires, Again int // FastRetransmit, TailLossProbe, RTORetransmission, DataAgain
	Sent                       int // segments with data in all: a greater number in Lose never comes
}

// Recovered counts what Predict tells: without the wheel, the windows and the alternatives.
func (r Recovery) Recovered(f kernel.Facts) (Recovered, error) {
	if err := r.validate(f, nil); err != nil {
		return Recovered{}, err
	}
	r = r.filled()
	w := &world{facts: f, tick: f.Jiffy().Nanoseconds(), jiffies: 1 << 40, phase: f.Jiffy().Nanoseconds() / 2}
	var out Recovered
	var first, last time.Duration
	for _, h := range playBurst(r, w, variant{}) {
		if h.Host == r.Host && h.Len > 0 {
			out.Sent++
		}
		switch h.What {
		case timeline.FastRetransmit:
			out.Fast++
		case timeline.TailLossProbe:
			out.Probes++
		case timeline.RTORetransmission:
			out.Fires++
		case timeline.DataAgain:
			out.Again++
		case timeline.ACK:
			if h.Host == r.Peer {
				last = h.at
			}
			continue
		default:
			continue
		}
		if first == 0 {
			first = h.at
		}
	}
	if first > 0 {
		// From the sender's repeat to the receiver's last answer is half a round trip less than from repeat to acknowledgement.
		out.RTTs = int((last - first + r.RTT) / r.RTT)
	}
	return out, nil
}

// filled puts the values in that zero stands for.
func (r Recovery) filled() Recovery {
	if r.Host == "" {
		r.Host = "client"
	}
	if r.Peer == "" {
		r.Peer = "server"
	}
	if r.Lag == 0 {
		r.Lag = linkLag
	}
	if r.Reordering == 0 {
		r.Reordering = 3 // TCP_FASTRETRANS_THRESH
	}
	if r.RTOMin == 0 {
		r.RTOMin = 200 * time.Millisecond // TCP_RTO_MIN
	}
	if r.RTOMax == 0 {
		r.RTOMax = rtoMax
	}
	return r
}

func (r Recovery) validate(f kernel.Facts, start *Start) error {
	switch {
	case !f.Version.AtLeast(4, 19):
		return fmt.Errorf("recovery: kernel %v finds losses by other rules (FACK, RFC 6675, early retransmit; RACK alone since 4.19), which are not modelled", f.Version)
	case r.SACK && r.TCPRecovery&1 == 0 && !f.Version.AtLeast(6, 17):
		return fmt.Errorf("recovery: tcp_recovery=%d on kernel %v is RFC 6675 without RACK, which is not modelled; use an odd value", r.TCPRecovery, f.Version)
	case r.TCPRecovery < 0 || r.TCPRecovery > 255:
		return fmt.Errorf("recovery: tcp_recovery=%d: the kernel takes 0..255", r.TCPRecovery)
	case r.EarlyRetrans < 0 || r.EarlyRetrans > 4:
		return fmt.Errorf("recovery: tcp_early_retrans=%d: the kernel takes 0..4", r.EarlyRetrans)
	case r.Segments < 1 || r.Segments > MaxBurst:
		return fmt.Errorf("recovery: %d segments: want 1 to %d, one window full", r.Segments, MaxBurst)
	case r.Size < 1:
		return fmt.Errorf("recovery: segments of %d bytes: want 1 or more", r.Size)
	case r.RTT < minBurstRTT || r.RTT > maxBurstRTT:
		return fmt.Errorf("recovery: RTT of %v: want %v to %v, so that the burst is out before its first ACK is back", r.RTT, minBurstRTT, maxBurstRTT)
	case r.Lag < 0 || r.Lag > r.RTT/2:
		return fmt.Errorf("recovery: the link's lag of %v: want less than half of the RTT of %v", r.Lag, r.RTT)
	case r.Write < r.RTT+r.RTT/2:
		return fmt.Errorf("recovery: write at %v: want %v or more, half an RTT after the handshake", r.Write, r.RTT+r.RTT/2)
	case r.Reordering < 0 || r.Reordering > 300:
		return fmt.Errorf("recovery: tcp_reordering=%d: want 1..300, 0 stands for 3", r.Reordering)
	case r.RTOMin < 0 || r.RTOMin > time.Second:
		return fmt.Errorf("recovery: tcp_rto_min_us of %v: the kernel takes up to 1 s", r.RTOMin)
	case r.RTOMax != 0 && (r.RTOMax < rtoMaxMin || r.RTOMax > rtoMax):
		return fmt.Errorf("recovery: tcp_rto_max_ms of %v: the kernel takes 1 s to 120 s, 0 stands for 120 s", r.RTOMax)
	case start != nil && (start.Phase < 0 || start.Phase >= f.Jiffy()):
		return fmt.Errorf("recovery: start phase of %v: want 0 up to a jiffy, %v", start.Phase, f.Jiffy())
	}
	for i, k := range r.Lose {
		if k < 1 || k > MostLost || slices.Index(r.Lose, k) != i {
			return fmt.Errorf("recovery: lose segment %d: want each once, from 1 to %d", k, MostLost)
		}
	}
	if r.Link.Rate < 0 || r.Link.Rate > 0 && r.Frame <= r.Size {
		return fmt.Errorf("recovery: a link of %d bit/s and frames of %d bytes: want a rate above 0, and frames longer than their %d bytes of data", r.Link.Rate, r.Frame, r.Size)
	}
	for _, list := range [][]time.Duration{r.Link.Hold, r.Link.Behind} {
		for i, hold := range list {
			if hold < 0 || hold > maxHold {
				return fmt.Errorf("recovery: segment %d is held for %v: want 0 to %v", i+1, hold, maxHold)
			}
		}
	}
	return nil
}

// variant is a choice that microseconds make.
type variant struct {
	// merged: the receiver holds SACKs back after the third and sends one for all (tcp_comp_sack_delay_ns).
	merged bool
	// fast: what was sent again is acknowledged faster than the shortest round trip so far. RACK takes the acknowledgement for that of the
	// first copy and learns nothing of it (tcp_rack_advance).
	fast bool
	// thrifty: the receiver's window has no room to grow. While it grows each segment is acknowledged at once; else, after 16 of them, every
	// second one is, and a single one after 40 ms (__tcp_grow_window sets icsk_ack.quick). Its room depends on what a buffer costs the
	// receiver, which the link's driver decides.
	thrifty bool
	// grown: with thrifty, for how many segments the window grew before. Each of them sets the lowest bit of icsk_ack.quick and is acknowledged
	// for that, so the pairs begin as many segments later.
	grown int
	// exact: the receiver answers as its counters say, on a link on which segments come apart; the window grows for the first few, grown of them.
	exact bool
	// held is how long the receiver really holds SACKs back, where that is not what the source says: the first ones left after 30 to 320 µs on
	// 6.18, which is not explained, and the timer is late on a busy machine, which no packet shows. It is played only to learn whether it would
	// matter.
	held time.Duration
	// leaves is how long after the one before each segment of the burst leaves.
	leaves time.Duration
	// read: the program has read all before a needless repeat comes, so what answers that has another window.
	read bool
	// reads is how long after the last segment it has, on a link on which needless repeats come apart.
	reads time.Duration
}

// mostGrown is for how many segments the window of a fresh connection grows at most: its room is some kilobytes (tcp_rcvbuf_grow, tcp_space), and
// a segment adds two of its own length or more. On a TAP device of 6.18 it was three.
const mostGrown = 3

// variants are all choices but the usual one, those with one difference first.
func variants() []variant {
	var out []variant
	for n := 1; n <= 4; n++ {
		for bits := 1; bits < 16; bits++ {
			v := variant{merged: bits&1 != 0, fast: bits&2 != 0, thrifty: bits&4 != 0, read: bits&8 != 0}
			if len(v.reasons()) != n {
				continue
			}
			if v.thrifty {
				for v.grown = mostGrown; v.grown > 0; v.grown-- { // of two that look the same, the one with more acknowledgements
					out = append(out, v)
				}
			}
			out = append(out, v)
		}
	}
	return out
}

// slowest is what a segment of a burst costs its sender at most: 5 µs on a host, 165 µs on a guest's processor, at 4 ns for an instruction.
const slowest = 165 * time.Microsecond

// variantsApart are those of a link on which segments come apart.
func variantsApart() []variant {
	var out []variant
	add := func(v variant) {
		if v != (variant{}) {
			out = append(out, v)
		}
	}
	for _, leaves := range []time.Duration{0, slowest / 2, slowest} {
		for grown := mostGrown; grown >= -1; grown-- { // -1: not exact, but an answer to each segment, some of which may be left out
			for _, fast := range []bool{false, true} {
				v := variant{exact: grown >= 0, grown: max(grown, 0), fast: fast, leaves: leaves}
				add(v)
				v.read = true
				for v.reads = 0; v.reads <= wakeWithin; v.reads += wakeWithin / 4 {
					add(v)
				}
			}
		}
	}
	for _, v := range slices.Clone(out) { // last, so that what an alternative has leaves nothing open
		if v.exact && !v.read {
			for _, v.held = range []time.Duration{heldSoon, heldLate} {
				add(v)
			}
		}
	}
	return out
}

const (
	heldSoon = 100 * time.Microsecond
	heldLate = 3 * time.Millisecond
)

func (v variant) why() string { return strings.Join(v.reasons(), "; ") }

func (v variant) reasons() []string {
	var s []string
	if v.merged {
		s = append(s, "the receiver merges the SACKs after the third one (tcp_comp_sack_delay_ns)")
	}
	if v.exact {
		s = append(s, fmt.Sprintf("the receiver's window grows for %d segments, and it holds SACKs back for a millisecond where it need not answer at once (tcp_grow_window, tcp_comp_sack_delay_ns)", v.grown))
	}
	if v.leaves > 0 {
		s = append(s, fmt.Sprintf("the segments of the burst leave one %v after the other", v.leaves))
	}
	if v.fast {
		s = append(s, "the retransmission is acknowledged faster than any segment before, so RACK takes it for needless and learns nothing from it (tcp_rack_advance)")
	}
	if v.thrifty {
		s = append(s, fmt.Sprintf("the receiver's window grows no more, so after %d acknowledgements it acknowledges every second segment, or one alone after 40 ms (tcp_grow_window)", maxQuickACKs+v.grown))
	}
	if v.read {
		s = append(s, "the receiver's program has read everything before the needless repeat arrives, so the answer to that has a larger window")
	}
	return s
}

// shape is what is sent under a variant, with rough times: two variants of one shape are the same timeline. undone: the sender took a
// recovery back while something was missing still.
func (r Recovery) shape(f kernel.Facts, v variant) (s string, undone bool) {
	b := playedBurst(r, &world{facts: f, tick: f.Jiffy().Nanoseconds(), jiffies: 1 << 40}, v)
	for _, h := range b.out {
		if h.Host == r.Host || !h.Maybe {
			s += fmt.Sprintln(h.What, h.N, h.RelSeq, h.nominalMS())
		}
	}
	return s, b.undone
}

// nominalMS is the nominal time, coarse enough that a held-back SACK does not change it.
func (h happening) nominalMS() int64 { return int64(h.At / (2 * time.Millisecond)) }

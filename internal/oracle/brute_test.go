package oracle

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// bruteWheel is the kernel's wheel as it stands in memory: buckets, and a clock that ticks through them one jiffy at a time. It
// shares no code with wheel.go.
type bruteWheel struct {
	clk     uint64 // base->clk
	buckets [9][64]bool
}

func (w *bruteWheel) add(expires uint64) {
	delta, level := expires-w.clk, 0
	for start := uint64(63); delta >= start; start *= 8 {
		level++
	}
	gran := uint64(1)
	for range level {
		gran *= 8
	}
	w.buckets[level][(expires+gran)/gran%64] = true
}

// next ticks until the one timer fires, and returns the jiffy in which it does. The clock then stands one ahead (__run_timers).
func (w *bruteWheel) next() uint64 {
	for {
		clk := w.clk
		w.clk++
		at := clk
		for level := range w.buckets {
			if b := &w.buckets[level][at%64]; *b {
				*b = false
				return clk
			}
			if at%8 != 0 {
				break
			}
			at /= 8
		}
	}
}

// bruteSocket is a socket in SYN-SENT, with clocks in milliseconds as the kernel reads them.
type bruteSocket struct {
	c       Connect
	f       kernel.Facts
	startNS int64 // CLOCK_MONOTONIC of the first SYN
	edgeNS  int64 // and of the beginning of its jiffy
	ahead   bool  // the wheel's clock is one jiffy ahead when the first SYN is sent
}

// run returns the jiffies, since the first SYN's, of each retransmission, and of the end.
func (s bruteSocket) run(j uint64) (fires []int64, end int64) {
	hz, tick := int64(s.f.HZ), s.f.Jiffy().Nanoseconds()
	wheel := &bruteWheel{clk: j}
	if s.ahead {
		wheel.clk++
	}
	stamp, retransmits, backoffs, rto := s.startNS/1e6, 0, 0, hz
	wheel.add(j + uint64(rto))
	limit := (int64(1)<<(s.c.SYNRetries+1) - 1) * 1000
	if ut := s.c.UserTimeout.Milliseconds(); ut > 0 && s.f.UserTimeout == kernel.UserTimeoutEnds {
		limit = ut
	}
	for {
		jiffies := wheel.next()
		now := (s.edgeNS + int64(jiffies-j)*tick) / 1e6
		expired := retransmits >= s.c.SYNRetries+s.c.LinearTimeouts
		if s.f.SYNExpiry == kernel.ExpireByCountOrTime && retransmits > 0 && now-stamp >= limit {
			expired = true
		}
		if expired {
			return fires, int64(jiffies - j)
		}
		fires = append(fires, int64(jiffies-j))
		retransmits++
		if retransmits > s.c.LinearTimeouts {
			backoffs++
			rto = hz << backoffs
		}
		when := rto
		if ut := s.c.UserTimeout.Milliseconds(); ut > 0 && s.f.UserTimeout != kernel.UserTimeoutIgnored {
			left := ut - (now - stamp)
			when = 1
			if left > 0 {
				when = min(rto, (left*hz+999)/1000)
			}
		}
		wheel.add(jiffies + uint64(when))
	}
}

// bruteCase is a set of parameters and the start phases to try.
type bruteCase struct {
	name         string
	major, minor int
	hz           int
	c            Connect
	phases       uint64
}

func bruteCases() []bruteCase {
	ms := time.Millisecond
	return []bruteCase{
		{"HZ=250 R=2", 6, 18, 250, Connect{SYNRetries: 2}, 64},
		{"HZ=250 R=4 L=4", 6, 18, 250, Connect{SYNRetries: 4, LinearTimeouts: 4}, 512},
		{"HZ=100 R=4", 6, 18, 100, Connect{SYNRetries: 4}, 512},
		{"HZ=1000 R=2 L=4", 6, 18, 1000, Connect{SYNRetries: 2, LinearTimeouts: 4}, 512},
		{"HZ=300 R=2", 5, 15, 300, Connect{SYNRetries: 2}, 64},
		{"HZ=250 UT=2500", 6, 18, 250, Connect{SYNRetries: 6, LinearTimeouts: 4, UserTimeout: 2500 * ms}, 64},
		{"HZ=1000 UT=3333", 6, 18, 1000, Connect{SYNRetries: 6, UserTimeout: 3333 * ms}, 512},
		{"HZ=300 UT=1700", 6, 18, 300, Connect{SYNRetries: 6, LinearTimeouts: 4, UserTimeout: 1700 * ms}, 64},
		{"HZ=250 UT=1021: on a threshold", 6, 18, 250, Connect{SYNRetries: 6, UserTimeout: 1021 * ms}, 64},
		{"HZ=250 UT burst", 4, 19, 250, Connect{SYNRetries: 6, UserTimeout: 2500 * ms}, 64},
		{"HZ=504: on a level's edge", 6, 18, 504, Connect{SYNRetries: 2}, 512},
	}
}

// TestBruteForce steps every start phase through a wheel of buckets. It catches a closed form that is not the wheel, a phase that
// the window leaves out, and a window with an end that no phase reaches.
func TestBruteForce(t *testing.T) {
	for _, tt := range bruteCases() {
		t.Run(tt.name, func(t *testing.T) {
			f := facts(t, tt.major, tt.minor, tt.hz)
			free := predict(t, tt.c, f, nil)
			tick := f.Jiffy().Nanoseconds()
			phases, near := brutePhases(tick)
			reached := map[int]*[2]time.Duration{} // by retransmission, 0 for the end
			for j := range tt.phases {
				for _, phase := range phases {
					for _, g := range []int64{0, 1, 500_000, 999_999} {
						for _, ahead := range []bool{false, true} {
							start := int64(1e12) + g
							s := bruteSocket{c: tt.c, f: f, startNS: start, edgeNS: start - phase, ahead: ahead}
							fires, end := s.run(j + 1<<32)
							checkBrute(t, free, predict(t, tt.c, f, &Start{Jiffies: j + 1<<32, Phase: time.Duration(phase)}), fires, end, tick, phase, reached)
							if t.Failed() {
								t.Fatalf("start: jiffy %d + %d ns, %d ns into a millisecond", j, phase, g)
							}
						}
					}
				}
			}
			checkTight(t, free, reached, near)
		})
	}
}

// brutePhases returns places in the first jiffy, and how near they come to every place where a time test changes: both sides of
// each millisecond where ticks are whole milliseconds, steps of a fortieth where they are not.
func brutePhases(tick int64) (phases []int64, near time.Duration) {
	phases = []int64{0, 1, tick - 1}
	if tick%1e6 == 0 {
		for ms := int64(1e6); ms < min(tick, 5e6); ms += 1e6 {
			phases = append(phases, ms-1, ms)
		}
		return phases, 2
	}
	for i := range int64(40) {
		phases = append(phases, i*tick/40)
	}
	return phases, time.Duration(tick / 40)
}

// checkBrute compares one run of the brute force with the prediction for its start and with the window over all starts.
func checkBrute(t *testing.T, free, known timeline.Timeline, fires []int64, end, tick, phase int64, reached map[int]*[2]time.Duration) {
	t.Helper()
	check := func(n int, jiffies int64, free, known timeline.Event) {
		t.Helper()
		at := time.Duration(jiffies*tick - phase)
		if jiffies < known.Tick || at < known.Earliest || at > known.Latest {
			t.Errorf("%s %d: got jiffy %d, %v..%v, want jiffy %d, %v", known.What, n, known.Tick, known.Earliest, known.Latest, jiffies, at)
		}
		if known.Earliest == known.Latest && known.Tick != jiffies {
			t.Errorf("%s %d: got jiffy %d, want %d", known.What, n, known.Tick, jiffies)
		}
		if at < free.Earliest || at > free.Latest {
			t.Errorf("%s %d: got window %v..%v, want it to hold %v", free.What, n, free.Earliest, free.Latest, at)
		}
		r := reached[n]
		if r == nil {
			r = &[2]time.Duration{at, at}
			reached[n] = r
		}
		r[0], r[1] = min(r[0], at), max(r[1], at)
	}
	sure := 0
	for _, e := range known.Events[1:] {
		if !e.Maybe {
			sure++
		}
	}
	if len(fires) < sure || len(fires) > len(known.Events)-1 || len(fires) > len(free.Events)-1 {
		t.Errorf("got %d to %d retransmissions, want %d", sure, len(known.Events)-1, len(fires))
		return
	}
	for i, jiffies := range fires {
		check(i+1, jiffies, free.Events[i+1], known.Events[i+1])
	}
	check(0, end, *free.Outcome, *known.Outcome)
}

// checkTight checks that both ends of each window were reached. The early end is open: a phase of a whole jiffy is a limit.
func checkTight(t *testing.T, free timeline.Timeline, reached map[int]*[2]time.Duration, near time.Duration) {
	t.Helper()
	for _, e := range append(free.Events[1:], *free.Outcome) {
		n := e.N
		r := reached[n]
		if r == nil {
			t.Errorf("%s %d: got a window, want none: no phase reaches it", e.What, n)
			continue
		}
		if r[0]-e.Earliest > near || e.Latest-r[1] > near {
			t.Errorf("%s %d: got window %v..%v, want %v..%v", e.What, n, e.Earliest, e.Latest, r[0], r[1])
		}
	}
}

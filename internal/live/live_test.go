package live

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// A fake is a clock that the test moves.
type fake struct{ at time.Duration }

func (f *fake) now() time.Time         { return time.Unix(1_000_000, 0).Add(f.at) }
func (f *fake) elapsed() time.Duration { return f.at }

// waiting is a run between its second and its third SYN.
func waiting(f *fake) Status {
	return Status{
		Next: "SYN again 2", NextAt: 3000 * ms, NextLatest: 3036 * ms, Elapsed: f.elapsed,
		KernelTimer: "retransmit", KernelExpires: 1480 * ms, KernelSampled: 1500 * ms, RTO: 2000 * ms, Backoff: 1,
		ClientState: "SYN-SENT", ServerState: "LISTEN", Done: 2, Total: 4, Ends: 7360 * ms,
	}
}

func check(t *testing.T, s *screen, want ...string) {
	t.Helper()
	if diff := cmp.Diff(strings.Join(want, "\n"), s.text()); diff != "" {
		t.Fatalf("screen (-want +got):\n%s", diff)
	}
}

// Catches a countdown that counts to the wrong end of the window, or a kernel timer that stands still between samples.
func TestStatusLines(t *testing.T) {
	with := func(f func(*Status)) func(*fake) Status {
		return func(c *fake) Status { s := waiting(c); f(&s); return s }
	}
	states := "state   client SYN-SENT · server LISTEN"
	for _, tc := range []struct {
		name string
		at   time.Duration
		make func(*fake) Status
		want []string
	}{
		{"before", 1600 * ms, waiting, []string{"next    SYN again 2 expected at 3.000 … 3.036 s   in 1.4 s",
			"kernel  retransmit timer fires in 1.38 s · rto 2.000 s · backoff 1", states, "run     2 of 4 events · 1.6 s of at most 7.4 s"}},
		{"in the window", 3010 * ms, waiting, []string{"next    SYN again 2 expected at 3.000 … 3.036 s   due now",
			"kernel  retransmit timer is due · rto 2.000 s · backoff 1", states, "run     2 of 4 events · 3.0 s of at most 7.4 s"}},
		{"too late", 3536 * ms, waiting, []string{"next    SYN again 2 expected at 3.000 … 3.036 s   overdue by 0.5 s",
			"kernel  retransmit timer is due · rto 2.000 s · backoff 1", states, "run     2 of 4 events · 3.5 s of at most 7.4 s"}},
		{"before the first packet", 0, with(func(s *Status) { s.Elapsed, s.KernelTimer, s.Total, s.Ends = nil, "", 0, 0 }),
			[]string{"next    SYN again 2 expected at 3.000 … 3.036 s", states}},
		{"one time, no window", 0, with(func(s *Status) { *s = Status{Next: "SYN", NextAt: 0, Elapsed: s.Elapsed} }),
			[]string{"next    SYN expected at 0.000 s   due now", "run     0.0 s"}},
		{"far away", 0, with(func(s *Status) {
			*s = Status{Next: "probe", NextAt: 7200 * time.Second, NextLatest: 7331 * time.Second, Elapsed: s.Elapsed}
		}),
			[]string{"next    probe expected at 7200.000 … 7331.000 s   in 120 min 0 s", "run     0.0 s"}},
		{"nothing", 0, func(*fake) Status { return Status{} }, nil},
		{"hostile", 0, func(*fake) Status { return Status{ClientState: "\x1b[2JX\nY"} }, []string{`state   client \x1b[2JX Y`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.make(&fake{at: tc.at}).lines(false, false)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

// Catches colour or ASCII mode that changes what the lines say, and 8-bit signs in ASCII mode.
func TestStatusStyles(t *testing.T) {
	f := &fake{at: 3536 * ms}
	plain := waiting(f).lines(false, false)
	for i, l := range waiting(f).lines(false, true) {
		if got := ansi.Strip(l); got != plain[i] || got == l {
			t.Errorf("colour: got %q, want %q with colour", l, plain[i])
		}
	}
	got := strings.Join(waiting(f).lines(true, false), "\n")
	want := strings.NewReplacer("…", "...", "·", "-").Replace(strings.Join(plain, "\n"))
	if got != want {
		t.Errorf("ASCII: got %q, want %q", got, want)
	}
}

// Catches a region that is printed into the permanent lines, or that stays after Close.
func TestRegionAndPermanentLines(t *testing.T) {
	f := &fake{at: 1600 * ms}
	s := newScreen(t, 80, 24)
	r := prepare(s, Options{TTY: true, Width: func() int { return 80 }, Now: f.now})
	r.Line("first")
	check(t, s, "first")
	if s.hides != 0 {
		t.Errorf("cursor hidden: got %d times before there is a region, want 0", s.hides)
	}
	r.Set(waiting(f))
	region := waiting(f).lines(false, false)
	check(t, s, append([]string{"first"}, region...)...)
	r.Line("second\nthird\n")
	check(t, s, append([]string{"first", "second", "third"}, region...)...)
	f.at = 2600 * ms
	r.tick()
	check(t, s, append([]string{"first", "second", "third"}, waiting(f).lines(false, false)...)...)
	r.Set(Status{Next: "x", NextAt: 5000 * ms})
	check(t, s, "first", "second", "third", "next    x expected at 5.000 s")
	r.Set(Status{})
	check(t, s, "first", "second", "third")
	r.Set(waiting(f))
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close: got error %v, want none", err)
		}
	}
	check(t, s, "first", "second", "third")
	r.Line("after Close")
	r.Set(waiting(f))
	r.tick()
	check(t, s, "first", "second", "third", "after Close")
	if s.hidden || s.hides != 1 || s.shows != 1 || s.nowrap || s.styled {
		t.Errorf("terminal after Close: got hidden %t, %d hides, %d shows, nowrap %t, styled %t; want shown once, wrapping, unstyled", s.hidden, s.hides, s.shows, s.nowrap, s.styled)
	}
}

// Catches debris: a random run of lines, redraws and resizes, on terminals that crop and on terminals that wrap anew, with a screen so
// low that it scrolls. After every step the screen must be the permanent lines and the region, and nothing else.
func TestNoDebris(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		f := &fake{}
		reflow, height := seed%2 == 0, 3+rnd.IntN(8)
		if reflow {
			height += 12 // room for the region when it is wrapped anew at a third of its width: see the Region's comment
		}
		s := newScreen(t, 80, height)
		r := prepare(s, Options{TTY: true, Color: seed%3 == 0, ASCII: seed%4 == 0, Width: func() int { return s.w }, Height: func() int { return s.h }, Now: f.now})
		var want []string
		for step := range 150 {
			f.at += time.Duration(rnd.IntN(400)) * ms
			switch op := rnd.IntN(10); {
			case op < 3:
				l := fmt.Sprintf("line %d", step)
				want = append(want, l)
				r.Line("\x1b[32m" + l + "\x1b[m")
			case op < 5:
				st := waiting(f)
				if rnd.IntN(2) == 0 {
					st.KernelTimer = ""
				}
				r.Set(st)
			case op < 6:
				r.Set(Status{})
			case op < 8:
				s.resize(30+rnd.IntN(70), reflow)
				r.tick()
			default:
				r.tick()
			}
			shown := strings.Join(append(append([]string{}, want...), r.lines()...), "\n")
			if got := s.text(); got != strings.TrimRight(ansi.Strip(shown), "\n") {
				t.Fatalf("seed %d, step %d: got screen\n%s\nwant\n%s", seed, step, got, ansi.Strip(shown))
			}
			if s.overflow {
				t.Fatalf("seed %d, step %d: a line of the region ran past the right edge", seed, step)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, s, want...)
		if s.hidden || s.hides != s.shows {
			t.Errorf("seed %d: cursor: got %d hides and %d shows, want as many", seed, s.hides, s.shows)
		}
	}
}

// Catches a line that is broken into two rows because the window became narrower after its width was asked.
func TestNarrowerMeanwhile(t *testing.T) {
	f := &fake{at: 1600 * ms}
	s := newScreen(t, 40, 24)
	r := prepare(s, Options{TTY: true, Width: func() int { return 80 }, Now: f.now})
	r.Line("first")
	r.Set(waiting(f))
	if got, want := len(strings.Split(s.text(), "\n")), 5; got != want {
		t.Errorf("rows: got %d, want %d", got, want)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, s, "first")
}

// Catches a Close that returns before its goroutine has ended.
func TestCloseWaits(t *testing.T) {
	for range 200 {
		if err := New(new(bytes.Buffer), Options{}).Close(); err != nil {
			t.Fatal(err)
		}
		// A goroutine that has told its WaitGroup needs a moment to leave (runtime.goexit1), and then it is gone.
		stacks, gone := make([]byte, 1<<16), time.Now().Add(10*time.Second)
		for {
			all := stacks[:runtime.Stack(stacks, true)]
			if !bytes.Contains(all, []byte("sync.(*WaitGroup).Go")) {
				break
			}
			if time.Now().After(gone) {
				t.Fatalf("after Close: got a goroutine of New, want none:\n%s", all)
			}
			runtime.Gosched()
		}
	}
}

// Catches a region that fills more than its share: at most six lines, less on a low screen, and never the last column.
func TestSize(t *testing.T) {
	for _, tc := range []struct {
		name          string
		width, height int
		want          []string
	}{
		{"width 40", 40, 24, []string{"next    SYN again 2 expected at 3.000 …", "kernel  retransmit timer fires in 1.38…", "state   client SYN-SENT · server LISTEN", "run     2 of 4 events · 1.6 s of at mo…"}},
		{"three rows", 80, 3, []string{"next    SYN again 2 expected at 3.000 … 3.036 s   in 1.4 s", "kernel  retransmit timer fires in 1.38 s · rto 2.000 s · backoff 1"}},
		{"one row", 80, 1, []string{"next    SYN again 2 expected at 3.000 … 3.036 s   in 1.4 s"}},
		{"size unknown", 0, 0, waiting(&fake{at: 1600 * ms}).lines(false, false)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fake{at: 1600 * ms}
			r := prepare(new(bytes.Buffer), Options{TTY: true, Width: func() int { return tc.width }, Height: func() int { return tc.height }, Now: f.now})
			r.status = waiting(f)
			if diff := cmp.Diff(tc.want, r.lines()); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

// Catches escape codes in a log file, a heartbeat that comes too often or never, and one that talks while lines come anyway.
func TestOffTTY(t *testing.T) {
	f := &fake{}
	var b bytes.Buffer
	r := prepare(&b, Options{Color: true, Now: f.now})
	var want []string
	advance := func(d time.Duration) {
		for end := f.at + d; f.at < end; f.at += 100 * ms {
			r.tick()
		}
	}
	r.Line("\x1b[32mok\x1b[m\x1b[2J\rdone")
	want = append(want, `ok\x1b[2J\x0ddone`)
	advance(9900 * ms)
	r.Line("second")
	want = append(want, "second")
	advance(9 * time.Second) // 18.9 s, 9 s after the last line: silence
	st := waiting(f)
	st.Next, st.NextAt, st.NextLatest = "SYN again 5", 31*time.Second, 33*time.Second
	r.Set(st)
	advance(1100 * ms) // the heartbeat is due at 19.9 s
	want = append(want, "… still waiting: next SYN again 5 at 31.000 s, in 11 s")
	advance(12 * time.Second) // at 29.9 s
	want = append(want, "… still waiting: next SYN again 5 at 31.000 s, in 1 s")
	advance(18 * time.Second) // at 39.9 and 49.9 s
	want = append(want, "… still waiting: next SYN again 5 at 31.000 s, overdue by 7 s", "… still waiting: next SYN again 5 at 31.000 s, overdue by 17 s")
	r.Set(Status{Elapsed: f.elapsed})
	advance(10 * time.Second) // at 59.9 s
	want = append(want, "… still running, 60 s since the first packet")
	r.Set(Status{})
	advance(11 * time.Second) // nothing to say
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	advance(11 * time.Second)
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", b.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("got an escape code off a terminal: %q", b.String())
	}
}

// Catches 8-bit signs in the heartbeat of an ASCII log.
func TestHeartbeatASCII(t *testing.T) {
	f := &fake{at: 19 * time.Second}
	got := Status{Next: "SYN again 5", NextAt: 31 * time.Second, NextLatest: 33 * time.Second, Elapsed: f.elapsed}.heartbeat(true)
	if want := "... still waiting: next SYN again 5 at 31.000 s, in 12 s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Catches a code that gets through because it sits next to a colour, and a colour that leaks into the next line.
func TestSafe(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		colors   bool
		want     string
	}{
		{"plain", "SYN ──►✗ server", true, "SYN ──►✗ server"},
		{"colour kept and ended", "\x1b[1;31m✗", true, "\x1b[1;31m✗\x1b[m"},
		{"colour removed", "\x1b[1;31m✗\x1b[m", false, "✗"},
		{"cursor", "\x1b[31m\x1b[2Aup", true, "\x1b[31m" + `\x1b[2Aup` + "\x1b[m"},
		{"title", "\x1b]0;x\a", true, `\x1b]0;x\x07`},
		{"a code made of two", "\x1b\x1b[m[2J", false, `\x1b[2J`},
		{"C1, bidi, broken", "\u009b2J\u202e\xff", true, `\x9b2J\u202e\xff`},
	} {
		if got := safe(tc.in, tc.colors); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

type failing struct{ writes int }

var errGone = errors.New("terminal is gone")

func (w *failing) Write([]byte) (int, error) { w.writes++; return 0, errGone }

// Catches an error that is swallowed, and a region that hammers a terminal that is gone.
func TestWriteError(t *testing.T) {
	f := &fake{}
	w := &failing{}
	r := prepare(w, Options{TTY: true, Now: f.now})
	r.Set(waiting(f))
	for range 5 {
		f.at += time.Second
		r.tick()
		r.Line("x")
	}
	if w.writes != 1 {
		t.Errorf("writes after an error: got %d, want 1", w.writes)
	}
	if err := r.Close(); !errors.Is(err, errGone) {
		t.Errorf("Close: got error %v, want %v", err, errGone)
	}
	if w.writes != 2 {
		t.Errorf("Close: got %d writes, want one more try to show the cursor", w.writes-1)
	}
}

// Catches lines that are torn or out of order when many goroutines print, and a Close that does not wait (run it with -race).
func TestConcurrent(t *testing.T) {
	s := newScreen(t, 80, 10)
	r := New(s, Options{TTY: true, Width: func() int { return 80 }})
	start := time.Now()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				r.Line(fmt.Sprintf("%d %d", g, i))
				r.Set(Status{Next: "x", Elapsed: func() time.Duration { return time.Since(start) }})
			}
		})
	}
	wg.Wait()
	for range 3 {
		wg.Go(func() {
			if err := r.Close(); err != nil {
				t.Errorf("Close: got error %v, want none", err)
			}
		})
	}
	wg.Wait()
	lines := strings.Split(s.text(), "\n")
	if len(lines) != 200 {
		t.Fatalf("lines: got %d, want 200", len(lines))
	}
	next := map[string]int{}
	for _, l := range lines {
		g, i, _ := strings.Cut(l, " ")
		if i != fmt.Sprint(next[g]) {
			t.Fatalf("goroutine %s: got line %q, want number %d", g, l, next[g])
		}
		next[g]++
	}
}

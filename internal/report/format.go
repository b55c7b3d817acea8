package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// seconds prints an offset as the tables do: "1.004 s".
func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// window prints a range of offsets: "1.000 … 1.036 s".
func window(lo, hi time.Duration) string {
	return fmt.Sprintf("%.3f … %s", lo.Seconds(), seconds(hi))
}

// small prints a short duration without a sign in the unit that suits it: "52 µs", "4 ms", "2.385 s".
func small(d time.Duration) string {
	if d < 0 {
		d = -d
	}
	switch {
	case d < time.Microsecond && d > 0:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d.Round(time.Microsecond) < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Round(time.Microsecond).Microseconds())
	case d.Round(time.Millisecond) < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	default:
		return seconds(d)
	}
}

// signed prints a deviation: "+4 ms", "-312 µs".
func signed(d time.Duration) string {
	if d < 0 {
		return "-" + small(d)
	}
	return "+" + small(d)
}

// about prints how long something takes: "7 s", "15 min 25 s", "2 h 11 min".
func about(d time.Duration) string {
	s := max(1, int64(math.Round(d.Seconds())))
	switch {
	case s < 120:
		return fmt.Sprintf("%d s", s)
	case s < 2*3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	default:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
}

// count prints "1 packet" or "3 packets".
func count[N int | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// soonest is the first instant at which an event may come. On a kernel before 4.8 that can be a moment before its nominal time.
func soonest(e result.Event) result.Seconds {
	if e.Earliest == 0 {
		return e.At
	}
	return e.Earliest
}

// repeats reports whether the N of a kind counts repetitions of one thing, so that "1 of 2" makes sense.
func repeats(what string) bool {
	w := timeline.What(what)
	return w.Again() || w == timeline.KeepaliveProbe || w == timeline.WindowProbe || w == timeline.DuplicateACK
}

// EventName is the short name of an event: "SYN", "SYN again 2", "connect() = ETIMEDOUT". It is not safe to print on a terminal
// where the event comes from outside: print it through the functions of this package, or clean it.
func EventName(e result.Event) string {
	name := timeline.What(e.What).Words()
	switch {
	case e.What == string(timeline.ConnectError) && e.Errno != "":
		name = "connect() = " + e.Errno
	case e.What == string(timeline.SocketError) && e.Errno != "":
		name = "read() = " + e.Errno
	case e.What == string(timeline.SendRefused) && e.Errno != "":
		name = "sendto() = " + e.Errno
	case e.What == string(timeline.Connected):
		name = "connect() = 0"
	case e.What == string(timeline.EndOfStream):
		name = "read() = 0, the peer has closed"
	case e.What == string(timeline.Quiet):
		name = "read() still waits, nothing came"
	case e.N > 0:
		name = fmt.Sprintf("%s %d", name, e.N)
	}
	if e.Port > 0 {
		name += fmt.Sprintf(" (:%d)", e.Port)
	}
	return name
}

// verdictWord is the word of the last line.
func verdictWord(v result.Verdict) string { return strings.ToUpper(string(v)) }

// verdictCell is the word in a table, where a pass should not shout.
func verdictCell(v result.Verdict) string {
	switch v {
	case result.Pass:
		return "ok"
	case result.Fail:
		return "FAIL"
	}
	return string(v)
}

// knob is a sysctl without the prefix that they all share.
func knob(name string) string { return strings.TrimPrefix(name, "net.ipv4.") }

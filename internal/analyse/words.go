package analyse

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

func opposite(host string) string {
	if host == Client {
		return Server
	}
	return Client
}

func (f *flow) addr(host string) netip.AddrPort {
	if host == Client {
		return f.c.Client
	}
	return f.c.Server
}

// again says how often something was repeated, and when: " and repeated it 3 times, after 1.0, 2.0 and 4.0 s".
func again(n int, verb string, gaps []time.Duration) string {
	if n == 0 {
		return ""
	}
	s := fmt.Sprintf(" and %s %s", verb, times(n))
	if len(gaps) == 0 {
		return s
	}
	shown := gaps[:min(len(gaps), 8)]
	parts := make([]string, len(shown))
	for i, g := range shown {
		parts[i] = short(g)
	}
	if len(gaps) > len(shown) {
		return s + ", after " + strings.Join(parts, ", ") + " …"
	}
	if len(parts) == 1 {
		return s + ", after " + parts[0]
	}
	return s + ", after " + strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// until says how long the silence after the last packet is known to have lasted.
func until(now, last time.Time) string {
	if d := now.Sub(last); d >= time.Millisecond {
		return fmt.Sprintf(", not even in the %s until the capture ends", short(d))
	}
	return " until the capture ends"
}

func times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func countOf(n int, noun string) string { return fmt.Sprintf("%d %s", n, plural(noun, n)) }

// plural is a noun in the form that a number wants; what is no noun stays.
func plural(noun string, n int) string {
	if n == 1 || strings.HasPrefix(noun, "by ") || strings.HasPrefix(noun, "for ") {
		return noun
	}
	return noun + "s"
}

func first(gaps []time.Duration) time.Duration {
	if len(gaps) == 0 {
		return 0
	}
	return gaps[0]
}

// short is a time for people: "41 ms", "1.02 s", "2 h 11 min".
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + short(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func bytesText(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

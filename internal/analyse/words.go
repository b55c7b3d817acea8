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

// waits lists the times before repeats: "1.02 s, 2.05 s, 4.1 s".
func waits(gaps []time.Duration) string {
	const most = 8
	parts := make([]string, 0, most+1)
	for i, g := range gaps {
		if i == most {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, short(g))
	}
	return strings.Join(parts, ", ")
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

package setting

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// seconds writes a time as people say it: "50 µs", "204 ms", "6.2 s", "924.6 s (15 min 24.6 s)".
func seconds(d time.Duration) string {
	switch {
	case d > 0 && d < time.Millisecond:
		return trimmed(float64(d)/float64(time.Microsecond), 1) + " µs"
	case d < time.Second:
		return trimmed(float64(d)/float64(time.Millisecond), 3) + " ms"
	}
	s := trimmed(d.Seconds(), 3) + " s"
	if d <= 2*time.Minute {
		return s
	}
	return s + " (" + clock(d) + ")"
}

// clock writes a long time in hours, minutes and seconds: "2 h 11 min 15 s".
func clock(d time.Duration) string {
	var parts []string
	if h := d / time.Hour; h > 0 {
		parts = append(parts, fmt.Sprintf("%d h", h))
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		parts = append(parts, fmt.Sprintf("%d min", m))
	}
	if s := d % time.Minute; s > 0 {
		parts = append(parts, trimmed(s.Seconds(), 1)+" s")
	}
	return strings.Join(parts, " ")
}

// trimmed writes a number with at most that many decimals and no zeros at the end.
func trimmed(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// window writes when an event comes: "937.7 to 939.7 s", with as many decimals as tell the ends apart.
func window(b timeline.Bound) string {
	decimals := 1
	if b.Latest < 10*time.Second {
		decimals = 3
	} else if b.Latest-b.Earliest < time.Second {
		decimals = 2
	}
	lo, hi := strconv.FormatFloat(b.Earliest.Seconds(), 'f', decimals, 64), strconv.FormatFloat(b.Latest.Seconds(), 'f', decimals, 64)
	if lo == hi {
		return lo + " s"
	}
	return lo + " to " + hi + " s"
}

// plural writes "1 probe", "3 probes", "no probes".
func plural(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// times writes "once", "twice", "5 times".
func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// quantity writes a number with its unit: "300 segments", "1 ms".
func quantity(n int64, unit string) string { return fmt.Sprintf("%d %s", n, unit) }

// count is how many events of a kind a timeline has: all, and those that always come.
func count(t timeline.Timeline, w timeline.What) (most, least int) {
	for _, e := range t.Events {
		if e.What == w {
			most++
			if !e.Maybe {
				least++
			}
		}
	}
	return most, least
}

// counted writes how many events of a kind come: "15 repeats", "4 or 5 repeats".
func counted(t timeline.Timeline, w timeline.What, noun string) string {
	most, least := count(t, w)
	if most == least {
		return plural(most, noun)
	}
	return fmt.Sprintf("%d or %s", least, plural(most, noun))
}

package live

import (
	"fmt"
	"strings"
	"time"
)

// Status is what a run is waiting for. The zero value shows nothing. Durations are offsets from the first packet of the experiment,
// unless said otherwise.
type Status struct {
	// Next names the awaited event ("SYN again 2"); empty where nothing is awaited.
	Next string
	// NextAt and NextLatest are the window in which it is expected.
	NextAt, NextLatest time.Duration
	// Elapsed returns the time since the first packet. It is called at every draw, with the Region locked: it must return at once and
	// call no method of the Region. nil where the first packet has not been sent: no countdown is shown.
	Elapsed func() time.Duration

	// KernelTimer is the timer that inet_diag showed ("retransmit"); empty for none.
	KernelTimer string
	// KernelExpires is how long the timer still had to run when it was looked at, which was at KernelSampled.
	KernelExpires, KernelSampled time.Duration
	// RTO and Backoff are icsk_rto and icsk_backoff; zero is not shown.
	RTO     time.Duration
	Backoff int

	// ClientState and ServerState are TCP states ("SYN-SENT"); empty is not shown.
	ClientState, ServerState string

	// Done of Total expected events have been seen; Total 0 is not shown.
	Done, Total int
	// Ends is when the last expected event is due at the latest; 0 is not shown.
	Ends time.Duration
}

// lines are the region's lines: what is next, the kernel's timer, both states, the progress.
func (s Status) lines(ascii, color bool) []string {
	var out []string
	add := func(label, text string, late bool) {
		if text == "" {
			return
		}
		label, text = fmt.Sprintf("%-6s  ", label), safe(text, false)
		if ascii {
			text = fold(text)
		}
		if color {
			label = "\x1b[2m" + label + "\x1b[m"
			if late {
				text = "\x1b[33m" + text + "\x1b[m"
			}
		}
		out = append(out, label+text)
	}
	next, late := s.next()
	add("next", next, late)
	add("kernel", s.kernel(), false)
	add("state", s.states(), false)
	add("run", s.progress(), false)
	return out
}

// next says what is awaited, and whether its window is over.
func (s Status) next() (text string, late bool) {
	if s.Next == "" {
		return "", false
	}
	text = s.Next + " expected at " + window(s.NextAt, s.NextLatest)
	if s.Elapsed == nil {
		return text, false
	}
	switch now := s.Elapsed(); {
	case now < s.NextAt:
		return text + "   in " + rough(s.NextAt-now), false
	case now <= s.NextLatest:
		return text + "   due now", false
	default:
		return text + "   overdue by " + rough(now-s.NextLatest), true
	}
}

func (s Status) kernel() string {
	if s.KernelTimer == "" {
		return ""
	}
	left := s.KernelExpires
	if s.Elapsed != nil {
		left -= s.Elapsed() - s.KernelSampled
	}
	text := s.KernelTimer + " timer is due"
	if left > 0 {
		text = fmt.Sprintf("%s timer fires in %.2f s", s.KernelTimer, left.Seconds())
	}
	if s.RTO > 0 {
		text += fmt.Sprintf(" · rto %.3f s", s.RTO.Seconds())
	}
	if s.Backoff > 0 {
		text += fmt.Sprintf(" · backoff %d", s.Backoff)
	}
	return text
}

func (s Status) states() string {
	var parts []string
	if s.ClientState != "" {
		parts = append(parts, "client "+s.ClientState)
	}
	if s.ServerState != "" {
		parts = append(parts, "server "+s.ServerState)
	}
	return strings.Join(parts, " · ")
}

func (s Status) progress() string {
	var parts []string
	if s.Total > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d events", s.Done, s.Total))
	}
	if s.Elapsed != nil {
		at := rough(max(s.Elapsed(), 0))
		if s.Ends > 0 {
			at += " of at most " + rough(s.Ends)
		}
		parts = append(parts, at)
	}
	return strings.Join(parts, " · ")
}

// heartbeat is the line that says, off a terminal, that the run is alive; empty where there is nothing to say.
func (s Status) heartbeat(ascii bool) string {
	text := ""
	switch {
	case s.Next != "" && s.Elapsed == nil:
		text = "… still waiting: next " + s.Next + " at " + seconds(s.NextAt)
	case s.Next != "":
		text = "… still waiting: next " + s.Next + " at " + seconds(s.NextAt)
		switch now := s.Elapsed(); {
		case now < s.NextAt:
			text += ", in " + whole(s.NextAt-now)
		case now <= s.NextLatest:
			text += ", due now"
		default:
			text += ", overdue by " + whole(now-s.NextLatest)
		}
	case s.Elapsed != nil:
		text = "… still running, " + whole(max(s.Elapsed(), 0)) + " since the first packet"
	default:
		return ""
	}
	text = safe(text, false)
	if ascii {
		text = fold(text)
	}
	return text
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// window prints "3.000 … 3.036 s", or one time where there is no window.
func window(from, to time.Duration) string {
	if to <= from {
		return seconds(from)
	}
	return fmt.Sprintf("%.3f … %s", from.Seconds(), seconds(to))
}

// rough prints a countdown: tenths of a second, and minutes where there are many.
func rough(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return whole(d)
}

// whole prints a duration to the second: "12 s", "14 min 3 s".
func whole(d time.Duration) string {
	n := int64(d.Round(time.Second) / time.Second)
	if n < 120 {
		return fmt.Sprintf("%d s", n)
	}
	return fmt.Sprintf("%d min %d s", n/60, n%60)
}

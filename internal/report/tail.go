package report

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
)

// Story writes "What happened" as one paragraph; nothing where the result tells no story.
func Story(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.story(r)
	return p.flush(w)
}

func (p *pen) story(r *result.Result) {
	if len(r.Story) == 0 {
		return
	}
	p.line(p.paint(bold, "What happened"))
	var all []string
	for _, s := range r.Story {
		all = append(all, s.Text)
	}
	p.para("  ", plain, strings.Join(all, " "))
}

// Notes writes what the reader should know that is not a check, each with the code that tcplab explain knows.
func Notes(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.notes(r)
	return p.flush(w)
}

func (p *pen) notes(r *result.Result) { p.noteList(r.Notes) }

func (p *pen) noteList(notes []result.Note) {
	if len(notes) == 0 {
		return
	}
	p.line(p.paint(bold, "Notes"))
	wide := 0
	for _, n := range notes {
		wide = max(wide, ansi.StringWidth(p.text(n.Code)))
	}
	wide = min(wide, 12)
	for _, n := range notes {
		first := "  "
		if wide > 0 {
			first += padRight(p.trim(p.text(n.Code), wide), wide) + "  "
		}
		p.para(first, plain, n.Text)
	}
}

// Evidence writes what the verdict stands on besides the packets: rule counters, what the captures hold and lost, whether the phase
// of jiffies was known, stalls, and a wall clock that moved.
func Evidence(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.evidence(r)
	return p.flush(w)
}

// mostStalls is how many stalls are listed one by one.
const mostStalls = 4

func (p *pen) evidence(r *result.Result) {
	var rules, captures, stalls [][2]string
	for _, x := range r.Rules {
		rules = append(rules, [2]string{fmt.Sprintf("%s %s %s caught %s, %s", x.Host, x.Tool(), chain(x), count(x.Packets, "packet"), count(x.Bytes, "byte")), ""})
	}
	for _, c := range r.Captures {
		captures = append(captures, [2]string{captureText(c), ""})
	}
	long := slices.DeleteFunc(slices.Clone(r.Stalls), func(s result.Stall) bool { return s.For < r.Clock.Tick }) // less than a tick moves no timer
	for i, s := range long {
		if i == mostStalls {
			stalls = append(stalls, [2]string{fmt.Sprintf("and %d more", len(long)-mostStalls), ""})
			break
		}
		stalls = append(stalls, [2]string{fmt.Sprintf("%s ran late by %s at %s", who(s), small(s.For.Duration()), seconds(s.At.Duration())), ""})
	}
	clock, load := clockText(r.Clock), loadText(r.Load)
	events, counters := kernelLines(r.Evidence)
	if len(rules)+len(captures)+len(stalls)+len(clock)+len(load)+len(events)+len(counters) == 0 {
		return
	}
	p.line(p.paint(bold, "Evidence"))
	p.labelled("rule", rules)
	p.labelled("capture", captures)
	p.labelled("kernel", append(events, wheelText(r)...))
	p.labelled("counter", counters)
	p.labelled("clock", clock)
	p.labelled("stall", stalls)
	p.labelled("load", load)
}

// loadText says how short of processors the machine was, where it was.
func loadText(l *result.Load) [][2]string {
	if l == nil {
		return nil
	}
	var lines [][2]string
	if l.Waited != nil && *l.Waited > l.Over/10 {
		lines = append(lines, [2]string{fmt.Sprintf("in %s of %s something waited for a processor (/proc/pressure/cpu)", seconds(l.Waited.Duration()), seconds(l.Over.Duration())), ""})
	}
	if l.Stolen != nil && *l.Stolen > 0 {
		lines = append(lines, [2]string{fmt.Sprintf("a hypervisor gave %s of its processors to others (steal, /proc/stat)", seconds(l.Stolen.Duration())), ""})
	}
	return lines
}

// wheelText says what the kernel's timer wheel recorded of the timers of a run.
func wheelText(r *result.Result) [][2]string {
	made, right := 0, 0
	var least, most time.Duration
	events := slices.Clone(r.Events)
	if r.Outcome != nil {
		events = append(events, *r.Outcome)
	}
	for _, e := range events {
		if e.Due == nil || e.Tick == 0 { // no prediction of a jiffy, as where a program's call decides
			continue
		}
		made++
		if e.OnTick {
			right++
		}
	}
	if made == 0 {
		return nil
	}
	for _, k := range r.Evidence.Events {
		if k.Hook != result.HookTimer || k.Due == nil {
			continue
		}
		late := (k.At - *k.Due).Duration()
		if most == 0 || late < least {
			least = late
		}
		most = max(most, late)
	}
	return [][2]string{{fmt.Sprintf("timer wheel: %d of %s due in the predicted jiffy, run %s to %s after it began", right, count(made, "timer"), small(least), small(most)), ""}}
}

// who is what stood still.
func who(s result.Stall) string {
	if s.Process != "" {
		return "the process of the " + s.Process
	}
	return fmt.Sprintf("CPU %d", s.CPU)
}

func captureText(c result.Capture) string {
	name := c.File
	if name == "" {
		name = c.Host
	}
	held := count(c.Packets, "packet")
	if c.Packets == 0 {
		held = "empty"
	}
	if c.Dropped == 0 {
		return fmt.Sprintf("%s: %s, none lost by the capture", name, held)
	}
	return fmt.Sprintf("%s: %s, %d lost by the capture%s", name, held, c.Dropped, GapText(c))
}

// GapText says between which times a capture lost packets, " (0.012 … 0.148 s)"; nothing where it lost none.
func GapText(c result.Capture) string {
	const most = 3 // one hole after another is one flood
	var times []string
	for i, g := range c.Gaps {
		if i == most-1 && len(c.Gaps) > most {
			g.To = c.Gaps[len(c.Gaps)-1].To
		}
		if i < most {
			times = append(times, window(g.From.Duration(), g.To.Duration()))
		}
	}
	if len(times) == 0 {
		return ""
	}
	return " (" + strings.Join(times, ", ") + ")"
}

func clockText(c result.Clock) [][2]string {
	var out [][2]string
	switch {
	case c.Known:
		out = append(out, [2]string{fmt.Sprintf("phase of jiffies known from %s, ±%s, tick %s: exact to the tick", c.From, small(c.Error.Duration()), small(c.Tick.Duration())), ""})
	case c.From != "":
		out = append(out, [2]string{"phase of jiffies not known (" + c.From + "): windows cover every phase", ""})
	}
	if d := c.Step.Duration(); d >= time.Millisecond || d <= -time.Millisecond {
		out = append(out, [2]string{"the wall clock moved by " + signed(d) + " during the run; times are monotonic", ""})
	}
	return out
}

// Files writes where the files are, the command that opens the capture, and the report for a browser. It writes nothing where Style.Dir is empty.
func Files(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.files(r)
	return p.flush(w)
}

func (p *pen) files(r *result.Result) {
	dir := p.style.Dir
	if dir == "" {
		return
	}
	p.line("files    ", p.text(dir+"/"))
	var pick *result.Capture
	for i := range r.Captures {
		c := &r.Captures[i]
		if c.File != "" && (pick == nil || pick.Packets == 0 && c.Packets > 0) {
			pick = c
		}
	}
	switch {
	case pick == nil:
	case pick.Packets == 0:
		p.line("capture  ", p.text(path.Join(dir, pick.File)), " (empty)")
	default:
		p.command("capture  ", []string{"wireshark", "-N", "n", quote(path.Join(dir, pick.File))})
	}
	if p.style.Page != "" {
		p.line("report   ", p.text(path.Join(dir, p.style.Page)))
	}
}

// quote protects a word from a POSIX shell where it needs it.
func quote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=,+@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

package runner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// remark is what the capture files say of one packet, sentence by sentence, without the full stops, which differ between languages. The
// first sentence names it.
type remark []string

// comment writes what each packet is, for the capture files: what, expected, seen, and what became of it.
func comment(res *result.Result) map[int]remark {
	repeats := map[string]int{}
	for _, p := range res.Packets {
		repeats[p.From+p.What] = max(repeats[p.From+p.What], p.N)
	}
	remarks := map[int]remark{} // by Packet.ID
	for i := range res.Events {
		e := &res.Events[i]
		if e.Seen == nil || !timeline.What(e.What).OnWire() {
			continue
		}
		for k := range res.Packets { // two may have the same stamp
			p := &res.Packets[k]
			if remarks[p.ID] == nil && p.From == e.Host && p.At() == e.Seen.Duration() {
				e.Packet = p.ID
				remarks[p.ID] = remarkOn(*e, *p, repeats[p.From+p.What])
				p.Comment = remarks[p.ID].english()
				break
			}
		}
	}
	return remarks
}

func remarkOn(e result.Event, p result.Packet, of int) remark {
	name := judge.Title(result.Event{What: e.What})
	switch {
	case e.N > 0 && e.Expected:
		name += fmt.Sprintf(", repetition %d of %d", e.N, of)
	case e.N > 0:
		name += fmt.Sprintf(", repetition %d", e.N)
	}
	if p.Detail != "" {
		name += " (" + p.Detail + ")"
	}
	m := remark{name}
	switch {
	case !e.Expected:
		m.say("Nobody expected it; seen %.3f s", e.Seen.Duration().Seconds())
	case e.At == 0 && e.Late == 0:
		m.say("Time counts from here")
	default:
		m.say("Expected %.3f s, seen %.3f s", e.At.Duration().Seconds(), e.Seen.Duration().Seconds())
	}
	switch p.Fate {
	case result.Dropped:
		m.say("Dropped by %s, after this capture point", p.Where)
	case result.Lost:
		m.say("Not seen at the %s", p.To)
	}
	if p.Cause != "" {
		m.say("Sent again by the kernel's %s", p.Cause)
	}
	if p.DropReason != "" {
		m.say("Thrown away in %s: %s", p.DropHook, p.DropReason)
	}
	return m
}

func (m *remark) say(format string, a ...any) { *m = append(*m, fmt.Sprintf(format, a...)) }

func (m remark) english() string { return strings.Join(m, ". ") + "." }

// speech is what the capture files of a run say, in English, and in Chinese where somebody translates.
type speech struct {
	remarks   map[int]remark // by Packet.ID
	translate func(english string) (chinese string, ok bool)
	chinese   map[string]string // sentences that were translated
}

// of are the comments of one packet, one for each language.
func (s *speech) of(packet int) []string {
	m := s.remarks[packet]
	if m == nil {
		return nil
	}
	out := []string{m.english()}
	if zh, ok := s.inChinese(m); ok {
		out = append(out, strings.Join(zh, "。")+"。")
	}
	return out
}

// section is the comment of a whole capture file, with a line for each language.
func (s *speech) section(res *result.Result) string {
	m := remark{res.Experiment.Name, res.Experiment.Summary}
	for _, f := range res.Rules {
		m.say("Fault: %s %s %s drops %s", f.Host, f.Tool(), f.Chain, f.Text)
	}
	m.say("Verdict: %s", strings.ToUpper(string(res.Verdict)))
	if res.Reason != "" {
		m = append(m, res.Reason)
	}
	out := m[0] + ": " + m[1:].english()
	if zh, ok := s.inChinese(m); ok {
		out += "\n" + zh[0] + "：" + strings.Join(zh[1:], "。") + "。"
	}
	return out
}

// inChinese translates each sentence; one without a Chinese form stays English. ok is false where nobody translates.
func (s *speech) inChinese(m remark) (remark, bool) {
	if s.translate == nil {
		return nil, false
	}
	if s.chinese == nil {
		s.chinese = map[string]string{}
	}
	zh := slices.Clone(m)
	for i, text := range m {
		t, known := s.chinese[text]
		if !known { // each packet stands in the files of both hosts
			var ok bool
			if t, ok = s.translate(text); !ok {
				t = text
			}
			s.chinese[text] = t
		}
		zh[i] = t
	}
	return zh, true
}

package report

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// event writes the line of one event, seen or missing.
func (l *ladder) event(e result.Event, state string) {
	pk := l.packetOf(e)
	onWire := timeline.What(e.What).OnWire()
	if e.Seen == nil {
		if onWire && (endOf(pk) == endSender || pk == nil && e.Verdict != result.Fail && l.hidden(e) != nil) {
			l.unseen(e, pk, state)
			return
		}
		l.missing(e, state)
		return
	}
	dev, mark := deviation(e), l.mark(e)
	at := seconds(e.Seen.Duration())
	switch {
	case !onWire:
		l.row(at, state, l.p.text(callText(e)), dev, mark)
	case pk != nil:
		l.packet(pk, at, state, dev, mark)
	default:
		l.row(at, state, l.shaft(e.Host, l.labelOf(e, nil), endUnknown), dev, mark)
	}
}

// callText says what a program or a socket saw, and how a call should have ended where that differs.
func callText(e result.Event) string {
	seen := e
	seen.Port = 0
	if e.SeenErr != "" {
		seen.Errno = e.SeenErr
	}
	text := EventName(seen)
	switch {
	case timeline.What(e.What) == timeline.RequestGone && e.Since != nil:
		text = e.Host + ": SYN-RECV is gone, last seen at " + seconds(e.Since.Duration())
	case timeline.What(e.What) == timeline.SocketGone && e.Since != nil:
		text = e.Host + ": its socket is gone, last seen at " + seconds(e.Since.Duration())
	case timeline.What(e.What) == timeline.RequestGone, timeline.What(e.What) == timeline.SocketGone:
		text = e.Host + ": " + text
	case wrongErrno(e):
		text += ", not " + e.Errno
	}
	return ofPort(e.Port, text)
}

// ofPort says first which of several connections a line is about.
func ofPort(port int, text string) string {
	if port == 0 {
		return text
	}
	return fmt.Sprintf(":%d %s", port, text)
}

func wrongErrno(e result.Event) bool {
	return e.Expected && e.SeenErr != "" && e.Errno != "" && e.SeenErr != e.Errno
}

// deviation is how far a seen event is from its nominal time, or from its tick. The first packet is the origin: it has none.
func deviation(e result.Event) cell {
	switch {
	case !e.Expected || e.Seen == nil || e.Since != nil || e.At == 0 && *e.Seen == 0:
		return cell{}
	case e.OffTick != nil:
		return cell{text: "tick " + signed(e.OffTick.Duration())}
	default:
		return cell{text: signed((*e.Seen - e.At).Duration())}
	}
}

// mark is the judgement on a seen event.
func (l *ladder) mark(e result.Event) cell {
	earliest := soonest(e)
	switch {
	case !e.Expected:
		return cell{"unexpected", red}
	case e.Verdict == result.Pass && e.At == 0 && *e.Seen == 0:
		return cell{}
	case e.Verdict == result.Pass:
		return cell{"ok", green}
	case e.Verdict == result.Inconclusive:
		return cell{"unsure", yellow}
	case e.Verdict != result.Fail:
		return cell{string(e.Verdict), dim}
	case wrongErrno(e):
		return cell{"wrong", red}
	case *e.Seen > e.At+e.Late:
		return cell{"late", red}
	case *e.Seen < earliest:
		return cell{"early", red}
	default:
		return cell{"FAIL", red}
	}
}

// missing writes the line of an expected event that was not seen.
func (l *ladder) missing(e result.Event, state string) {
	what := l.labelOf(e, nil)
	if !timeline.What(e.What).OnWire() {
		what = callText(e)
	} else if e.Host != l.left {
		what = e.Host + ": " + what
	}
	verb, mark := " expected ", cell{"missing", red}
	tail := ": never came"
	switch {
	case e.Maybe && e.Verdict != result.Fail:
		verb, tail, mark = " possible at ", ": did not come, which is right too", cell{"ok", green}
	case e.Verdict == result.Inconclusive:
		tail, mark = ": not seen", cell{"unsure", yellow}
	case e.Verdict == result.Skip || e.Verdict == "":
		tail, mark = ": not seen", cell{string(e.Verdict), dim}
	}
	l.row("", state, l.p.text(what+verb+seconds(e.At.Duration())+tail), cell{}, mark)
}

// hidden finds the rule that makes a host's packets invisible: one that drops them before the host's own capture, and did.
func (l *ladder) hidden(e result.Event) *result.Rule {
	for i := range l.r.Rules {
		if rule := &l.r.Rules[i]; rule.Host == e.Host && !rule.AfterCapture && rule.Packets > 0 {
			return rule
		}
	}
	return nil
}

// unseen draws a packet that no capture could see, at the time when it was expected, in parentheses.
func (l *ladder) unseen(e result.Event, pk *result.Packet, state string) {
	mark := cell{"unseen", dim}
	if e.Verdict == result.Pass {
		mark = cell{"ok", green}
	}
	at := "(" + seconds(e.At.Duration()) + ")"
	if pk != nil {
		l.packet(pk, at, state, cell{}, mark)
		return
	}
	l.row(at, state, l.shaft(e.Host, l.labelOf(e, nil), endSender), cell{}, mark)
	first := true
	for _, other := range l.r.Events {
		if other.Seen == nil && other.Host == e.Host && l.packetOf(other) == nil && other.At < e.At {
			first = false
		}
	}
	if rule := l.hidden(e); first {
		l.place(rule.Host+" "+rule.Tool()+" "+chain(*rule), endSender, e.Host, "")
	}
}

// packet writes an arrow, and below it where the packet died, unless the one before died at the same place.
func (l *ladder) packet(pk *result.Packet, at, state string, dev, mark cell) {
	e := endOf(pk)
	l.row(at, state, l.shaft(pk.From, l.label(pk.From, pk.What, pk.N, pk), e), dev, mark)
	if e == endDelivered || e == endUnknown {
		return
	}
	for i := range l.r.Packets {
		before := l.r.Packets[len(l.r.Packets)-1-i]
		if before.ID >= pk.ID || before.From != pk.From {
			continue
		}
		if last := endOf(&before); last != endDelivered && last != endUnknown {
			if last == e && before.Where == pk.Where {
				return
			}
			break
		}
	}
	l.place(strings.Replace(pk.Where, " filter ", " ", 1), e, pk.From, pk.To)
}

// place names where a packet died.
func (l *ladder) place(where string, e end, from, to string) {
	side := ""
	switch e {
	case endReceiver:
		side = "after the " + to + "'s capture"
	case endWire:
		side = "before the " + to + "'s capture"
	case endSender:
		side = "before the " + from + "'s own capture"
	}
	if where == "" {
		where = "lost, and no rule of the lab caught it"
	}
	l.p.para(spaces(l.lay.indent)+l.p.paint(red, l.p.text("✗"))+" ", dim, where+", "+side)
}

// shaft is the arrow with its two hosts. A host that is neither end of the ladder gets words.
func (l *ladder) shaft(from, label string, e end) string {
	if from != l.left && from != l.right {
		return l.p.text(from + ": " + label)
	}
	return l.name(l.left) + " " + l.p.arrow(label, l.lay.shaft, from == l.right, e) + " " + l.name(l.right)
}

// state writes a change of state that no packet explains.
func (l *ladder) state(it item) {
	if it.host == l.left && l.lay.stateCol {
		l.row(seconds(it.at), it.state, "", cell{}, cell{})
		return
	}
	l.row(seconds(it.at), "", l.p.text(it.host+" is now "+it.state), cell{}, cell{})
}

// row lays out one entry. body is printable and may be painted; it is wrapped only where it has no colour.
func (l *ladder) row(at, state, body string, dev, mark cell) {
	p, lay := l.p, l.lay
	at, state = p.text(at), p.text(state)
	dev.text, mark.text = p.text(dev.text), p.text(mark.text)
	room := ansi.StringWidth(l.name(l.left)) + ansi.StringWidth(l.name(l.right)) + 2 + lay.shaft
	free := room
	if dev.text == "" && lay.markCol {
		free += devWidth
	}
	lines := []string{body}
	if ansi.StringWidth(body) > free {
		lines = wrap(body, free)
	}
	prefix := padLeft(at, lay.clock) + "  "
	if lay.stateCol {
		prefix += p.paint(bold, p.trim(state, stateWidth)) + spaces(stateWidth-ansi.StringWidth(state)) + "  "
	}
	first := prefix + lines[0]
	if lay.markCol && dev.text+mark.text != "" {
		gap := room + 2 + devWidth - ansi.StringWidth(lines[0]) - ansi.StringWidth(dev.text)
		first += spaces(gap) + p.paint(dev.color, dev.text) + "  " + p.paint(mark.color, mark.text)
	}
	p.line(first)
	for _, more := range lines[1:] {
		p.line(spaces(lay.indent), more)
	}
	var below []string
	if !lay.stateCol && state != "" {
		below = append(below, p.text(l.left+" is now ")+p.paint(bold, state))
	}
	if !lay.markCol && dev.text != "" {
		below = append(below, dev.text)
	}
	if !lay.markCol && mark.text != "" {
		below = append(below, p.paint(mark.color, mark.text))
	}
	if len(below) > 0 {
		p.line(spaces(lay.indent), strings.Join(below, "  "))
	}
}

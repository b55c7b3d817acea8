package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// nearState is how long after an event a sample may show the state that the event caused: inet_diag is asked about ten times a second.
const nearState = 250 * time.Millisecond

// Ladder writes one line for each event, in time order: the time since the first packet, the client's TCP state where it changed, an
// arrow between the two hosts that ends where the packet ended, how far the event is from its nominal time (or from the exact tick,
// where that was known), and a mark. An expected event that never came has a line too, and so has a packet that no event names.
func Ladder(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.ladder(r)
	return p.flush(w)
}

// LadderLine writes the ladder's line for one event, for a run that is still going on; it ends in a newline, and may be several lines
// where a place is named for the first time or the terminal is narrow. state is the client's new TCP state, empty where it has not
// changed. r must hold the packets up to this event, and the prediction.
func LadderLine(w io.Writer, r *result.Result, e result.Event, state string, s Style) error {
	p := newPen(s)
	newLadder(p, r).event(e, state)
	return p.flush(w)
}

// LadderText writes ladder.txt: the ladder in 100 columns of Unicode without colour, between what was run and how it ended.
func LadderText(w io.Writer, r *result.Result) error {
	p := newPen(Style{})
	p.para("", plain, r.Experiment.Name+" · "+kernelName(r.Kernel)+" · profile "+r.Profile)
	p.section(func() { p.ladder(r) })
	p.section(func() { p.verdictLine(r) })
	return p.flush(w)
}

type eventKey struct{ host, what string }

// A layout is what fits into a width: wide has a column for the state and one for the mark, narrower ones put these on lines below.
type layout struct {
	indent   int // column where the arrow's left host begins
	clock    int // width of the time, which is aligned to the right
	stateCol bool
	markCol  bool
	shaft    int
}

const (
	stateWidth = 11 // ESTABLISHED
	devWidth   = 12 // tick +999 µs
	markWidth  = 10 // unexpected
	mostName   = 12 // of a host
)

func newLayout(width, names int) layout {
	const markSpace = 2 + devWidth + 2 + markWidth
	var l layout
	for _, l = range []layout{
		{clock: 13, indent: 13 + 2 + stateWidth + 2, stateCol: true, markCol: true},
		{clock: 12, indent: 12 + 2, markCol: true},
		{clock: 12, indent: 12 + 2},
	} {
		l.shaft = width - l.indent - names - 2
		if l.markCol {
			l.shaft -= markSpace
		}
		if l.shaft >= leastShaft {
			break
		}
	}
	l.shaft = min(max(l.shaft, leastShaft/2), mostShaft)
	return l
}

type ladder struct {
	p           *pen
	r           *result.Result
	left, right string // the hosts at the two ends of the ladder
	lay         layout
	ports       map[int]bool // those that tell connections side by side apart; empty: there is one
	totals      map[eventKey]int
	segments    int // data segments that were seen, repeats aside
}

func newLadder(p *pen, r *result.Result) *ladder {
	l := &ladder{p: p, r: r, left: "client", right: "server", ports: map[int]bool{}, totals: map[eventKey]int{}}
	if len(r.Hosts) >= 2 && r.Hosts[0].Name != "" && r.Hosts[1].Name != "" {
		l.left, l.right = r.Hosts[0].Name, r.Hosts[1].Name
	}
	l.lay = newLayout(p.width, ansi.StringWidth(l.name(l.left))+ansi.StringWidth(l.name(l.right)))
	for _, pk := range r.Packets {
		if pk.What == string(timeline.Data) {
			l.segments++
		}
	}
	expected := r.Events
	if r.Prediction != nil {
		expected = r.Prediction.Events
	}
	for _, e := range expected {
		if r.Prediction == nil && !e.Expected {
			continue
		}
		if e.Port != 0 {
			l.ports[e.Port] = true
		}
		k := eventKey{e.Host, e.What}
		l.totals[k] = max(l.totals[k], e.N)
	}
	return l
}

// name is a host's name as the ladder prints it.
func (l *ladder) name(host string) string { return l.p.trim(l.p.text(host), mostName) }

// An item is one entry of the ladder: an event, a packet that no event names, or a change of state between events.
type item struct {
	at     time.Duration
	event  *result.Event
	packet *result.Packet
	state  string
	host   string // whose state, in an entry that is only a change of state
}

func (p *pen) ladder(r *result.Result) {
	l := newLadder(p, r)
	items := l.states(l.items())
	for _, it := range items {
		switch {
		case it.event != nil:
			l.event(*it.event, it.state)
		case it.packet != nil:
			l.packet(it.packet, seconds(it.at), it.state, cell{}, cell{})
		default:
			l.state(it)
		}
	}
	if len(items) == 0 {
		p.line("  no packet was seen, and none was expected")
	}
}

// items lists events, the outcome and nameless packets in time order.
func (l *ladder) items() []item {
	var out []item
	named := map[int]bool{}
	add := func(e *result.Event) {
		at := e.At.Duration()
		if e.Seen != nil {
			at = e.Seen.Duration()
		}
		if pk := l.packetOf(*e); pk != nil {
			named[pk.ID] = true
		}
		out = append(out, item{at: at, event: e})
	}
	for i := range l.r.Events {
		add(&l.r.Events[i])
	}
	if l.r.Outcome != nil {
		add(l.r.Outcome)
	}
	for i := range l.r.Packets {
		if pk := &l.r.Packets[i]; !named[pk.ID] {
			out = append(out, item{at: pk.At(), packet: pk})
		}
	}
	slices.SortStableFunc(out, func(a, b item) int { return cmp.Compare(a.at, b.at) })
	return out
}

// by is the host that did what an item shows.
func (it item) by() string {
	if it.event != nil {
		return it.event.Host
	}
	return it.packet.From
}

// states hangs the client's changes of state on what the client did just before, and gives every other change an entry of its own. That
// a listener listens from the start is not news.
func (l *ladder) states(items []item) []item {
	var own []item
	for _, s := range l.r.States {
		at := s.At.Duration()
		if s.Host != l.left {
			if s.State != "LISTEN" {
				own = append(own, item{at: at, state: s.State, host: s.Host})
			}
			continue
		}
		last := -1
		for i, it := range items {
			if it.by() == l.left && it.at <= at {
				last = i
			}
		}
		if last >= 0 && items[last].state == "" && at-items[last].at <= nearState {
			items[last].state = s.State
		} else {
			own = append(own, item{at: at, state: s.State, host: s.Host})
		}
	}
	out := append(items, own...)
	slices.SortStableFunc(out, func(a, b item) int { return cmp.Compare(a.at, b.at) })
	return out
}

// packetOf finds the packet of an event: by number, or else as the same thing at the same time.
func (l *ladder) packetOf(e result.Event) *result.Packet {
	for i := range l.r.Packets {
		pk := &l.r.Packets[i]
		switch {
		case e.Packet != 0 && pk.ID == e.Packet:
			return pk
		case e.Packet == 0 && e.Seen != nil && pk.From == e.Host && pk.What == e.What && pk.N == e.N && pk.At() == e.Seen.Duration():
			return pk
		}
	}
	return nil
}

// portAt is a packet's port at one of its ends.
func portAt(pk result.Packet, host string) int {
	if pk.From == host {
		return pk.SrcPort
	}
	return pk.DstPort
}

// port is the one that tells a packet's connection from those beside it: the client's where that is what the prediction goes by.
func (l *ladder) port(pk result.Packet) int {
	if port := portAt(pk, l.left); l.ports[port] {
		return port
	}
	return portAt(pk, l.right)
}

// labelOf is what an event's arrow carries. Where nobody saw the packet, the event says of which connection it would have been.
func (l *ladder) labelOf(e result.Event, pk *result.Packet) string {
	text := l.label(e.Host, e.What, e.N, pk)
	if pk == nil {
		text = ofPort(e.Port, text)
	}
	return text
}

// label is what an arrow carries: "SYN seq=0", "SYN again (1 of 2)", "6 bytes again, RTO (3 of 15)".
func (l *ladder) label(host, what string, n int, pk *result.Packet) (text string) {
	w := timeline.What(what)
	name := w.Words()
	if len(l.ports) > 0 && pk != nil {
		defer func() { text = ofPort(l.port(*pk), text) }()
	}
	switch {
	case w == timeline.DuplicateACK && n > 0: // what it says is worth more than its name
		name = fmt.Sprintf("dup ACK %d", n)
	case pk != nil && pk.Len > 0 && w == timeline.TailLossProbe:
		name = count(pk.Len, "byte") + ", " + w.Words()
	case pk != nil && pk.Len > 0 && w.Family() == timeline.Data && w != timeline.FastRetransmit:
		name = count(pk.Len, "byte") + strings.TrimPrefix(name, "data")
	}
	switch total := l.totals[eventKey{host, what}]; {
	case n == 0 || !repeats(what) || w == timeline.DuplicateACK:
	case n <= total:
		return fmt.Sprintf("%s (%d of %d)", name, n, total)
	default:
		return fmt.Sprintf("%s (%d)", name, n)
	}
	if w == timeline.TailLossProbe && pk != nil && pk.Len > 0 && l.segments <= 1 {
		return name // the one segment that there is
	}
	if pk == nil || w == timeline.ICMP {
		return name
	}
	seq, ack := pk.RelSeq, pk.RelAck
	if l.p.style.AbsoluteSeq {
		seq, ack = pk.Seq, pk.Ack
	}
	if pk.Len > 0 || w.Family() != timeline.ACK {
		name += fmt.Sprintf(" seq=%d", seq)
	}
	if strings.Contains(pk.Flags, "ACK") && (pk.Len == 0 || w.Family() == timeline.SYN) && !(w == timeline.DuplicateACK && len(pk.SACK) > 0) {
		name += fmt.Sprintf(" ack=%d", ack)
	}
	for _, b := range pk.SACK {
		name += fmt.Sprintf(" SACK %d-%d", b[0], b[1])
	}
	more := fastOpen(pk)
	if more != "" && !l.p.style.AbsoluteSeq {
		name = strings.Replace(name, " seq=0", "", 1) // a SYN's own number is 0, and the line is short
	}
	return name + more
}

// fastOpen is what a SYN or SYN-ACK carries besides: "", " +cookie +100 bytes".
func fastOpen(pk *result.Packet) string {
	name := ""
	switch pk.FastOpen {
	case "":
	case result.FastOpenRequest, result.FastOpenExperiment:
		name = " +cookie?"
	default:
		name = " +cookie"
	}
	if pk.Len > 0 && timeline.What(pk.What).Family() == timeline.SYN {
		name += " +" + count(pk.Len, "byte")
	}
	return name
}

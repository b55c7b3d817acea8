package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Script is an expectation that is written line by line, in the way of packetdrill:
//
//	0       client > S 0:0(0)
//	+1      client > S 0:0(0)
//	+0      server > S. 0:0(0) ack 1
//	+0      client > . 1:1(0) ack 1
//	+0      client connect = 0
//	+1~+1.2 client > P. 1:7(6) ack 1 <tail-loss-probe>
//	+0      client read = ETIMEDOUT
type Script struct {
	Lines []Line
}

// Line is one packet or one call.
type Line struct {
	Pos   Pos
	Event timeline.Event // without its times
	Named bool           // by the script, and not by what was sent before
	Time  Span
	Text  string
}

// Span is when a line comes.
type Span struct {
	Since bool // it counts from the line before; else from the first packet
	// From is the time. To is the last instant; zero: as late as a kernel's timer of From may be.
	From, To time.Duration
}

var (
	lineForm   = regexp.MustCompile(`^(\S+)\s+(client|server)\s+(.*)$`)
	packetForm = regexp.MustCompile(`^>\s+([SFRP]*\.?|\.)\s+(\d+):(\d+)\((\d+)\)(?:\s+ack\s+(\d+))?(?:\s+<([^>]*)>)?$`)
	callForm   = regexp.MustCompile(`^(\S+)\s*=\s*(\S+)$`)
	timeForm   = regexp.MustCompile(`^(\+?)(\d*\.?\d+|\d+\.)(?:~(\+?)(\d*\.?\d+|\d+\.))?$`)
	errnoForm  = regexp.MustCompile(`^E[A-Z0-9]{2,20}$`)
)

// calls are what a program's calls can be expected to return, and what that is.
var calls = []string{"connect", "read"}

// mostLines bounds a script.
const mostLines = 2000

// parseScript reads a script. place tells where its lines stand in the file.
func parseScript(text string, place func(line int) Pos) (*Script, []Problem) {
	s := &Script{}
	var problems []Problem
	names := namer{}
	for i, raw := range strings.Split(text, "\n") {
		at := place(i)
		line, _, _ := strings.Cut(raw, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		l, err := parseLine(line)
		if err == nil && len(s.Lines) >= mostLines {
			err = fmt.Errorf("more than %d lines", mostLines)
		}
		if err == nil && len(s.Lines) == 0 && (l.Time.From != 0 || l.Event.What.Family() != timeline.SYN) {
			err = fmt.Errorf("the first line is the first packet, from which time counts: want `0 client > S 0:0(0)`")
		}
		if err != nil {
			problems = append(problems, Problem{at, "text: " + err.Error()})
			if len(problems) >= mostProblems {
				break
			}
			continue
		}
		l.Pos, l.Text = at, line
		before := l.Event.What
		names.name(&l.Event)
		l.Named = before == l.Event.What
		s.Lines = append(s.Lines, l)
	}
	if len(s.Lines) == 0 && len(problems) == 0 {
		problems = append(problems, Problem{place(0), "text: no line in it: want lines such as `+1 client > S 0:0(0)`"})
	}
	return s, problems
}

func parseLine(line string) (Line, error) {
	m := lineForm.FindStringSubmatch(line)
	if m == nil {
		return Line{}, fmt.Errorf("%q: want TIME HOST and a packet or a call, such as `+1 client > S 0:0(0)` or `+0 client connect = 0`", line)
	}
	span, err := parseSpan(m[1])
	if err != nil {
		return Line{}, err
	}
	l := Line{Time: span, Event: timeline.Event{Host: m[2]}}
	rest := strings.TrimSpace(m[3])
	if p := packetForm.FindStringSubmatch(rest); p != nil {
		err = l.packet(p)
	} else if c := callForm.FindStringSubmatch(rest); c != nil && !strings.HasPrefix(rest, ">") {
		err = l.call(c[1], c[2])
	} else {
		err = fmt.Errorf("%q: want a packet `> FLAGS SEQ:END(LEN) ack N`, flags of S F R P and a dot for ACK, or a call `connect = 0`", rest)
	}
	return l, err
}

func parseSpan(s string) (Span, error) {
	m := timeForm.FindStringSubmatch(s)
	if m == nil || m[4] != "" && m[1] != m[3] {
		return Span{}, fmt.Errorf("time %q: want seconds since the first packet (1.5), since the line before (+1.5), or a range of either (+1~+1.2)", s)
	}
	span := Span{Since: m[1] == "+"}
	var err error
	if span.From, err = seconds(m[2]); err == nil && m[4] != "" {
		span.To, err = seconds(m[4])
		if err == nil && span.To < span.From {
			err = fmt.Errorf("time %q: the range ends before it begins", s)
		}
	}
	return span, err
}

// longest is the longest time of a line: nobody waits that long.
const longest = 100 * time.Hour

func seconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f > longest.Seconds() {
		return 0, fmt.Errorf("time %q: want seconds, %g at most", s, longest.Seconds())
	}
	return time.Duration(f*1e9 + 0.5), nil
}

// packet fills in what the parts of packetForm say.
func (l *Line) packet(m []string) error {
	e := &l.Event
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil && s != "" {
			l.Event.Len = -1
		}
		return uint32(n)
	}
	seq, end, n := number(m[2]), number(m[3]), number(m[4])
	e.RelSeq, e.RelAck, e.Exact = seq, number(m[5]), true
	if e.Len < 0 || uint64(seq)+uint64(n) != uint64(end) {
		return fmt.Errorf("%s:%s(%s): want SEQ:END(LEN), relative numbers with END-SEQ=LEN", m[2], m[3], m[4])
	}
	e.Len = int(n)
	flags := m[1]
	ack := strings.HasSuffix(flags, ".")
	if ack != (m[5] != "") {
		return fmt.Errorf("flags %s: a dot is the ACK flag, and it goes with `ack N`", flags)
	}
	switch {
	case strings.Contains(flags, "R"):
		e.What = timeline.RST
	case strings.Contains(flags, "S") && ack:
		e.What = timeline.SYNACK
	case strings.Contains(flags, "S"):
		e.What = timeline.SYN
	case strings.Contains(flags, "F"):
		e.What = timeline.FIN
	case e.Len > 0:
		e.What = timeline.Data
	case ack:
		e.What = timeline.ACK
	default:
		return fmt.Errorf("flags %q: want some of S, F, R, P and a dot for ACK", flags)
	}
	if m[6] == "" {
		return nil
	}
	w := timeline.What(m[6])
	if !w.Known() || !w.OnWire() {
		known := wireNames()
		return fmt.Errorf("<%s>: no packets are called so: want one of %s%s", m[6], strings.Join(known, ", "), didYouMean(m[6], known))
	}
	e.What = w
	return nil
}

// wireNames are the names of packets.
func wireNames() []string {
	return []string{string(timeline.SYN), string(timeline.SYNRetransmission), string(timeline.SYNACK), string(timeline.SYNACKAnswer), string(timeline.SYNACKAgain),
		string(timeline.ACK), string(timeline.DuplicateACK), string(timeline.ChallengeACK), string(timeline.WindowUpdate), string(timeline.Data),
		string(timeline.DataAgain), string(timeline.TailLossProbe), string(timeline.RTORetransmission), string(timeline.FastRetransmit),
		string(timeline.KeepaliveProbe), string(timeline.KeepaliveACK), string(timeline.WindowProbe), string(timeline.WindowProbeACK),
		string(timeline.FIN), string(timeline.FINAgain), string(timeline.RST)}
}

// call fills in what a call returns.
func (l *Line) call(name, returns string) error {
	if l.Event.Host != "client" || !slices.Contains(calls, name) {
		return fmt.Errorf("%s %s: only the client's calls are seen: want %s%s", l.Event.Host, name, orList(calls), didYouMean(name, calls))
	}
	if returns != "0" && !errnoForm.MatchString(returns) {
		return fmt.Errorf("%s = %s: want 0 or the name of an error, such as ETIMEDOUT", name, returns)
	}
	good, bad := timeline.Connected, timeline.ConnectError
	if name == "read" {
		good, bad = timeline.EndOfStream, timeline.SocketError
	}
	l.Event.What = good
	if returns != "0" {
		l.Event.What, l.Event.Errno = bad, returns
	}
	return nil
}

// namer tells repeats from what is sent for the first time, as a capture's reader would, and counts them.
type namer struct {
	sent  map[sentAs]bool
	count map[sentAs]int
}

type sentAs struct {
	host string
	what timeline.What
	seq  uint32
}

// repeats is what a packet is called that was sent before; a name in the script itself says more.
var repeats = map[timeline.What]timeline.What{timeline.SYN: timeline.SYNRetransmission, timeline.SYNACK: timeline.SYNACKAgain,
	timeline.Data: timeline.RTORetransmission, timeline.FIN: timeline.FINAgain}

func (n *namer) name(e *timeline.Event) {
	if n.sent == nil {
		n.sent, n.count = map[sentAs]bool{}, map[sentAs]int{}
	}
	if !e.What.OnWire() {
		return
	}
	first := sentAs{e.Host, e.What.Family(), e.RelSeq}
	if w, ok := repeats[e.What]; ok && n.sent[first] {
		e.What = w
	}
	n.sent[first] = true
	switch e.What {
	case timeline.DuplicateACK, timeline.KeepaliveProbe, timeline.WindowProbe, timeline.SYNACKAnswer, timeline.SYNACKAgain, timeline.SYNRetransmission,
		timeline.RTORetransmission, timeline.DataAgain, timeline.FINAgain:
		kind := sentAs{host: e.Host, what: e.What}
		n.count[kind]++
		e.N = n.count[kind]
	case timeline.ACK: // what was repeated has arrived: the fires of the other end's timer count anew
		delete(n.count, sentAs{host: other(e.Host), what: timeline.RTORetransmission})
	}
}

// timeline gives the lines their windows: a time without a range is a timer's, so it may be as late as the wheel makes it.
func (s *Script) timeline(f kernel.Facts) timeline.Timeline {
	const atOnce = time.Millisecond
	var t timeline.Timeline
	var before timeline.Bound
	host, last := "", -1
	for i, l := range s.Lines {
		if !l.Event.What.OnWire() {
			last = i // how the client's last call ends is the outcome
		}
	}
	for i, l := range s.Lines {
		from, to := l.Time.From, l.Time.To
		if to == 0 {
			to = atOnce
			if from > 0 {
				to = oracle.LatestFire(f, from)
			}
		}
		e := l.Event
		e.Why = l.Text
		e.Bound = timeline.Bound{At: from, Earliest: from, Latest: to}
		if l.Time.Since {
			e.Bound = timeline.Bound{At: before.At + from, Earliest: before.Earliest + from, Latest: before.Latest + to}
			if host == e.Host && e.What.OnWire() {
				e.GapEarliest, e.GapLatest = from, to
			}
		}
		if i == 0 {
			e.Bound = timeline.Bound{}
		}
		before, host = e.Bound, e.Host
		if !e.What.OnWire() {
			host = "" // a packet behind it counts from it
		}
		if i == last {
			t.Outcome = &e
			continue
		}
		t.Events = append(t.Events, e)
	}
	t.Alternatives = s.likeProbe(t)
	return t
}

// likeProbe is the script with each first repeat of data as a tail loss probe: with one segment in flight a capture cannot tell it from the
// first timeout. A repeat that the script names is what it says.
func (s *Script) likeProbe(t timeline.Timeline) []timeline.Timeline {
	free := map[string]bool{}
	for _, l := range s.Lines {
		free[l.Text] = !l.Named
	}
	alike := timeline.Timeline{Why: "a capture cannot tell the first timeout from a tail loss probe", Events: slices.Clone(t.Events), Outcome: t.Outcome}
	found := false
	for i := range alike.Events {
		e := &alike.Events[i]
		switch {
		case e.What != timeline.RTORetransmission || !free[e.Why]:
		case e.N == 1:
			e.What, e.N, found = timeline.TailLossProbe, 0, true
		default:
			e.N--
		}
	}
	if !found {
		return nil
	}
	return []timeline.Timeline{alike}
}

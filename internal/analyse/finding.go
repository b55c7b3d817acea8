package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// Kind names what is wrong with a connection. The names appear in JSON and are stable.
type Kind string

// The kinds of finding.
const (
	SYNUnanswered       Kind = "syn-unanswered"       // nothing answered the SYN and its repeats
	SYNLost             Kind = "syn-lost"             // a SYN was lost, and answered when it was repeated
	SYNRefused          Kind = "syn-refused"          // a RST answered the SYN
	SYNUnreachable      Kind = "syn-unreachable"      // an ICMP error answered the SYN
	SYNACKUnheard       Kind = "syn-ack-unheard"      // the client never acknowledged the SYN-ACK
	SYNACKLost          Kind = "syn-ack-lost"         // a SYN-ACK was lost, and heard when it was repeated
	HandshakeACKUnheard Kind = "ack-unheard"          // the server repeats its SYN-ACK though the client has answered
	DataUnanswered      Kind = "data-unanswered"      // data was sent again and again, and never acknowledged
	LossRepaired        Kind = "loss-repaired"        // data was lost, sent again, and arrived
	KeepaliveUnanswered Kind = "keepalive-unanswered" // keepalive probes at the end, and no answer
	KeepaliveAnswered   Kind = "keepalive-answered"   // keepalive probes, answered
	WindowShut          Kind = "window-closed"        // a receiver closed its window
	FINUnanswered       Kind = "fin-unanswered"       // a FIN was sent again and again, and never acknowledged
	FINRepaired         Kind = "fin-lost"             // a FIN was lost, and acknowledged when it was repeated
	ResetByPeer         Kind = "reset"                // a RST ended a connection that stood, or answered its SYN-ACK
	DelayedACKWait      Kind = "delayed-ack"          // small segments waited for delayed acknowledgements, three times or more
	FastOpenIgnored     Kind = "fast-open-ignored"    // the server did not take the data of a SYN
	CaptureHoles        Kind = "capture-incomplete"   // bytes were acknowledged that are not in the capture
)

// Grade is how grave a finding is.
type Grade int

// The grades, in rising order.
const (
	Note Grade = iota // worth knowing
	Slow              // it cost time
	Died              // the connection died of it
)

// String is the grade's word in JSON.
func (g Grade) String() string { return [...]string{"note", "slow", "died"}[g] }

// Finding is something that a reader of the capture should see at once.
type Finding struct {
	Kind  Kind
	Grade Grade
	Host  string   // whose packets were lost, repeated or refused
	Text  []string // what happened, in sentences
	N     int      // how many repeats or probes
	// Gaps are the times before each of them, the first 16.
	Gaps []time.Duration
	Cost time.Duration // how much time went by
	// Cause is what an ICMP error said ("host unreachable"); empty elsewhere.
	Cause string
}

// findings tells what is remarkable, the gravest first.
func (f *flow) findings(now time.Time, s *Summary) []Finding {
	var out []Finding
	add := func(x Finding, ok bool) {
		if ok {
			x.Gaps = slices.Clone(x.Gaps)
			out = append(out, x)
		}
	}
	if s.Fate == Stray {
		return nil
	}
	add(f.openingFinding(now, s))
	add(f.repeatedOpening())
	add(f.ackUnheard(now))
	for _, host := range []string{Client, Server} {
		add(f.unanswered(host, now))
		add(f.keepalive(host, now))
		add(f.windowShut(host, now, s))
		add(f.repaired(host, s))
		add(f.delayed(host))
	}
	add(f.resetFinding())
	add(f.fastOpenFinding())
	add(f.holes(s))
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(b.Grade, a.Grade) })
	return out
}

// say adds a sentence. Each stands for itself, so that it can be said in another language.
func (x *Finding) say(format string, values ...any) {
	x.Text = append(x.Text, fmt.Sprintf(format, values...))
}

// saySilence adds what is known of the silence after the last packet.
func (x *Finding) saySilence(now, last time.Time) {
	if d := now.Sub(last); d >= time.Millisecond {
		x.say("Nothing came back, not even in the %s until the capture ends.", short(d))
		return
	}
	x.say("Nothing came back until the capture ends.")
}

// openingFinding is about a connection that never came to be.
func (f *flow) openingFinding(now time.Time, s *Summary) (x Finding, ok bool) {
	t, c := &f.sum, &f.sum.ends[0].tail
	switch s.Fate {
	case Unanswered:
		x = Finding{Kind: SYNUnanswered, Grade: Died, Host: Client, N: c.syns, Gaps: c.gaps, Cost: now.Sub(c.original)}
		if c.syns == 0 {
			x.say("The client sent a SYN.")
		} else {
			x.say("The client sent a SYN and repeated it %s, after waits of %s.", times(c.syns), waits(c.gaps))
		}
		x.saySilence(now, c.last)
		x.say("The SYN was dropped on the way or at the server, or the answer was: a capture at the server tells which.")
	case Refused:
		x = Finding{Kind: SYNRefused, Grade: Died, Host: Client, N: f.client.syns - 1, Cost: t.rstAt.Sub(t.start)}
		x.say("A RST answered the SYN after %s.", short(t.rstAt.Sub(f.client.synAt)))
		x.say("Nobody listens on port %d there, or a firewall refuses for it: connect() returns ECONNREFUSED.", f.c.Server.Port())
	case Unreachable:
		x = Finding{Kind: SYNUnreachable, Grade: Died, Host: Client, N: f.client.syns - 1, Cost: now.Sub(t.start), Cause: icmpText(t.icmp, f.c.Server.Addr().Is6())}
		x.say("%s answered the SYN with an ICMP error: %s.", t.icmpFrom, x.Cause)
	case HalfOpen:
		e := &t.ends[1].tail
		x = Finding{Kind: SYNACKUnheard, Grade: Died, Host: Server, N: f.synACKs() - 1, Gaps: e.gaps, Cost: now.Sub(t.start)}
		x.say("The server answered the SYN and sent its SYN-ACK %s in all; the client never acknowledged it.", times(f.synACKs()))
		if n := f.client.syns - 1; n > 0 {
			x.say("The client repeated its SYN %s: the SYN-ACK does not reach it.", times(n))
		}
	default:
		return x, false
	}
	return x, true
}

// repeatedOpening is about a handshake that needed more than three packets.
func (f *flow) repeatedOpening() (x Finding, ok bool) {
	if !f.established || f.client.syns == 0 {
		return x, false
	}
	cost := f.sum.establish.Sub(f.sum.start)
	switch {
	case f.server.answers+f.count(Server, timeline.SYNACKAgain) > 0 && f.count(Client, timeline.SYNRetransmission) > 0:
		x = Finding{Kind: SYNACKLost, Grade: Slow, Host: Server, N: f.synACKs() - 1, Cost: cost}
		x.say("The first SYN-ACK did not reach the client: both ends repeated theirs, and the connection stood after %s.", short(cost))
	case f.client.syns > 1 && f.server.synACKs == 1:
		x = Finding{Kind: SYNLost, Grade: Slow, Host: Client, N: f.client.syns - 1, Cost: cost}
		x.say("The SYN was lost and repeated %s: the connection stood after %s instead of one round trip.", times(f.client.syns-1), short(cost))
	default:
		return x, false
	}
	return x, true
}

// ackUnheard is about a server that repeats its SYN-ACK to a client that has answered.
func (f *flow) ackUnheard(now time.Time) (x Finding, ok bool) {
	n := f.count(Server, timeline.SYNACKAgain)
	if !f.established || n == 0 || f.count(Client, timeline.SYNRetransmission) > 0 {
		return x, false
	}
	x = Finding{Kind: HandshakeACKUnheard, Grade: Slow, Host: Client, N: n, Cost: f.lastAt.Sub(f.sum.start)}
	x.say("The client acknowledged the SYN-ACK and thinks it is connected, but the server repeated the SYN-ACK %s.", times(n))
	x.say("The third packet was lost, or the server dropped it because its accept queue is full.")
	if f.sum.ends[1].dataPackets == 0 && f.silent(Client, now) {
		x.Grade = Died
	}
	return x, true
}

// unanswered is about data or a FIN that was never acknowledged.
func (f *flow) unanswered(host string, now time.Time) (x Finding, ok bool) {
	t := &f.sum.end(host).tail
	from, _, _ := f.side(f.addr(host))
	n := t.rtos + t.probes + t.others
	if !f.established || n+t.fins == 0 || from.allAcked() || f.reset && f.sum.rstBy != host {
		return x, false
	}
	x = Finding{Kind: DataUnanswered, Grade: Slow, Host: host, N: n + t.fins, Gaps: t.gaps, Cost: now.Sub(t.original)}
	if f.silent(host, now) {
		x.Grade = Died
	}
	what := "data"
	switch {
	case t.fins > 0 && (t.data || n > 0):
		what = "data and a FIN"
	case t.fins > 0:
		x.Kind, what = FINUnanswered, "a FIN"
	}
	x.say("The %s sent %s and sent it again %s, after waits of %s.", host, what, times(x.N), waits(t.gaps))
	if t.probes > 0 && t.rtos > 0 {
		x.say("The first was a tail loss probe, the others the retransmission timer's.")
	}
	x.saySilence(now, t.last)
	if f.reset {
		x.say("Then the %s sent a RST and was done with it.", host)
	}
	return x, true
}

// keepalive is about probes of an idle connection.
func (f *flow) keepalive(host string, now time.Time) (x Finding, ok bool) {
	e := f.sum.end(host)
	n := f.count(host, timeline.KeepaliveProbe)
	if n == 0 {
		return x, false
	}
	if e.tail.keep == 0 || !(f.reset && f.sum.rstBy == host) && !f.silent(host, now) {
		x = Finding{Kind: KeepaliveAnswered, Grade: Note, Host: host, N: n}
		x.say("The %s asked %s with a keepalive probe whether the %s is still there, and got an answer %s.", host, times(n), opposite(host), times(e.keepAnswered))
		return x, true
	}
	x = Finding{Kind: KeepaliveUnanswered, Grade: Died, Host: host, N: e.tail.keep, Gaps: e.tail.gaps, Cost: now.Sub(e.tail.from)}
	x.say("The connection was idle for %s.", short(first(e.tail.gaps)))
	x.say("Then the %s asked %s with a keepalive probe, and the %s did not answer.", host, times(e.tail.keep), opposite(host))
	if f.reset {
		x.say("After the last the %s sent a RST: its program got ETIMEDOUT.", host)
	}
	return x, true
}

// windowShut is about a receiver that did not read.
func (f *flow) windowShut(host string, now time.Time, s *Summary) (x Finding, ok bool) {
	e := s.Ends[0]
	if host == Server {
		e = s.Ends[1]
	}
	if e.WindowClosed == 0 {
		return x, false
	}
	other := opposite(host)
	probes := f.count(other, timeline.WindowProbe)
	x = Finding{Kind: WindowShut, Grade: Slow, Host: host, N: probes, Cost: e.WindowClosedFor, Gaps: f.sum.end(other).tail.gaps}
	if probes == 0 && e.WindowClosedFor < 10*time.Millisecond {
		x.Grade = Note
	}
	x.say("The %s closed its window %s, for %s in all: its program did not read fast enough.", host, times(e.WindowClosed), short(e.WindowClosedFor))
	if probes > 0 {
		x.say("The %s had to wait, and asked %s with a window probe.", other, times(probes))
	}
	if !f.sum.end(host).closedAt.IsZero() {
		x.say("The window was still closed at the end.")
		if t := &f.sum.end(other).tail; f.reset || t.window >= 3 {
			x.Grade = Died
		}
	}
	return x, true
}

// repaired is about data that was lost and arrived in the end. What is repeated in vain at the end is told elsewhere.
func (f *flow) repaired(host string, s *Summary) (x Finding, ok bool) {
	t := &f.sum.end(host).tail
	fast, rto := f.count(host, timeline.FastRetransmit), f.count(host, timeline.RTORetransmission)-t.rtos
	tlp, fins := f.count(host, timeline.TailLossProbe)-t.probes, f.count(host, timeline.FINAgain)-t.fins
	other := max(f.count(host, timeline.DataAgain)-t.others, 0)
	n := fast + rto + tlp + other
	switch {
	case n > 0:
	case fins > 0:
		x = Finding{Kind: FINRepaired, Grade: Slow, Host: host, N: fins}
		x.say("The %s repeated its FIN %s.", host, times(fins))
		return x, true
	default:
		return x, false
	}
	x = Finding{Kind: LossRepaired, Grade: Note, Host: host, N: n, Cost: s.Waited}
	e := f.sum.end(host)
	x.say("The %s repeated data %s, %s in all.", host, times(n), bytesText(e.again))
	x.say("Fast retransmits: %d, tail loss probes: %d, by the retransmission timer: %d, for other reasons: %d.", fast, tlp, rto, other)
	if rto+tlp > 0 {
		x.Grade = Slow
		x.say("Timers had to end %s of silence.", short(s.Waited))
	} else if e.bytes > 0 && e.again*100 >= e.bytes {
		x.Grade = Slow
	}
	return x, true
}

// delayed is about small writes that wait for delayed acknowledgements.
func (f *flow) delayed(host string) (x Finding, ok bool) {
	e := f.sum.end(host)
	if e.delayed < 3 {
		return x, false
	}
	x = Finding{Kind: DelayedACKWait, Grade: Slow, Host: host, N: e.delayed, Cost: e.delayedFor}
	x.say("The %s waited %s with a segment until the %s acknowledged the one before, and that took %s.", host, times(e.delayed), opposite(host),
		short(e.delayedFor/time.Duration(e.delayed)))
	x.say("Nagle's rule at one end waits for the delayed acknowledgement of the other: TCP_NODELAY, or one write instead of two, ends it.")
	return x, true
}

// resetFinding is about a RST in a connection that stood.
func (f *flow) resetFinding() (x Finding, ok bool) {
	t := &f.sum
	if !f.reset || !f.established && f.server.synACKs == 0 && t.rstBy == Server {
		return x, false
	}
	x = Finding{Kind: ResetByPeer, Grade: Died, Host: t.rstBy, Cost: t.rstAt.Sub(t.start)}
	from, to, _ := f.side(f.addr(t.rstBy))
	other := opposite(t.rstBy)
	switch {
	case !f.established:
		x.say("The %s answered the SYN-ACK with a RST: it never asked for this connection, or has given it up.", t.rstBy)
	case to.finSeen && to.acked && to.una > to.fin || from.finSeen && to.finSeen:
		x.Grade = Note
		x.say("The %s ended it with a RST after the %s had closed: nothing was lost that anyone waited for.", t.rstBy, other)
	case t.end(t.rstBy).tail.keep > 0 || t.end(t.rstBy).tail.rtos > 1:
		return x, false // told there
	case from.finSeen:
		x.say("The %s closed, and then answered what still came with a RST: data of the %s was not read, and is lost.", t.rstBy, other)
	default:
		x.say("The %s sent a RST %s after the packet before it.", t.rstBy, short(t.rstAfter))
		x.say("Its program closed with data unread or asked for it (SO_LINGER), it no longer knew the connection, or something on the way sent it.")
		x.say("The program of the %s gets ECONNRESET.", other)
	}
	return x, true
}

// fastOpenFinding is about data in a SYN that the server did not take.
func (f *flow) fastOpenFinding() (x Finding, ok bool) {
	if !f.client.synData || !f.established || f.server.synACKs == 0 || f.count(Client, timeline.DataAgain) == 0 {
		return x, false
	}
	x = Finding{Kind: FastOpenIgnored, Grade: Note, Host: Client, N: 1}
	x.say("The SYN carried data (TCP Fast Open) and the server did not take it: the data was sent again after the handshake.")
	return x, true
}

// holes is about packets that the capture lacks.
func (f *flow) holes(s *Summary) (x Finding, ok bool) {
	if s.Unseen == 0 || s.Ends[0].Packets == 0 || s.Ends[1].Packets == 0 {
		return x, false
	}
	x = Finding{Kind: CaptureHoles, Grade: Note, N: 1}
	x.say("%s were acknowledged that are not in the capture: it lost packets, so do not trust every name.", bytesText(s.Unseen))
	return x, true
}

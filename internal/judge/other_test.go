package judge

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// expect compares a check's verdict and code.
func expect(t *testing.T, c result.Check, verdict result.Verdict, code string) {
	t.Helper()
	if c.Verdict != verdict || c.Code != code {
		t.Errorf("got %s %q (%s), want %s %q", c.Verdict, c.Code, c.Detail, verdict, code)
	}
}

// TestStates catches a judge that takes a missed state for a pass, a wrong state for a missed one, or a repeated look for two states.
func TestStates(t *testing.T) {
	want := []string{"SYN-SENT", "CLOSED"}
	for _, tt := range []struct {
		name    string
		seen    []string
		broken  error
		verdict result.Verdict
		code    string
		cut     bool
	}{
		{"all in order", []string{"SYN-SENT", "CLOSED"}, nil, result.Pass, "", false},
		{"wrong order", []string{"CLOSED", "SYN-SENT"}, nil, result.Fail, explain.WrongState, false},
		{"a state that does not belong", []string{"SYN-SENT", "ESTABLISHED", "CLOSED"}, nil, result.Fail, explain.WrongState, false},
		{"and back", []string{"SYN-SENT", "CLOSED", "SYN-SENT"}, nil, result.Fail, explain.WrongState, false},
		{"first state missed", []string{"CLOSED"}, nil, result.Inconclusive, explain.StatesUnseen, false},
		{"last state missed", []string{"SYN-SENT"}, nil, result.Inconclusive, explain.StatesUnseen, false},
		{"one state seen twice is not two", []string{"SYN-SENT", "SYN-SENT"}, nil, result.Inconclusive, explain.StatesUnseen, false},
		{"nothing seen", nil, nil, result.Inconclusive, explain.StatesUnseen, false},
		{"looking ended early", []string{"SYN-SENT", "CLOSED"}, errors.New("inet_diag: no such file"), result.Inconclusive, explain.StatesUnseen, false},
		{"wrong state before looking ended", []string{"LISTEN"}, errors.New("inet_diag: no such file"), result.Fail, explain.WrongState, false},
		{"cut short is not missed", []string{"SYN-SENT"}, nil, result.Inconclusive, explain.CutShort, true},
		{"a wrong state is wrong also when cut short", []string{"LISTEN"}, nil, result.Fail, explain.WrongState, true},
		{"nobody could look", nil, errors.New("inet_diag: none"), result.Skip, explain.StatesUnseen, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			states := []result.State{{Host: "server", State: "LISTEN"}} // another host's states are not ours
			for _, s := range tt.seen {
				states = append(states, result.State{Host: "client", State: s})
			}
			expect(t, States("client", want, states, tt.broken, tt.cut), tt.verdict, tt.code)
		})
	}
}

// TestRule catches a counter that is not compared, in either direction, and an empty comparison that counts as a pass.
func TestRule(t *testing.T) {
	for _, tt := range []struct {
		name       string
		packets    uint64
		seen, lost int
		before     bool
		verdict    result.Verdict
		code       string
		late       int
	}{
		{"equal", 3, 3, 0, false, result.Pass, "", 0},
		{"counter too low: a packet passed the rule", 2, 3, 0, false, result.Fail, explain.RuleCounterOff, 0},
		{"counter too high: a packet that the capture did not see", 4, 3, 0, false, result.Fail, explain.RuleCounterOff, 0},
		{"counted, nothing seen", 1, 0, 0, false, result.Fail, explain.RuleCounterOff, 0},
		{"nothing came", 0, 0, 0, false, result.Skip, "", 0},
		{"lossy capture", 3, 3, 1, false, result.Inconclusive, explain.CaptureDrops, 0},
		{"before the capture", 3, 0, 0, true, result.Skip, "", 0},
		{"one came while it was read, and is not in it", 3, 3, 0, false, result.Pass, "", 1},
		{"one came while it was read, and is in it", 4, 3, 0, false, result.Pass, "", 1},
		{"more than came while it was read", 5, 3, 0, false, result.Fail, explain.RuleCounterOff, 1},
		{"less than came before", 2, 3, 0, false, result.Fail, explain.RuleCounterOff, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, Rule(result.Rule{Host: "server", Chain: "INPUT", Packets: tt.packets, AfterCapture: !tt.before}, tt.seen, tt.late, tt.lost), tt.verdict, tt.code)
		})
	}
}

// TestSameISN catches a new connection that is taken for a repeated SYN.
func TestSameISN(t *testing.T) {
	syn := func(seq uint32) result.Packet {
		return result.Packet{From: "client", What: "syn-retransmission", Seq: seq}
	}
	synack := result.Packet{From: "client", What: "syn-ack", Seq: 99}
	server := result.Packet{From: "server", What: "syn", Seq: 98}
	expect(t, SameISN([]result.Packet{syn(7), synack, server, syn(7)}), result.Pass, "")
	expect(t, SameISN([]result.Packet{syn(7), syn(8)}), result.Fail, explain.ISNChanged)
	expect(t, SameISN([]result.Packet{synack, server}), result.Skip, "")
	to := func(seq uint32, port int) result.Packet { // the kernel gives one port to two connections that differ in the other
		return result.Packet{From: "client", What: "syn", Seq: seq, SrcPort: 40000, DstPort: port}
	}
	expect(t, SameISN([]result.Packet{to(7, 8080), to(9, 8081), to(9, 8081)}), result.Pass, "")
	expect(t, SameISN([]result.Packet{to(7, 8080), to(9, 8081), to(8, 8081)}), result.Fail, explain.ISNChanged)
}

// TestArrivals catches a packet that only one capture has.
func TestArrivals(t *testing.T) {
	at := new(result.Seconds)
	both, sent, arrived := result.Packet{SentAt: at, ArrivedAt: at}, result.Packet{SentAt: at}, result.Packet{ArrivedAt: at}
	expect(t, Arrivals([]result.Packet{both, both}, 0, ""), result.Pass, "")
	expect(t, Arrivals([]result.Packet{both, sent}, 0, ""), result.Fail, explain.CapturesDisagree)
	expect(t, Arrivals([]result.Packet{arrived, both}, 0, ""), result.Fail, explain.CapturesDisagree)
	expect(t, Arrivals([]result.Packet{both, sent}, 1, ""), result.Inconclusive, explain.CaptureDrops)
	expect(t, Arrivals(nil, 0, ""), result.Skip, "")
}

// TestOrphans catches foreign packets that go unmentioned.
func TestOrphans(t *testing.T) {
	expect(t, Orphans(0), result.Pass, "")
	expect(t, Orphans(1), result.Fail, explain.UnexpectedPacket)
}

// TestAlign catches an alignment that shifts: one missing packet in the middle must stay one missing packet, however many follow.
func TestAlign(t *testing.T) {
	event := func(n int, at time.Duration) timeline.Event {
		return timeline.Event{Host: "client", What: timeline.SYNRetransmission, N: n, Bound: timeline.Bound{At: at, Earliest: at, Latest: at + 20*ms}}
	}
	var want []timeline.Event
	for n := range 6 {
		want = append(want, event(n+1, time.Duration(n+1)*time.Second))
	}
	for missing := range want {
		var got []timeline.Event
		for i, w := range want {
			if i != missing {
				got = append(got, seen(timeline.SYNRetransmission, len(got)+1, w.At+3*ms))
			}
		}
		for _, p := range align(want, got) {
			switch {
			case p.want == nil:
				t.Errorf("without %d: got an unexpected event at %v, want none", missing+1, p.got.At)
			case p.got == nil && p.want.N != missing+1:
				t.Errorf("without %d: got %d as missing, want %d", missing+1, p.want.N, missing+1)
			case p.got != nil && p.got.At != p.want.At+3*ms:
				t.Errorf("without %d: got %v beside the one expected at %v, want its own", missing+1, p.got.At, p.want.At)
			}
		}
	}
}

// TestFits catches a hypothesis test that picks the wrong rival: of the models for 1 to 5 retries, only the one that was observed
// explains every event, and one that predicts more or less explains fewer or leaves events over.
func TestFits(t *testing.T) {
	model := func(retries int) Input {
		in := Input{Jiffy: jiffy, Ended: 200 * time.Second}
		at := time.Duration(0)
		for n := 0; n <= retries+1; n++ {
			e := timeline.Event{Host: "client", What: timeline.SYNRetransmission, N: n, Bound: timeline.Bound{At: at, Earliest: at, Latest: at + at/8}}
			switch n {
			case 0:
				e.What = timeline.SYN
			case retries + 1:
				e.What, e.Errno, e.N = timeline.ConnectError, "ETIMEDOUT", 0
				in.Want.Outcome = &e
				continue
			}
			in.Want.Events = append(in.Want.Events, e)
			at += time.Second << n
		}
		return in
	}
	for observed := 1; observed <= 5; observed++ {
		for rival := 1; rival <= 5; rival++ {
			in := model(rival)
			in.Got = model(observed).Want
			fits, of := Fits(in), Of(in)
			if rival == observed && (fits != of || of != observed+2) {
				t.Errorf("%d retries, tested on themselves: got %d of %d, want %d of %d", observed, fits, of, observed+2, observed+2)
			}
			if rival != observed && (fits >= of || fits >= observed+2) {
				t.Errorf("%d retries, tested on %d: got %d of %d, want fewer than %d", observed, rival, fits, of, observed+2)
			}
		}
	}
}

// TestLink catches a check that passes on a link that is faster or slower than asked, or that loses packets.
func TestLink(t *testing.T) {
	packet := func(under time.Duration) result.Packet {
		from, to := result.Seconds(time.Second), result.Seconds(time.Second+under)
		return result.Packet{SentAt: &from, ArrivedAt: &to}
	}
	const half = 10 * time.Millisecond
	for _, tt := range []struct {
		name    string
		packets []result.Packet
		lost    int
		want    result.Verdict
		virtual result.Verdict
	}{
		{"as asked", []result.Packet{packet(half + 100*time.Microsecond), packet(half + 200*time.Microsecond)}, 0, result.Pass, result.Pass},
		{"one too fast", []result.Packet{packet(half + 100*time.Microsecond), packet(half - time.Microsecond)}, 0, result.Fail, result.Fail},
		{"one late", []result.Packet{packet(half + 100*time.Microsecond), packet(half + 5*time.Millisecond)}, 0, result.Inconclusive, result.Inconclusive},
		{"one late by less than a jiffy", []result.Packet{packet(half + 100*time.Microsecond), packet(half + 200*time.Microsecond), packet(half + 3*time.Millisecond)}, 0, result.Pass, result.Pass},
		{"most late", []result.Packet{packet(half + 100*time.Microsecond), packet(half + 2*time.Millisecond), packet(half + 3*time.Millisecond)}, 0, result.Inconclusive, result.Inconclusive},
		{"all late", []result.Packet{packet(half + 3*time.Millisecond), packet(half + 2*time.Millisecond)}, 0, result.Inconclusive, result.Fail},
		{"one lost", []result.Packet{packet(half)}, 1, result.Inconclusive, result.Inconclusive},
		{"none at both ends", []result.Packet{{}}, 0, result.Skip, result.Skip},
	} {
		for virtual, want := range map[bool]result.Verdict{false: tt.want, true: tt.virtual} {
			if c := Link(result.Link{RTT: result.Seconds(2 * half), Lost: tt.lost}, tt.packets, 4*time.Millisecond, virtual); c.Verdict != want {
				t.Errorf("%s, virtual %v: got %s (%s, %s), want %s", tt.name, virtual, c.Verdict, c.Observed, c.Detail, want)
			}
		}
	}
}

// TestLinkPlan catches a link whose plan is not followed: a segment that was to be held and came at once, one that others should not have
// waited for, and a rate that is not kept; and a plan that is taken for the other way, or for packets without data.
func TestLinkPlan(t *testing.T) {
	const half, us = 10 * time.Millisecond, time.Microsecond
	packet := func(from string, length int, under time.Duration) result.Packet {
		left, there := result.Seconds(time.Second), result.Seconds(time.Second+under)
		return result.Packet{From: from, Len: length, Frame: length + 66, SentAt: &left, ArrivedAt: &there}
	}
	held := result.Link{RTT: result.Seconds(2 * half), Hold: []result.Seconds{0, result.Seconds(5 * time.Millisecond)}}
	passing := result.Link{RTT: held.RTT, Behind: held.Hold}
	both := result.Link{RTT: held.RTT, Every: true, Hold: held.Hold, Back: []result.Seconds{result.Seconds(3 * time.Millisecond)}}
	flows := result.Link{RTT: held.RTT, Every: true, Flows: []result.Flow{{Port: 40001, Hold: both.Hold, Back: both.Back}, {Port: 40002, Hold: both.Back, Back: both.Hold}}}
	of := func(port int, p result.Packet) result.Packet {
		p.SrcPort, p.DstPort = port, 80
		if p.From == "server" {
			p.SrcPort, p.DstPort = 80, port
		}
		return p
	}
	slow := result.Link{RTT: result.Seconds(2 * half), Rate: 8 * 1066 * 1000} // a frame in a millisecond
	for _, tt := range []struct {
		name    string
		link    result.Link
		packets []result.Packet
		want    result.Verdict
	}{
		{"held as drawn, and the third behind it", held, []result.Packet{packet("client", 1000, half+50*us), packet("client", 1000, half+5050*us), packet("client", 1000, half+5060*us)}, result.Pass},
		{"not held", held, []result.Packet{packet("client", 1000, half+50*us), packet("client", 1000, half+60*us)}, result.Fail},
		{"the third did not wait", held, []result.Packet{packet("client", 1000, half+50*us), packet("client", 1000, half+5050*us), packet("client", 1000, half+60*us)}, result.Fail},
		{"it need not, where segments overtake", passing, []result.Packet{packet("client", 1000, half+50*us), packet("client", 1000, half+5050*us), packet("client", 1000, half+60*us)}, result.Pass},
		{"of the client's with data alone", held, []result.Packet{packet("server", 1000, half+50*us), packet("client", 0, half+50*us), packet("server", 0, half+60*us), packet("client", 1000, half+60*us)}, result.Pass},
		{"held longer than drawn", held, []result.Packet{packet("client", 1000, half+50*us), packet("client", 1000, half+15*time.Millisecond)}, result.Inconclusive},
		{"each packet of both ends", both, []result.Packet{packet("client", 0, half+50*us), packet("server", 0, half+3050*us), packet("client", 0, half+5050*us), packet("server", 0, half+3060*us)}, result.Pass},
		{"each packet: the server's was not held", both, []result.Packet{packet("client", 0, half+50*us), packet("server", 0, half+50*us)}, result.Fail},
		{"each connection by itself", flows, []result.Packet{of(40001, packet("client", 0, half+50*us)), of(40002, packet("client", 0, half+3050*us)), of(40001, packet("client", 0, half+5050*us)), of(40002, packet("server", 0, half+50*us)), of(40001, packet("server", 0, half+3050*us))}, result.Pass},
		{"a draw of another connection's", flows, []result.Packet{of(40001, packet("client", 0, half+3050*us)), of(40002, packet("client", 0, half+50*us))}, result.Fail},
		{"one after the other", slow, []result.Packet{packet("client", 1000, half+1050*us), packet("client", 1000, half+2050*us)}, result.Pass},
		{"two at once", slow, []result.Packet{packet("client", 1000, half+1050*us), packet("client", 1000, half+1060*us)}, result.Fail},
	} {
		if c := Link(tt.link, tt.packets, 4*time.Millisecond, false); c.Verdict != tt.want {
			t.Errorf("%s: got %s (%s, %s), want %s", tt.name, c.Verdict, c.Observed, c.Detail, tt.want)
		}
	}
}

// inOrder sorts events by time.
func inOrder(events []timeline.Event) []timeline.Event {
	slices.SortStableFunc(events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	return events
}

// TestHurriedProbe catches a tail loss probe that is called a contradiction where a stall held up the acknowledgement, or a program that had to read
// before; and one that is excused by a stall that was over before the segment, by one after the probe, by an acknowledgement that was there, or though it
// is another packet.
func TestHurriedProbe(t *testing.T) {
	at := func(host string, what timeline.What, at time.Duration) timeline.Event {
		return timeline.Event{Host: host, What: what, Bound: timeline.Bound{At: at, Earliest: at, Latest: at}}
	}
	data, probe := at("client", timeline.Data, 500*ms), at("client", timeline.TailLossProbe, 508*ms)
	data.RelSeq, data.Len, probe.RelSeq, probe.Len = 1, 100, 1, 100
	soon := probe
	soon.At = 507 * ms
	ack := func(t time.Duration, n uint32) []timeline.Event {
		e := at("server", timeline.ACK, t)
		e.RelAck = n
		return []timeline.Event{e}
	}
	for _, tt := range []struct {
		name   string
		extra  timeline.Event
		acks   []timeline.Event // predicted for when they come
		stalls []result.Stall
		want   result.Verdict
		lost   bool // the segment
	}{
		{"a stall in between", probe, nil, []result.Stall{{At: result.Seconds(501 * ms), For: result.Seconds(6 * ms)}}, result.Inconclusive, false},
		{"none", probe, nil, nil, result.Fail, false},
		{"a stall before", probe, nil, []result.Stall{{At: result.Seconds(480 * ms), For: result.Seconds(10 * ms)}}, result.Fail, false},
		{"a stall after", probe, nil, []result.Stall{{At: result.Seconds(510 * ms), For: result.Seconds(10 * ms)}}, result.Fail, false},
		{"a stall too short to be one", probe, nil, []result.Stall{{At: result.Seconds(503 * ms), For: result.Seconds(2 * ms)}}, result.Fail, false},
		{"another packet", at("client", timeline.Data, 508*ms), nil, []result.Stall{{At: result.Seconds(501 * ms), For: result.Seconds(6 * ms)}}, result.Fail, false},
		{"acknowledged only after it: a program had to read before", probe, ack(512*ms, 101), nil, result.Inconclusive, false},
		{"acknowledged before it", probe, ack(503*ms, 101), nil, result.Fail, false},
		{"something else was acknowledged after it", probe, ack(512*ms, 100), nil, result.Fail, false},
		{"acknowledged when no program is so late any more", probe, ack(760*ms, 101), nil, result.Fail, false},
		{"it did not wait for two jiffies", soon, ack(512*ms, 101), nil, result.Fail, false},
		{"the segment was lost, and the probe is what was acknowledged", probe, ack(512*ms, 101), nil, result.Fail, true},
		{"the same, and a stall in between", probe, ack(512*ms, 101), []result.Stall{{At: result.Seconds(501 * ms), For: result.Seconds(6 * ms)}}, result.Fail, true},
	} {
		syn, seen := at("client", timeline.SYN, 0), data
		seen.Dropped = tt.lost
		_, _, checks, _ := Schedule(Input{Jiffy: 4 * time.Millisecond, Ended: time.Second, Stalls: tt.stalls,
			Want: timeline.Timeline{Events: append([]timeline.Event{syn, data}, tt.acks...)}, Got: timeline.Timeline{Events: inOrder(append([]timeline.Event{syn, seen, tt.extra}, tt.acks...))}})
		worst := result.Pass
		for _, c := range checks {
			worst = result.Worse(worst, c.Verdict)
		}
		if worst != tt.want {
			t.Errorf("%s: got %s, want %s: %+v", tt.name, worst, tt.want, checks)
		}
	}
}

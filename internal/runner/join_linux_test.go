package runner

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
)

// twoSYNs is a SYN and its repeat a second later, both dropped at the server, with what the kernel tells of them.
func twoSYNs() *joining {
	client, server := netip.MustParseAddrPort("10.99.0.1:40000"), netip.MustParseAddrPort("10.99.0.2:8080")
	seg := pcapout.Segment{Src: client, Dst: server, Seq: 7, Flags: 2}
	j := &joining{v: &view{origin: time.Hour}}
	for i, at := range []time.Duration{0, time.Second} {
		sent, arrived := result.Seconds(at), result.Seconds(at+30*time.Microsecond)
		what := []string{"syn", "syn-retransmission"}[i]
		j.v.sights = append(j.v.sights, sight{from: "client", to: "server", segment: seg})
		j.packets = append(j.packets, result.Packet{ID: i + 1, From: "client", To: "server", What: what, SentAt: &sent, ArrivedAt: &arrived, Fate: result.Dropped})
		j.events = append(j.events, evidence.Event{Mono: time.Hour + at + 35*time.Microsecond, Kind: evidence.Drop, Host: "server", Src: client, Dst: server, Seq: 7,
			TCP: true, Flags: 2, Reason: netfilterDrop, Where: "nf_hook_slow"})
	}
	j.events = append(j.events, evidence.Event{Mono: time.Hour + time.Second + 20*time.Microsecond, Kind: evidence.Retransmit, Host: "client", Src: client, Dst: server,
		Seq: 7, EndSeq: 8, Cause: evidence.CauseRTO})
	j.joined = make([][]int, len(j.events))
	return j
}

// TestJoin catches an event that is given to the copy of its packet, or to another packet, or twice.
func TestJoin(t *testing.T) {
	j := twoSYNs()
	j.join()
	if diff := cmp.Diff([][]int{{0}, {1}, {1}}, j.joined); diff != "" {
		t.Errorf("packets of the events (-want +got): %s", diff)
	}
	for i, cause := range []string{"", evidence.CauseRTO} {
		if p := j.packets[i]; p.DropReason != netfilterDrop || p.DropHook != "nf_hook_slow" || p.Cause != cause {
			t.Errorf("packet %d: got %q in %q, cause %q; want cause %q", p.ID, p.DropReason, p.DropHook, p.Cause, cause)
		}
	}
	for name, spoil := range map[string]func(*evidence.Event){
		"another number":   func(e *evidence.Event) { e.Seq = 9 },
		"another port":     func(e *evidence.Event) { e.Src = netip.MustParseAddrPort("10.99.0.1:40001") },
		"other flags":      func(e *evidence.Event) { e.Flags = 0x10 },
		"data":             func(e *evidence.Event) { e.Len = 1 },
		"minutes later":    func(e *evidence.Event) { e.Mono += 5 * time.Minute },
		"not a TCP packet": func(e *evidence.Event) { e.TCP = false },
	} {
		j := twoSYNs()
		spoil(&j.events[0])
		j.join()
		if len(j.joined[0]) != 0 || j.packets[0].DropReason != "" {
			t.Errorf("%s: got packets %v, want none", name, j.joined[0])
		}
	}
	j = twoSYNs()
	j.events[2].Errno = 1
	if j.join(); len(j.joined[2]) != 0 || j.packets[1].Cause != "" {
		t.Errorf("a repeat that was not sent: got packets %v, want none", j.joined[2])
	}
}

// TestJoinDelivered catches the ordinary end of a packet that is taken for a loss.
func TestJoinDelivered(t *testing.T) {
	for reason, want := range map[string]string{notSpecified: "", "TCP_OLD_DATA": "TCP_OLD_DATA"} {
		j := twoSYNs()
		j.packets[0].Fate, j.events[0].Reason = result.Delivered, reason
		if j.join(); j.packets[0].DropReason != want {
			t.Errorf("%s: got %q, want %q", reason, j.packets[0].DropReason, want)
		}
	}
}

// TestCountSide catches an event that is counted for the wrong host or not at all, and one of the time in which the counters were read that
// they are expected to have.
func TestCountSide(t *testing.T) {
	j := twoSYNs()
	j.join()
	var s judge.Side
	s.Host = "client"
	all := &testimony{from: 2 * time.Hour}
	if j.count(&s, netip.MustParseAddr("10.99.0.1"), all); s.Sent != 1 || s.ByTimer != 1 || s.Drops != 0 || s.Uncaptured != 0 || s.SentMaybe != 0 {
		t.Errorf("client: got %+v", s)
	}
	s = judge.Side{Host: "server"}
	if j.count(&s, netip.MustParseAddr("10.99.0.2"), &testimony{from: time.Hour + time.Second}); s.Sent != 0 || s.Drops != 2 || s.DropsMaybe != 1 || s.OwnDrops != 0 {
		t.Errorf("server: got %+v", s)
	}
	j.joined[2] = nil // in no capture
	s = judge.Side{Host: "client"}
	if j.count(&s, netip.MustParseAddr("10.99.0.1"), all); s.Uncaptured != 1 {
		t.Errorf("a repeat that is in no capture: got %+v", s)
	}
	own := j.events[0]
	own.Host = "client"
	j.events, j.joined = append(j.events, own), append(j.joined, nil)
	s = judge.Side{Host: "client"}
	if j.count(&s, netip.MustParseAddr("10.99.0.1"), all); s.Uncaptured != 0 || s.OwnDrops != 1 {
		t.Errorf("a repeat that its own host threw away: got %+v", s)
	}
}

// TestSidesLate catches a packet of which the kernel could not tell any more, because it came while the counters were read, that is taken for one of which
// it was silent; and one of before that is forgiven.
func TestSidesLate(t *testing.T) {
	for _, tt := range []struct {
		from                  time.Duration
		dropped, untold, sent int
	}{{time.Hour + 500*time.Millisecond, 1, 0, 0}, {2 * time.Hour, 2, 1, 1}} {
		j := twoSYNs()
		j.events, j.joined = j.events[:1], j.joined[:1] // nothing was told of the second
		j.join()
		r := &run{lab: &lab.Lab{Client: &lab.Host{Name: "client"}, Server: &lab.Host{Name: "server"}}, told: &testimony{from: tt.from}, res: &result.Result{Packets: j.packets}}
		s := r.sides(j)
		if got := [3]int{s[1].Dropped, s[1].Dropped - s[1].DroppedTold, s[0].Repeats}; got != [3]int{tt.dropped, tt.untold, tt.sent} {
			t.Errorf("counters read from %v on: got %v, want %+v", tt.from, got, tt)
		}
	}
}

// TestJoinSegments catches an event of several segments of which only the first packet gets its cause.
func TestJoinSegments(t *testing.T) {
	j := twoSYNs()
	j.events = j.events[2:]
	j.events[0].EndSeq = 7 + 20
	for i := range j.v.sights {
		j.v.sights[i].segment.Seq += uint32(10 * i)
		at := result.Seconds(time.Second)
		j.packets[i].SentAt = &at
	}
	j.joined = make([][]int, 1)
	if j.join(); j.segments(0) != 2 || j.packets[0].Cause == "" || j.packets[1].Cause == "" {
		t.Errorf("got %v, want both packets", j.joined)
	}
}

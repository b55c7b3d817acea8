package runner

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestWound catches a timer that is taken for another's: of the other end, of another connection, of another kind, of a time before, or behind the event; and
// a record that is told without a clock to read it by.
func TestWound(t *testing.T) {
	const ms, jiffy = time.Millisecond, 4 * time.Millisecond
	client, server := netip.MustParseAddrPort("10.99.0.1:40000"), netip.MustParseAddrPort("10.99.0.2:8080")
	const origin = 100 * time.Second
	clock := kernel.Clock{Zero: ms, Jiffy: jiffy}
	fired := func(host string, at time.Duration, timer string, bucket uint64) evidence.Event {
		e := evidence.Event{Kind: evidence.Expire, Host: host, Mono: origin + at, Timer: timer, Bucket: bucket, Src: client, Dst: server}
		if host == "server" {
			e.Src, e.Dst = server, client
		}
		return e
	}
	const bucket = 25250 // begins 1.001 s after the origin
	write := fired("client", 1003*ms, evidence.WriteTimer, bucket)
	other := write
	other.Dst = netip.MustParseAddrPort("10.99.0.2:8081")
	again := timeline.Event{Host: "client", What: timeline.SYNRetransmission, Port: 8080, Bound: timeline.Bound{At: 1003*ms + 20*time.Microsecond}}
	death := timeline.Event{Host: "client", What: timeline.ConnectError, Port: 8080, Bound: timeline.Bound{At: 1050 * ms}}
	for _, tt := range []struct {
		name   string
		seen   timeline.Event
		events []evidence.Event
		want   time.Duration
	}{
		{"its own", again, []evidence.Event{write}, 1001 * ms},
		{"the last of two", again, []evidence.Event{fired("client", 950*ms, evidence.WriteTimer, bucket-13), write}, 1001 * ms},
		{"of the other end", again, []evidence.Event{fired("server", 1003*ms, evidence.WriteTimer, bucket)}, 0},
		{"of another connection", again, []evidence.Event{other}, 0},
		{"of another kind", again, []evidence.Event{fired("client", 1003*ms, evidence.DelackTimer, bucket)}, 0},
		{"of long before", again, []evidence.Event{fired("client", 900*ms, evidence.WriteTimer, bucket-25)}, 0},
		{"behind it", again, []evidence.Event{fired("client", 1004*ms, evidence.WriteTimer, bucket)}, 0},
		{"no timer", again, []evidence.Event{{Kind: evidence.StateChange, Host: "client", Mono: origin + 1003*ms, Src: client, Dst: server}}, 0},
		{"what a program learned later", death, []evidence.Event{write}, 1001 * ms},
		{"a packet that no timer sends", timeline.Event{Host: "client", What: timeline.Data, Port: 8080, Bound: again.Bound}, []evidence.Event{write}, 0},
		{"a delayed ACK", timeline.Event{Host: "server", What: timeline.ACK, Port: 8080, Bound: again.Bound}, []evidence.Event{fired("server", 1003*ms, evidence.DelackTimer, bucket)}, 1001 * ms},
	} {
		r, v := &run{told: &testimony{events: tt.events}, clock: &clock}, &view{origin: origin, several: true}
		got := timeline.Timeline{Events: []timeline.Event{tt.seen}, Outcome: &tt.seen}
		if r.wound(v, &got); got.Events[0].Due != tt.want || got.Outcome.Due != tt.want || tt.seen.Due != 0 {
			t.Errorf("%s: got %v and %v, want %v", tt.name, got.Events[0].Due, got.Outcome.Due, tt.want)
		}
		r.clock = nil
		bare := timeline.Timeline{Events: []timeline.Event{tt.seen}}
		if r.wound(v, &bare); bare.Events[0].Due != 0 {
			t.Errorf("%s, no clock: got %v, want none", tt.name, bare.Events[0].Due)
		}
	}
}

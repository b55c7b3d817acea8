package experiments

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestTimeoutsJitter catches a connection that is predicted with another's draws or with none, a table whose rows are not those of the prediction, and a
// part of the table in which a connection has other draws than in the whole one.
func TestTimeoutsJitter(t *testing.T) {
	flags := map[string]string{"rtt": "100ms", "jitter": "20ms", "seed": "3"}
	e := timeoutsEnv(t, Fast, "6.18", flags)
	whole, err := predictTimeouts(e)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := casesOfTimeouts(e)
	if err != nil {
		t.Fatal(err)
	}
	flags["cases"] = "5,12"
	part := timeoutsEnv(t, Fast, "6.18", flags)
	for _, one := range entries(part.Options) {
		if want := e.Options.jitteredFlow(one.port); !slices.Equal(part.Options.jitteredFlow(one.port).Hold, want.Hold) {
			t.Errorf("%s: got other draws in a part of the table, want those of the whole one", one.name)
		}
	}
	opened := map[time.Duration]bool{}
	for i, one := range entries(e.Options) {
		plan := e.Options.jitteredFlow(one.port)
		trip := oracle.RoundTrip(100*time.Millisecond, plan)
		of := func(what timeline.What) *timeline.Event {
			j := slices.IndexFunc(whole.Events, func(ev timeline.Event) bool { return ev.Port == one.port && ev.What == what })
			if j < 0 {
				return nil
			}
			return &whole.Events[j]
		}
		if one.is != plightConnect {
			for what, want := range map[timeline.What]time.Duration{timeline.SYNACK: 50*time.Millisecond + plan.Hold[0], timeline.ACK: trip} {
				if got := of(what); got == nil || got.At-one.offset != want {
					t.Errorf("%s: got the %s %+v, want it %v after the SYN", one.name, what, got, want)
				}
			}
			opened[trip] = true
		}
		for _, what := range []timeline.What{timeline.SocketError, timeline.ConnectError} {
			if got := of(what); got != nil {
				_, since := one.since(e)
				if at := got.At - one.offset - since; (at-rows[i].At.Duration()).Abs() > time.Millisecond || at > rows[i].Latest.Duration() {
					t.Errorf("%s: got its end %v after %s, want %v as in the table, up to %v", one.name, at, rows[i].From, rows[i].At, rows[i].Latest)
				}
			}
		}
	}
	if len(opened) < 10 {
		t.Errorf("got %d different round trips of the handshakes, want one for almost each of 12", len(opened))
	}
	if oracle.RoundTrip(100*time.Millisecond, e.Options.jitteredFlow(firstStanding)) == oracle.RoundTrip(100*time.Millisecond, e.Options.jitteredFlow(firstStanding+1)) {
		t.Error("got the same draws for two ports, want each its own")
	}
}

// TestTimeoutsBeyondThrows plays the rows that send more packets than there are dice for: a window that stays closed for hours is asked for 80 times. It
// catches a packet behind the last draw that is predicted with one, one before it that is not, and a row that has come to more packets than this knows of.
func TestTimeoutsBeyondThrows(t *testing.T) {
	for _, p := range []Profile{Textbook, Kernel} {
		for _, version := range []string{"6.18", "5.10"} {
			e := timeoutsEnv(t, p, version, map[string]string{"rtt": "100ms", "jitter": "20ms", "seed": "3"})
			e.Start = &oracle.Start{Jiffies: 1 << 40, Phase: time.Millisecond, Called: true}
			whole, err := predictTimeouts(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range entries(e.Options) {
				draws := e.Options.jitteredFlow(one.port)
				sent, behind := 0, 0
				for _, ev := range whole.Events {
					if ev.Port != one.port || ev.Host != "client" || !ev.What.OnWire() {
						continue
					}
					if sent++; sent > flowThrows {
						behind++
					}
				}
				long := one.is == plightUnread && (!one.user || version == "5.10")
				if long != (behind > 0) {
					t.Errorf("%s profile, %s, %s: got %d packets of the client's, %d of them behind the last draw", p, version, one.name, sent, behind)
				}
				if long {
					answersHeld(t, whole, one.port, draws.Hold)
				}
			}
		}
	}
}

// answersHeld checks that the k-th packet of a connection's client, a window probe, is answered after the k-th draw, or after none.
func answersHeld(t *testing.T, tl timeline.Timeline, port uint16, hold []time.Duration) {
	t.Helper()
	sent, answered := 3, 0 // the SYN, the third packet, the data
	for _, ev := range tl.Events {
		switch {
		case ev.Port != port:
		case ev.What == timeline.WindowProbe:
			sent++
		case ev.What == timeline.WindowProbeACK:
			want := 50 * time.Millisecond
			if sent <= len(hold) {
				want += hold[sent-1]
			}
			if answered++; ev.After != want {
				t.Errorf("port %d: the answer to packet %d: got it %v after the probe, want %v", port, sent, ev.After, want)
			}
		}
	}
	if answered < flowThrows {
		t.Errorf("port %d: got %d answers, want more than there are draws", port, answered)
	}
}

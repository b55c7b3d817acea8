package experiments

import (
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// handshakeEnv is a 6.18 with the textbook options of exp0, and some of one's own: "close=3".
func handshakeEnv(t *testing.T, own ...string) Env {
	t.Helper()
	e := env(t)
	e.Options = find(t, "exp0-handshake").Defaults()
	for _, o := range own {
		flag, value, _ := strings.Cut(o, "=")
		e.Options[flag] = value
	}
	return e
}

// closed is a result in which an exchange was closed in so many packets.
func closed(packets int) *result.Result {
	r := &result.Result{}
	add := func(from string, what timeline.What, seq, ack uint32, n int, at time.Duration) {
		s := result.Seconds(at)
		r.Packets = append(r.Packets, result.Packet{ID: len(r.Packets) + 1, From: from, What: string(what), RelSeq: seq, RelAck: ack, Len: n, SentAt: &s, ArrivedAt: &s})
	}
	const ms = time.Millisecond
	add("client", timeline.SYN, 0, 0, 0, 0)
	add("server", timeline.SYNACK, 0, 1, 0, 0)
	add("client", timeline.ACK, 1, 1, 0, 0)
	add("client", timeline.Data, 1, 1, 58, 100*ms)
	add("server", timeline.ACK, 1, 59, 0, 100*ms)
	add("server", timeline.Data, 1, 59, 128, 100*ms)
	add("client", timeline.ACK, 59, 129, 0, 100*ms)
	add("client", timeline.FIN, 59, 129, 0, 200*ms)
	if packets == 4 {
		add("server", timeline.ACK, 129, 60, 0, 242*ms)
	}
	add("server", timeline.FIN, 129, 60, 0, 400*ms)
	add("client", timeline.ACK, 60, 130, 0, 400*ms)
	return r
}

// TestHandshakeChecks catches a check that cannot fail: another number of packets, a number that was not used, and a run in doubt.
func TestHandshakeChecks(t *testing.T) {
	for _, c := range []struct {
		name string
		env  Env
		r    *result.Result
		want []result.Verdict // packets to close, numbers of the client, of the server
	}{
		{"four as predicted", handshakeEnv(t), closed(4), []result.Verdict{result.Pass, result.Pass, result.Pass}},
		{"three, four predicted", handshakeEnv(t), closed(3), []result.Verdict{result.Fail, result.Pass, result.Pass}},
		{"three as predicted", handshakeEnv(t, "close=3"), closed(3), []result.Verdict{result.Pass, result.Pass, result.Pass}},
		{"four, three predicted", handshakeEnv(t, "close=3"), closed(4), []result.Verdict{result.Fail, result.Pass, result.Pass}},
		{"near 40 ms: three", handshakeEnv(t, "linger=40ms"), closed(3), []result.Verdict{result.Pass, result.Pass, result.Pass}},
		{"near 40 ms: four", handshakeEnv(t, "linger=40ms"), closed(4), []result.Verdict{result.Pass, result.Pass, result.Pass}},
		{"nothing was closed", handshakeEnv(t), func() *result.Result { r := closed(4); r.Packets = r.Packets[:7]; return r }(),
			[]result.Verdict{result.Fail, result.Fail, result.Fail}},
		{"another answer", handshakeEnv(t, "closer=server"), closed(4), []result.Verdict{result.Pass, result.Pass, result.Fail}},
		{"in doubt", handshakeEnv(t), func() *result.Result {
			r := closed(3)
			r.Checks = []result.Check{{Verdict: result.Inconclusive, Code: explain.CaptureDrops}}
			return r
		}(), []result.Verdict{result.Inconclusive, result.Pass, result.Pass}},
		{"the machine stalled", handshakeEnv(t), func() *result.Result {
			r := closed(3)
			r.Checks = []result.Check{{Verdict: result.Inconclusive, Code: explain.Stall}}
			return r
		}(), []result.Verdict{result.Fail, result.Pass, result.Pass}},
	} {
		got := checksOfHandshake(c.env, c.r)
		for i, want := range c.want {
			if i >= len(got) || got[i].Verdict != want {
				t.Errorf("%s: check %d: got %+v, want %s", c.name, i, got, want)
			}
		}
	}
	if got := checksOfHandshake(handshakeEnv(t, "port=closed"), closed(4)); got != nil {
		t.Errorf("refused: got %+v, want no checks of a close", got)
	}
}

// TestHandshakeStory catches a story that tells of four packets where there were three, or of an acknowledgement that was not there.
func TestHandshakeStory(t *testing.T) {
	x := find(t, "exp0-handshake")
	for _, c := range []struct {
		r          *result.Result
		want, lack []string
	}{
		{closed(4), []string{"42.000 ms after it had come", "200.000 ms after it: four packets", "58 bytes, numbers 1 to 58, and was acknowledged with 59"}, []string{"TIME-WAIT"}},
		{closed(3), []string{"before its delayed ACK was due", "three packets"}, []string{"four"}},
		{&result.Result{}, []string{"No capture shows a SYN"}, []string{"opened"}},
		{func() *result.Result { r := closed(4); r.Packets = r.Packets[:1]; return r }(), []string{"was not completed"}, []string{"opened"}},
		{func() *result.Result { r := closed(4); r.Packets = r.Packets[:7]; return r }(), []string{"Nobody closed"}, []string{"closed first"}},
	} {
		told := sentences(x, c.r)
		for _, w := range c.want {
			if !strings.Contains(told, w) {
				t.Errorf("got\n%s\nwant %q in it", told, w)
			}
		}
		for _, w := range c.lack {
			if strings.Contains(told, w) {
				t.Errorf("got\n%s\nwant no %q in it", told, w)
			}
		}
	}
}

// TestHandshakeTogether catches a prediction that fails while a run goes on and only some of the calls are known as they were made.
func TestHandshakeTogether(t *testing.T) {
	x := find(t, "exp0-handshake")
	for _, closer := range []string{"client", "server"} {
		for _, rtt := range []string{"0s", "40ms"} {
			e := handshakeEnv(t, "closer="+closer, "rtt="+rtt)
			for _, by := range []time.Duration{-90 * time.Millisecond, 160 * time.Millisecond} {
				if by < 0 && rtt != "0s" {
					continue // the request comes after the handshake
				}
				for i := range 16 {
					moved := e
					for k, c := range callsOfHandshake(e) {
						if i&(1<<k) != 0 {
							moved = moved.Moved(c.Name, by)
						}
					}
					if _, err := x.Predict(moved); err != nil {
						t.Errorf("closer %s, RTT %s, moved by %v: calls %04b: %v", closer, rtt, by, i, err)
					}
				}
			}
		}
	}
}

// TestHandshakeScript and its goldens are what a reader types.
func TestHandshakeScript(t *testing.T) {
	for name, flags := range map[string]map[string]string{
		"exp0-handshake.sh": nil, "exp0-handshake-server.sh": {"closer": "server", "close": "3"}, "exp0-handshake-reject.sh": {"reject": "icmp-host-unreachable"},
	} {
		x := find(t, "exp0-handshake")
		p, err := x.Plan(Textbook, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, name, strings.Join(x.Script(p), "\n")+"\n")
	}
}

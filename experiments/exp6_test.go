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

// recoveryEnv is exp6 with the flags, on a 6.18 with its defaults.
func recoveryEnv(t *testing.T, flags map[string]string) Env {
	t.Helper()
	p, err := find(t, "exp6-fast-retransmit").Plan(Textbook, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := Env{Profile: Textbook, Facts: facts(t, "6.18"), Options: p.Options, Sysctls: map[string]string{}}
	for _, host := range []string{"client", "server"} {
		for name, v := range map[string]string{"tcp_sack": "1", "tcp_recovery": "1", "tcp_early_retrans": "3", "tcp_reordering": "3", "tcp_frto": "2",
			"tcp_rto_min_us": "200000", "tcp_rto_max_ms": "120000", "tcp_timestamps": "1"} {
			e.Sysctls[host+".net.ipv4."+name] = v
		}
	}
	for _, s := range p.Settings {
		e.Sysctls[s.Host+"."+s.Name] = s.Value
	}
	return e
}

// TestRecoveryFlags catches a flag that does not reach the prediction: which segments are sent again, and by what.
func TestRecoveryFlags(t *testing.T) {
	for _, tt := range []struct {
		flags map[string]string
		want  string
	}{
		{nil, "fast-retransmission 15"},
		{map[string]string{"lose": "19,15"}, "fast-retransmission 15, fast-retransmission 19"},
		{map[string]string{"lose": "last"}, "tail-loss-probe 20"},
		{map[string]string{"lose": "last", "segments": "5"}, "tail-loss-probe 5"},
		{map[string]string{"lose": "last", "sack": "off"}, "rto-retransmission 20"},
		{map[string]string{"lose": "last", "early-retrans": "0"}, "rto-retransmission 20"},
		{map[string]string{"lose": "17", "segments": "19", "sack": "off"}, "rto-retransmission 17"},
		{map[string]string{"lose": "17", "segments": "19", "sack": "on"}, "fast-retransmission 17"},
	} {
		tl, err := predictRecovery(recoveryEnv(t, tt.flags))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range tl.Events {
			if e.What.Again() && e.Host == "client" {
				got = append(got, string(e.What)+" "+segment(result.Packet{RelSeq: e.RelSeq}))
			}
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%v: got %s, want %s", tt.flags, s, tt.want)
		}
	}
	if _, err := predictRecovery(recoveryEnv(t, map[string]string{"lose": "30"})); err == nil || !strings.Contains(err.Error(), "number 30 never comes") {
		t.Errorf("got %v, want an error that number 30 never comes", err)
	}
	if _, err := find(t, "exp6-fast-retransmit").Plan(Textbook, map[string]string{"sack": "perhaps"}, nil); err == nil {
		t.Error("--sack=perhaps: got no error")
	}
}

// sound is a run with segments 1 to 5, of which the second is lost, on a link of 20 ms, with SACK.
func sound() []result.Packet {
	at := func(ms float64) *result.Seconds {
		s := result.Seconds(time.Duration(ms * float64(time.Millisecond)))
		return &s
	}
	data := func(k int, sent float64) result.Packet {
		return result.Packet{From: "client", What: string(timeline.Data), Flags: "ACK", RelSeq: uint32(1 + (k-1)*1000), Len: 1000, SentAt: at(sent), ArrivedAt: at(sent + 10.1), Fate: result.Delivered}
	}
	ack := func(what timeline.What, n int, upTo uint32, sent float64, sack ...[2]uint32) result.Packet {
		return result.Packet{From: "server", What: string(what), N: n, Flags: "ACK", RelSeq: 1, RelAck: upTo, SACK: sack, SentAt: at(sent), ArrivedAt: at(sent + 10.1), Fate: result.Delivered}
	}
	p := []result.Packet{data(1, 0), data(2, 0.1), data(3, 0.2), data(4, 0.3), data(5, 0.4),
		ack(timeline.ACK, 0, 1001, 10.105), ack(timeline.DuplicateACK, 1, 1001, 10.305, [2]uint32{2001, 3001}),
		ack(timeline.DuplicateACK, 2, 1001, 10.405, [2]uint32{2001, 4001}), ack(timeline.DuplicateACK, 3, 1001, 10.505, [2]uint32{2001, 5001}),
		data(2, 20.7), ack(timeline.ACK, 0, 5001, 30.9)}
	p[1].Fate, p[9].What = result.Dropped, string(timeline.FastRetransmit)
	return p
}

// roundLater moves a packet a round trip of 20 ms, and a bit, to later.
func roundLater(p *result.Packet) {
	for _, at := range []**result.Seconds{&p.SentAt, &p.ArrivedAt} {
		later := **at + result.Seconds(21*time.Millisecond)
		*at = &later
	}
}

// TestRecoveryChecks catches a check that cannot fail: each row spoils one thing of a sound run.
func TestRecoveryChecks(t *testing.T) {
	e := recoveryEnv(t, map[string]string{"rtt": "20ms", "segments": "5", "lose": "2"})
	for _, tt := range []struct {
		name  string
		spoil func(*result.Result, Env) Env
		check string
		want  result.Verdict
		code  string
	}{
		{"nothing", func(_ *result.Result, e Env) Env { return e }, "", result.Pass, ""},
		{"a block too short", func(r *result.Result, e Env) Env { r.Packets[7].SACK = [][2]uint32{{2001, 3001}}; return e }, "sack-blocks", result.Fail, explain.WrongSACK},
		{"no block", func(r *result.Result, e Env) Env { r.Packets[6].SACK = nil; return e }, "sack-blocks", result.Fail, explain.WrongSACK},
		{"a block of what was lost", func(r *result.Result, e Env) Env { r.Packets[6].SACK = [][2]uint32{{1001, 3001}}; return e }, "sack-blocks", result.Fail, explain.WrongSACK},
		{"a D-SACK of what came once", func(r *result.Result, e Env) Env { r.Packets[10].SACK = [][2]uint32{{1, 1001}}; return e }, "sack-blocks", result.Fail, explain.WrongSACK},
		{"a D-SACK of what came twice", func(r *result.Result, e Env) Env {
			r.Packets[1].Fate = result.Delivered
			for i := 6; i < 9; i++ {
				r.Packets[i].SACK, r.Packets[i].RelAck = nil, uint32(1001+(i-5)*1000+1000)
			}
			r.Packets[10].SACK = [][2]uint32{{1001, 2001}}
			return e
		}, "sack-blocks", result.Pass, ""},
		{"blocks without SACK", func(_ *result.Result, e Env) Env { return e.With("server", "net.ipv4.tcp_sack", "0") }, "sack-blocks", result.Fail, explain.WrongSACK},
		{"without a duplicate ACK", func(r *result.Result, e Env) Env {
			for i := 6; i < 9; i++ {
				r.Packets[i].What, r.Packets[i].SACK = string(timeline.ACK), nil
			}
			return e
		}, "duplicates", result.Fail, explain.FastRetransmits},
		{"two duplicate ACKs without SACK", func(r *result.Result, e Env) Env {
			r.Packets[8].What = string(timeline.ACK)
			return e.With("client", "net.ipv4.tcp_sack", "0")
		}, "duplicates", result.Fail, explain.FastRetransmits},
		{"a second round", func(r *result.Result, e Env) Env {
			roundLater(&r.Packets[10])
			return e
		}, "recovery-rtts", result.Fail, explain.WrongRounds},
		{"a second round, and the link's own lateness is as much", func(r *result.Result, e Env) Env {
			roundLater(&r.Packets[10])
			slow := *r.Packets[0].ArrivedAt + result.Seconds(3*time.Millisecond)
			r.Packets[0].ArrivedAt = &slow
			return e
		}, "recovery-rtts", result.Inconclusive, explain.LinkRTT},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tl, err := predictRecovery(e)
			if err != nil {
				t.Fatal(err)
			}
			r := &result.Result{Packets: sound()}
			for _, x := range tl.Events {
				r.Events = append(r.Events, result.Event{At: result.Seconds(x.At), Host: x.Host, What: string(x.What), N: x.N, RelSeq: x.RelSeq, Exact: x.Exact, Maybe: x.Maybe, Expected: true})
			}
			for _, c := range checksOfRecovery(tt.spoil(r, e), r) {
				switch {
				case c.ID == tt.check && (c.Verdict != tt.want || c.Code != tt.code):
					t.Errorf("%s: got %s %s (%s), want %s %s", c.ID, c.Verdict, c.Code, c.Observed, tt.want, tt.code)
				case tt.check == "" && c.Verdict != result.Pass:
					t.Errorf("%s: got %s, expected %s, observed %s: %s; want pass", c.ID, c.Verdict, c.Expected, c.Observed, c.Detail)
				}
			}
		})
	}
}

// TestRecoveryStory catches a sentence that the packets do not bear out.
func TestRecoveryStory(t *testing.T) {
	r := &result.Result{Packets: sound()}
	text := func() string {
		var s []string
		for _, x := range storyOfRecovery(r) {
			s = append(s, x.Text)
		}
		return strings.Join(s, " ")
	}
	for _, want := range []string{"5 segments left in one burst", "Segment 2 reached", "3 times, when something came that was not what it waited for, and said with SACK", "sent again: segment 2."} {
		if got := text(); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	r.Packets[1].Fate = result.Delivered
	if got := text(); !strings.Contains(got, "All of them arrived") || !strings.Contains(got, "1 were needless") {
		t.Errorf("nothing lost: got %q", got)
	}
}

// TestRecoveryScript compares the shell commands with the golden.
func TestRecoveryScript(t *testing.T) {
	x := find(t, "exp6-fast-retransmit")
	p, err := x.Plan(Textbook, map[string]string{"lose": "15,19", "sack": "off"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, "exp6-fast-retransmit.sh", strings.Join(x.Script(p), "\n")+"\n")
}

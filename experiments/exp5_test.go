package experiments

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// fastOpenEnv is a 6.18 with these bits and options, three requests of 100 bytes.
func fastOpenEnv(t *testing.T, client, server string, options Options) Env {
	t.Helper()
	e := Env{Profile: Textbook, Facts: facts(t, "6.18"), Sysctls: map[string]string{
		"client.net.ipv4.tcp_syn_retries": "6", "client.net.ipv4.tcp_syn_linear_timeouts": "0", "client.net.ipv4.tcp_rto_max_ms": "120000",
		"client.net.ipv4.tcp_fastopen": client, "server.net.ipv4.tcp_fastopen": server, "server.net.ipv4.tcp_rto_min_us": "200000",
	}, Options: Options{"listener": "on", "requests": "3", "bytes": "100", "lose": "none", "rtt": "20ms"}}
	for k, v := range options {
		e.Options[k] = v
	}
	return e
}

const cookie = "0102030405060708"

// captured writes the packets that an honest kernel would send, from the openings alone: who, what, option, length, acknowledgement.
func captured(t *testing.T, e Env) *result.Result {
	t.Helper()
	x, err := fastOpenInput(e)
	if err != nil {
		t.Fatal(err)
	}
	r := &result.Result{}
	at := func(d time.Duration) *result.Seconds { s := result.Seconds(d); return &s }
	for i, o := range x.Openings() {
		now := x.Calls[i].Open
		send := func(host string, what timeline.What, ack, length int, option string) *result.Packet {
			p := result.Packet{ID: len(r.Packets) + 1, From: host, SrcPort: 40000 + i, DstPort: httpPort, What: string(what), RelAck: uint32(ack), Len: length,
				FastOpen: option, SentAt: at(now), ArrivedAt: at(now + x.OneWay), Fate: result.Delivered}
			if host == "server" {
				p.SrcPort, p.DstPort = p.DstPort, p.SrcPort
			}
			r.Packets = append(r.Packets, p)
			return &r.Packets[len(r.Packets)-1]
		}
		option, length := "", 0
		switch {
		case o.Shows:
			option = cookie
		case o.Experimental:
			option = result.FastOpenExperiment
		case o.Asks:
			option = result.FastOpenRequest
		}
		if o.Data {
			length = x.Request
		}
		send("client", timeline.SYN, 0, length, option)
		now += x.OneWay
		given, ack := "", 1
		if o.Gives {
			given = cookie
		}
		if o.Accepted {
			ack += x.Request
		}
		send("server", timeline.SYNACK, ack, 0, given)
		if !o.Accepted {
			now += x.OneWay
			send("client", timeline.Data, 1, x.Request, "")
			now += x.OneWay
		}
		send("server", timeline.Data, 1+x.Request, x.Answer, "")
	}
	return r
}

// TestFastOpenChecks: what the rules say passes, for every pair of bits; and a packet that is not what they say fails the check that is
// about it. It catches a check that cannot fail, and one that fails on what is right.
func TestFastOpenChecks(t *testing.T) {
	for _, client := range []string{"0", "1", "2", "3", "5", "7"} {
		for _, server := range []string{"0", "1", "2", "3", "0x202", "0x402", "0x602"} {
			for _, listener := range []string{"on", "off"} {
				e := fastOpenEnv(t, client, server, Options{"listener": listener})
				for _, c := range checksOfFastOpen(e, captured(t, e)) {
					if c.Verdict != result.Pass {
						t.Errorf("client %s, server %s, listener %s: got %+v, want pass", client, server, listener, c)
					}
				}
			}
		}
	}
	e := fastOpenEnv(t, "1", "2", nil)
	find := func(r *result.Result, what timeline.What, port int) *result.Packet {
		for i := range r.Packets {
			if p := &r.Packets[i]; p.What == string(what) && (p.SrcPort == port || p.DstPort == port) {
				return p
			}
		}
		t.Fatalf("no %s at port %d", what, port)
		return nil
	}
	for _, c := range []struct {
		name  string
		spoil func(*result.Result)
		want  []string
	}{
		{"another cookie is shown", func(r *result.Result) { find(r, timeline.SYN, 40001).FastOpen = "1112131415161718" }, []string{"syn-option-2"}},
		{"no cookie is asked for", func(r *result.Result) { find(r, timeline.SYN, 40000).FastOpen = "" }, []string{"syn-option-1"}},
		{"the other option", func(r *result.Result) { find(r, timeline.SYN, 40000).FastOpen = result.FastOpenExperiment }, []string{"syn-option-1"}},
		{"a short cookie", func(r *result.Result) {
			for _, p := range []*result.Packet{find(r, timeline.SYNACK, 40000), find(r, timeline.SYN, 40001), find(r, timeline.SYN, 40002)} {
				p.FastOpen = "01020304"
			}
		}, []string{"cookie-1"}},
		{"no cookie is given", func(r *result.Result) { find(r, timeline.SYNACK, 40000).FastOpen = "" }, []string{"cookie-1", "syn-option-2", "syn-option-3"}},
		{"the data are not taken", func(r *result.Result) {
			find(r, timeline.SYNACK, 40002).RelAck = 1
			p := *find(r, timeline.SYN, 40002)
			p.What, p.ID, p.FastOpen = string(timeline.DataAgain), 99, ""
			i := slices.IndexFunc(r.Packets, func(p result.Packet) bool { return p.What == string(timeline.Data) && p.DstPort == 40002 })
			r.Packets = slices.Insert(r.Packets, i, p)
		}, []string{"round-trips-3"}},
		{"no answer", func(r *result.Result) { r.Packets = r.Packets[:len(r.Packets)-1] }, []string{"round-trips-3", "answer-time-3"}},
		{"the answer comes before it can", func(r *result.Result) { *find(r, timeline.Data, 40001).ArrivedAt -= result.Seconds(time.Millisecond) }, []string{"answer-time-2"}},
	} {
		r := captured(t, e)
		c.spoil(r)
		var got []string
		for _, check := range checksOfFastOpen(e, r) {
			if check.Verdict == result.Fail {
				got = append(got, check.ID)
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: failed checks (-want +got)\n%s", c.name, d)
		}
	}
	late := captured(t, e)
	*find(late, timeline.Data, 40001).ArrivedAt += result.Seconds(25 * time.Millisecond)
	lost := captured(t, e)
	lost.Captures = []result.Capture{{Host: "client", Dropped: 2}}
	for name, r := range map[string]*result.Result{"an answer later by a round trip": late, "a capture that lost packets": lost} {
		if !slices.ContainsFunc(checksOfFastOpen(e, r), func(c result.Check) bool { return c.Verdict == result.Inconclusive }) {
			t.Errorf("%s: got no inconclusive check", name)
		}
	}
}

// TestFastOpenCalls catches calls that the prediction does not follow, and a loss in a request that is not made.
func TestFastOpenCalls(t *testing.T) {
	e := fastOpenEnv(t, "1", "2", Options{"lose": "syn-ack"})
	var names []string
	for _, c := range callsOfFastOpen(e) {
		names = append(names, c.Name)
		if c.At%e.Facts.Jiffy() != 0 {
			t.Errorf("%s: got %v, want whole jiffies", c.Name, c.At)
		}
		before, err := predictFastOpen(e)
		if err != nil {
			t.Fatal(err)
		}
		after, err := predictFastOpen(e.Moved(c.Name, 20*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if cmp.Diff(before, after) == "" {
			t.Errorf("%s: moved by 20 ms, and the prediction is the same", c.Name)
		}
	}
	if got, want := strings.Join(names, ", "), "close 1, open 2, close 2, open 3, close 3"; got != want {
		t.Errorf("calls: got %s, want %s", got, want)
	}
	if _, err := predictFastOpen(fastOpenEnv(t, "1", "2", Options{"lose": "syn-data", "requests": "1"})); err == nil {
		t.Error("a loss in the second of one request: got no error")
	}
	if x, err := fastOpenInput(fastOpenEnv(t, "1", "0x602", nil)); err != nil || x.Server.Bits != oracle.FastOpenServer|oracle.FastOpenServerNoCookie|oracle.FastOpenAllListeners {
		t.Errorf("0x602: got %+v, %v", x.Server, err)
	}
}

// TestFastOpenStory catches sentences about packets that were not sent, and numbers that are not theirs.
func TestFastOpenStory(t *testing.T) {
	x := &Experiment{Story: storyOfFastOpen}
	told := sentences(x, captured(t, fastOpenEnv(t, "1", "2", nil)))
	for _, want := range []string{"Request 1: the SYN asked for a cookie, with no data. [1]", "acknowledged 1: the SYN, and brought the cookie " + cookie, "2 round trips, 40.0 ms",
		"Request 2: the SYN showed the cookie " + cookie + " and carried 100 bytes of data.", "acknowledged 101 = 1 + 100: the SYN and its data.", "one round trip, 20.0 ms"} {
		if !strings.Contains(told, want) {
			t.Errorf("got\n%s\nwant %q in it", told, want)
		}
	}
	told = sentences(x, captured(t, fastOpenEnv(t, "0", "2", nil)))
	if !strings.Contains(told, "a plain SYN") || strings.Contains(told, "cookie") {
		t.Errorf("Fast Open off: got\n%s\nwant plain SYNs and no cookie", told)
	}
	told = sentences(x, captured(t, fastOpenEnv(t, "5", "2", nil)))
	if !strings.Contains(told, "without a cookie") || !strings.Contains(told, "the SYN without its data, which the client sent again with the third packet") {
		t.Errorf("no cookie at the client only: got\n%s", told)
	}
	if told := sentences(x, &result.Result{}); told != "" {
		t.Errorf("an empty run: got\n%s\nwant nothing", told)
	}
}

// TestFastOpenScript compares the shell commands with the golden: they are what a reader types.
func TestFastOpenScript(t *testing.T) {
	x := find(t, "exp5-fastopen")
	p, err := x.Plan(Fast, map[string]string{"lose": "syn-data"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, "exp5-fastopen.sh", strings.Join(x.Script(p), "\n")+"\n")
}

// TestFastOpenPredicts catches a pair of settings for which there is no prediction, or none within half a second.
func TestFastOpenPredicts(t *testing.T) {
	for _, lose := range []string{"none", "syn-data", "syn-ack"} {
		for _, rtt := range []string{"0s", "20ms", "200ms"} {
			for client := range 8 {
				e := fastOpenEnv(t, fmt.Sprint(client), "0x402", Options{"lose": lose, "rtt": rtt, "listener": "off"})
				if _, err := predictFastOpen(e); err != nil {
					t.Errorf("client %d, lose %s, rtt %s: %v", client, lose, rtt, err)
				}
			}
		}
	}
}

// TestFastOpenWithoutTimestamps catches a prediction of what is not modelled: the RTO after a lost SYN-ACK is another one without timestamps.
func TestFastOpenWithoutTimestamps(t *testing.T) {
	for lose, refused := range map[string]bool{"syn-ack": true, "syn-data": false} {
		e := fastOpenEnv(t, "1", "2", Options{"lose": lose})
		_, err := predictFastOpen(e.With("server", "net.ipv4.tcp_timestamps", "0"))
		if got := err != nil && strings.Contains(err.Error(), "tcp_timestamps=0 is not modelled"); got != refused {
			t.Errorf("--lose=%s without timestamps: got %v, refused: want %v", lose, err, refused)
		}
	}
}

package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// threeRequests is a client that sends 18 bytes three times and gets 18 back, with time for a loss in the second.
func threeRequests(client, server int, queue bool) FastOpen {
	const ms = time.Millisecond
	return FastOpen{Connect: Connect{SYNRetries: 6}, Bits: client, Server: FastOpenListener{Bits: server, Queue: queue}, Request: 18, Answer: 18,
		Calls: []FastOpenCall{{0, 300 * ms, 0}, {500 * ms, 2400 * ms, 480 * ms}, {2500 * ms, 2800 * ms, 2480 * ms}}}
}

// wire writes the packets of one request, as a person reads a capture: C or S, flags, seq, ack, length.
func wire(tl timeline.Timeline, from, to time.Duration) []string {
	short := map[timeline.What]string{timeline.SYN: "SYN", timeline.SYNRetransmission: "SYN again", timeline.SYNACK: "SYN-ACK", timeline.SYNACKAnswer: "SYN-ACK answer",
		timeline.SYNACKAgain: "SYN-ACK again", timeline.ACK: "ACK", timeline.Data: "data", timeline.DataAgain: "data again", timeline.RTORetransmission: "data RTO",
		timeline.ChallengeACK: "challenge ACK"}
	var out []string
	for _, e := range tl.Events {
		name, ok := short[e.What]
		if !ok || e.At < from || e.At >= to {
			continue
		}
		s := strings.ToUpper(e.Host[:1]) + " " + name
		if e.Exact {
			s += fmt.Sprintf(" %d %d %d", e.RelSeq, e.RelAck, e.Len)
		}
		out = append(out, s)
	}
	return out
}

// byProgram keeps the events that follow a program's call.
func byProgram(tl timeline.Timeline) timeline.Timeline {
	return timeline.Timeline{Events: slices.DeleteFunc(slices.Clone(tl.Events), func(e timeline.Event) bool { return !e.ByProgram })}
}

var (
	inSYN = []string{"C SYN 0 0 18", "S SYN-ACK 0 19 0", "S data 1 19 18", "C ACK 19 1 0", "C ACK 19 19 0"}
	plain = []string{"C SYN 0 0 0", "S SYN-ACK 0 1 0", "C ACK 1 1 0", "C data 1 1 18", "S ACK 1 19 0", "S data 1 19 18", "C ACK 19 19 0"}
	twice = []string{"C SYN 0 0 18", "S SYN-ACK 0 1 0", "C data again 1 1 18", "S ACK 1 19 0", "S data 1 19 18", "C ACK 19 19 0"}
)

// TestFastOpenMeasured compares with what tcpdump showed on 6.18.44, with all the settings that it was tried with: the numbers of each packet of
// the three requests. It catches a wrong rule about who sends data when, and who takes it.
func TestFastOpenMeasured(t *testing.T) {
	f := linux618(t)
	for _, c := range []struct {
		name           string
		client, server int
		queue          bool
		want           [3][]string
	}{
		{"cookie, then data in the SYN", 1, 2, true, [3][]string{plain, inSYN, inSYN}},
		{"both bits at both ends", 3, 3, true, [3][]string{plain, inSYN, inSYN}},
		{"every listener", 1, 0x402, false, [3][]string{plain, inSYN, inSYN}},
		{"the listener did not ask", 1, 2, false, [3][]string{plain, plain, plain}},
		{"bit 0x400 without 0x2", 1, 0x400, false, [3][]string{plain, plain, plain}},
		{"no server bit", 1, 1, true, [3][]string{plain, plain, plain}},
		{"no client bit: EOPNOTSUPP", 0, 2, true, [3][]string{plain, plain, plain}},
		{"server bit at the client: EOPNOTSUPP", 2, 2, true, [3][]string{plain, plain, plain}},
		{"no cookie at either end", 5, 0x602, false, [3][]string{inSYN, inSYN, inSYN}},
		{"no cookie at the client only", 7, 2, true, [3][]string{twice, twice, twice}},
		{"no cookie at the server only: it gives none", 1, 0x602, true, [3][]string{plain, plain, plain}},
	} {
		x := threeRequests(c.client, c.server, c.queue)
		tl, err := x.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range x.Calls {
			if d := cmp.Diff(c.want[i], wire(tl, x.Calls[i].Open, x.Calls[i].Close)); d != "" {
				t.Errorf("%s, request %d: (-want +got)\n%s", c.name, i+1, d)
			}
		}
	}
}

// TestFastOpenLost compares with captures of 6.18.44 in which one packet was dropped at its receiver: which packets follow, with which
// numbers and when. The times are those of the captures, a request at 0.5 s.
func TestFastOpenLost(t *testing.T) {
	f := linux618(t)
	for _, c := range []struct {
		name           string
		client, server int
		lose           FastOpenLoss
		at             int
		want           []string
		program        []string      // of them: what a program does, which waited for a timer
		answered       time.Duration // measured, from the call
	}{
		{"SYN with data", 1, 2, LoseSYNData, 2, []string{"C SYN 0 0 18", "C SYN again 0 0 0", "S SYN-ACK 0 1 0", "C data again 1 1 18", "S ACK 1 19 0", "S data 1 19 18",
			"C ACK 19 19 0"}, []string{"S data 1 19 18", "C ACK 19 19 0"}, 1006150 * time.Microsecond},
		{"SYN-ACK that took data", 1, 2, LoseSYNACK, 2, []string{"C SYN 0 0 18", "S SYN-ACK 0 19 0", "S data 1 19 18", "C SYN again 0 0 0", "S SYN-ACK again 0 19 0",
			"S SYN-ACK answer 0 19 0", "C ACK 19 1 0", "C challenge ACK", "S data RTO 1 19 18", "C ACK 19 19 0"}, []string{"S data 1 19 18"}, 1235250 * time.Microsecond},
		{"SYN-ACK that took data, no cookies", 5, 0x202, LoseSYNACK, 2, []string{"C SYN 0 0 18", "S SYN-ACK 0 19 0", "S data 1 19 18", "C SYN again 0 0 0", "S SYN-ACK again 0 19 0",
			"S SYN-ACK answer 0 19 0", "C ACK 19 1 0", "C challenge ACK", "S data RTO 1 19 18", "C ACK 19 19 0"}, []string{"S data 1 19 18"}, 1218800 * time.Microsecond},
		{"SYN-ACK without Fast Open", 1, 1, LoseSYNACK, 2, []string{"C SYN 0 0 0", "S SYN-ACK 0 1 0", "C SYN again 0 0 0", "S SYN-ACK again 0 1 0", "S SYN-ACK answer 0 1 0",
			"C ACK 1 1 0", "C challenge ACK", "C data 1 1 18", "S ACK 1 19 0", "S data 1 19 18", "C ACK 19 19 0"}, []string{"C data 1 1 18", "S ACK 1 19 0", "S data 1 19 18", "C ACK 19 19 0"}, 1023230 * time.Microsecond},
	} {
		x := threeRequests(c.client, c.server, true)
		x.Lose, x.LoseAt = c.lose, c.at
		tl, err := x.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := wire(tl, x.Calls[1].Open, x.Calls[1].Close)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
		if d := cmp.Diff(c.program, wire(byProgram(tl), x.Calls[1].Open, x.Calls[1].Close)); d != "" {
			t.Errorf("%s: by a program: (-want +got)\n%s", c.name, d)
		}
		n := 0
		for _, e := range tl.Events {
			if e.What != timeline.ACK || e.Host != "client" || e.RelSeq != 19 || e.RelAck != 19 { // of the answer
				continue
			}
			if n++; n == 2 && (x.Calls[1].Open+c.answered < e.Earliest || x.Calls[1].Open+c.answered > e.Latest+8*time.Millisecond) {
				t.Errorf("%s: answered %v after the call, want it in %v to %v", c.name, c.answered, e.Earliest-x.Calls[1].Open, e.Latest-x.Calls[1].Open)
			}
		}
		if n != 3 {
			t.Errorf("%s: got %d answers, want 3", c.name, n)
		}
	}
}

// TestFastOpenCache catches a client that keeps what it did not get, or forgets which option it tried: what each of five requests asks for
// and shows. Measured on 6.18.44 with tcpdump: "tfo cookiereq", "exp-tfo cookiereq", "tfo cookie".
func TestFastOpenCache(t *testing.T) {
	for _, c := range []struct {
		name   string
		server int
		lose   FastOpenLoss
		at     int
		want   string
	}{
		{"a cookie", 2, LoseNothing, 0, "asks shows shows shows shows"},
		{"none: the experimental option once, then the other for good", 1, LoseNothing, 0, "asks asks-254 asks asks asks"},
		{"none, and a loss that is no answer", 1, LoseSYNACK, 2, "asks asks-254 asks-254 asks asks"},
		{"the cookie was lost", 2, LoseSYNACK, 1, "asks asks shows shows shows"},
		{"the request for it was lost", 2, LoseSYNData, 1, "asks asks shows shows shows"},
		{"a cookie outlives a lost SYN", 2, LoseSYNData, 2, "asks shows shows shows shows"},
		{"a server that needs no cookie gives none", 0x202, LoseNothing, 0, "asks asks-254 asks asks asks"},
		{"none, and a SYN-ACK that came again before the SYN: first", 1, LoseSYNACK, 2, "asks asks-254 asks asks asks"},
		{"the cookie was lost, and a SYN-ACK without it: first", 2, LoseSYNACK, 1, "asks asks-254 shows shows shows"},
	} {
		x := FastOpen{Bits: 1, Server: FastOpenListener{Bits: c.server, Queue: true}, Calls: make([]FastOpenCall, 5), Lose: c.lose, LoseAt: c.at}
		x.ServerFirst = strings.HasSuffix(c.name, ": first")
		var got []string
		for _, o := range x.Openings() {
			switch {
			case o.Shows:
				got = append(got, "shows")
			case o.Experimental:
				got = append(got, "asks-254")
			case o.Asks:
				got = append(got, "asks")
			default:
				got = append(got, "nothing")
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %s, want %s", c.name, s, c.want)
		}
	}
}

// TestFastOpenKnobs is the negative control: each knob changes the prediction.
func TestFastOpenKnobs(t *testing.T) {
	f := linux618(t)
	base := threeRequests(1, 2, true)
	base.Lose, base.LoseAt = LoseSYNACK, 2
	all := func(x FastOpen) string {
		tl, err := x.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := ""
		for _, e := range tl.Events {
			s += fmt.Sprintln(e.Host, e.What, e.N, e.RelSeq, e.RelAck, e.Len, e.Earliest, e.Latest)
		}
		return s
	}
	want := all(base)
	for name, change := range map[string]func(*FastOpen){
		"client bits": func(x *FastOpen) { x.Bits = 5 }, "server bits": func(x *FastOpen) { x.Server.Bits = 1 }, "queue": func(x *FastOpen) { x.Server.Queue = false },
		"request": func(x *FastOpen) { x.Request++ }, "answer": func(x *FastOpen) { x.Answer++ }, "link": func(x *FastOpen) { x.OneWay = 10 * time.Millisecond },
		"loss": func(x *FastOpen) { x.Lose = LoseSYNData }, "which": func(x *FastOpen) {
			x.LoseAt = 1
			x.Calls[0].Close = 1900 * time.Millisecond
			x.Calls[1].Open = 2 * time.Second
		},
		"tcp_rto_min_us": func(x *FastOpen) { x.Server.RTOMin = 50 * time.Millisecond },
		"when":           func(x *FastOpen) { x.Calls[1].Open += 4 * time.Millisecond },
	} {
		x := base
		x.Calls = append([]FastOpenCall(nil), base.Calls...)
		change(&x)
		if all(x) == want {
			t.Errorf("%s: the prediction stayed the same", name)
		}
	}
}

// TestFastOpenMeeting catches a prediction that knows one order only, where both ends' timers fire in one tick.
func TestFastOpenMeeting(t *testing.T) {
	x := threeRequests(1, 2, true)
	x.Lose, x.LoseAt = LoseSYNACK, 2
	tl, err := x.Predict(linux618(t), &Start{Jiffies: 1 << 33, Phase: 1600 * time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"S SYN-ACK 0 19 0", "S data 1 19 18", "C SYN again 0 0 0", "S SYN-ACK answer 0 19 0", "C ACK 19 1 0", "S data RTO 1 19 18"},
		{"S SYN-ACK 0 19 0", "S data 1 19 18", "S SYN-ACK again 0 19 0", "C ACK 19 1 0", "S data RTO 1 19 18"},
	}
	if len(tl.Alternatives) != len(want) {
		t.Fatalf("got %d alternatives, want %d", len(tl.Alternatives), len(want))
	}
	for i, alt := range tl.Alternatives {
		got := wire(alt, x.Calls[1].Open, x.Calls[1].Close)
		if d := cmp.Diff(want[i], got[1:len(got)-1]); d != "" {
			t.Errorf("%s: (-want +got)\n%s", alt.Why, d)
		}
	}
}

// TestFastOpenErrors catches inputs that the oracle does not know, and takes.
func TestFastOpenErrors(t *testing.T) {
	old, err := kernel.Model(kernel.Version{Major: 4, Minor: 14}, 250)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		f      kernel.Facts
		change func(*FastOpen)
	}{
		{"4.14", old, func(*FastOpen) {}},
		{"an unknown bit", linux618(t), func(x *FastOpen) { x.Bits = 8 }},
		{"too much for a SYN", linux618(t), func(x *FastOpen) { x.Request = 1421 }},
		{"nothing to send", linux618(t), func(x *FastOpen) { x.Request = 0 }},
		{"no answer", linux618(t), func(x *FastOpen) { x.Answer = 0 }},
		{"a round trip longer than the RTO", linux618(t), func(x *FastOpen) { x.OneWay = 501 * time.Millisecond }},
		{"a loss that is none", linux618(t), func(x *FastOpen) { x.Lose = "fin" }},
		{"a loss in no request", linux618(t), func(x *FastOpen) { x.Lose, x.LoseAt = LoseSYNData, 4 }},
		{"no request", linux618(t), func(x *FastOpen) { x.Calls = nil }},
		{"closed too soon", linux618(t), func(x *FastOpen) { x.OneWay = 10 * time.Millisecond; x.Calls[0].Close = 39 * time.Millisecond }},
		{"the next one too soon", linux618(t), func(x *FastOpen) { x.Calls[1].Open = 299 * time.Millisecond }},
		{"closed before the SYN is repeated", linux618(t), func(x *FastOpen) { x.Lose, x.LoseAt = LoseSYNData, 1 }},
		{"tcp_syn_retries=0", linux618(t), func(x *FastOpen) { x.SYNRetries = 0 }},
	} {
		x := threeRequests(1, 2, true)
		c.change(&x)
		if _, err := x.Predict(c.f, nil); err == nil {
			t.Errorf("%s: got no error", c.name)
		}
	}
}

// FuzzFastOpen catches a panic, windows that are empty or begin before the nominal time by more than a call's jiffy, ticks outside their
// windows, and a request without an answer.
func FuzzFastOpen(f *testing.F) {
	f.Add(1, 2, true, uint8(0), uint8(2), uint16(18), uint16(18), uint32(0), uint16(250), uint64(1<<33), uint32(1600), true)
	f.Add(1, 2, true, uint8(2), uint8(2), uint16(18), uint16(1420), uint32(10000), uint16(250), uint64(1<<33+7), uint32(1600), true)
	f.Add(5, 0x602, false, uint8(1), uint8(1), uint16(1420), uint16(1), uint32(100000), uint16(1000), uint64(0), uint32(0), false)
	f.Add(5, 2, false, uint8(2), uint8(3), uint16(1), uint16(1), uint32(249000), uint16(100), uint64(1<<63), uint32(3000), true)
	f.Fuzz(func(t *testing.T, client, server int, queue bool, lose, at uint8, request, answer uint16, oneWay uint32, hz uint16, jiffies uint64, phase uint32, known bool) {
		facts, err := kernel.Model(kernel.Version{Major: 6, Minor: 18}, int(hz))
		if err != nil || hz > 1000 {
			return
		}
		x := threeRequests(client, server, queue)
		x.Lose, x.LoseAt = []FastOpenLoss{LoseNothing, LoseSYNData, LoseSYNACK}[lose%3], int(at)
		x.Request, x.Answer, x.OneWay = int(request), int(answer), time.Duration(oneWay)*time.Microsecond
		at0 := time.Duration(0)
		for i := range x.Calls {
			x.Calls[i] = FastOpenCall{Open: at0, Close: at0 + FastOpenTakes(facts, x, i)}
			at0 = x.Calls[i].Close + 2*x.OneWay + 4*facts.Jiffy()
		}
		var start *Start
		if known {
			start = &Start{Jiffies: jiffies, Phase: time.Duration(phase) * time.Microsecond}
		}
		tl, err := x.Predict(facts, start)
		if err != nil {
			return
		}
		for _, tl := range append(tl.Alternatives, tl) {
			checkFastOpen(t, facts, x, tl, start)
		}
	})
}

func checkFastOpen(t *testing.T, f kernel.Facts, x FastOpen, tl timeline.Timeline, start *Start) {
	t.Helper()
	answers, jiffy := 0, f.Jiffy()
	for i, e := range tl.Events {
		if e.Latest < e.Earliest || e.Earliest < e.At-jiffy || e.GapLatest < e.GapEarliest || e.Why == "" || e.Host == "" {
			t.Errorf("event %d: got %+v, want a window after its nominal time, and words", i, e)
		}
		if start != nil && e.Tick != 0 {
			at := time.Duration(e.Tick)*jiffy - start.Phase + e.After
			if at < e.Earliest-jiffy || at > e.Latest+jiffy || e.TickLast < e.Tick {
				t.Errorf("event %d: tick %d to %d is at %v, outside %v to %v", i, e.Tick, e.TickLast, at, e.Earliest, e.Latest)
			}
		}
		if e.What == timeline.ACK && e.Host == "client" && int(e.RelSeq) == 1+x.Request && int(e.RelAck) == 1+x.Answer && !e.Maybe {
			answers++
		}
	}
	if answers != len(x.Calls) {
		t.Errorf("got %d answers, want %d", answers, len(x.Calls))
	}
}

package report

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// The runs of this file are what a machine with Linux 6.18 and HZ=250 shows: timers armed for 1, 2 and 4 s that fire at 1.004, 3.020
// and 7.277 s, and arrive at the other end of a veth 30 µs later.

const ms = time.Millisecond

func sec(d time.Duration) result.Seconds { return result.Seconds(d) }

func at(d time.Duration) *result.Seconds { s := result.Seconds(d); return &s }

func base(name, summary string) *result.Result {
	return &result.Result{
		Schema:     result.Schema,
		Tool:       result.Tool{Name: "tcplab", Version: "0.1.0"},
		Experiment: result.Experiment{Name: name, Summary: summary, Question: "How often does a client repeat its SYN?"},
		Profile:    "textbook",
		Command:    []string{"tcplab", "run", name, "--syn-retries=2"},
		Started:    time.Date(2026, 11, 22, 17, 18, 12, 0, time.UTC),
		Wall:       sec(8400 * ms),
		Kernel:     result.Kernel{Release: "6.18.44", Version: "6.18", Arch: "x86_64", HZ: 250, CPUs: 2},
		Params:     []result.Param{{Name: "syn-retries", Value: "2", From: "flag"}},
		Hosts: []result.Host{
			{Name: "client", Addr: "10.99.0.1", Iface: "eth0"},
			{Name: "server", Addr: "10.99.0.2", Iface: "eth0", Port: 8080},
		},
		Sysctls: []result.Sysctl{
			{Host: "client", Name: "net.ipv4.tcp_syn_retries", Was: "6", Now: "2", Here: "6", Origin: "flag", Matters: true},
			{Host: "client", Name: "net.ipv4.tcp_syn_linear_timeouts", Was: "4", Now: "0", Here: "4", Origin: "profile", Code: "TL1203", Matters: true},
			{Host: "client", Name: "net.ipv4.tcp_timestamps", Was: "1", Now: "1", Here: "1", Origin: "baseline"},
		},
		Rules: []result.Rule{{Host: "server", Table: "filter", Chain: "INPUT", Text: "TCP SYN to :8080", Packets: 3, Bytes: 180, AfterCapture: true}},
		Captures: []result.Capture{
			{Host: "client", File: "client.pcapng", Packets: 3},
			{Host: "server", File: "server.pcapng", Packets: 3},
		},
		Clock: result.Clock{From: "/proc/timer_list is not readable", Tick: sec(4 * ms)},
	}
}

func synPrediction(name string) *result.Prediction {
	return &result.Prediction{
		Schema: result.PredictionSchema, Experiment: name, Profile: "textbook", Kernel: "6.18", HZ: 250,
		Params: []result.Param{{Name: "syn-retries", Value: "2", From: "flag"}},
		Sysctls: map[string]string{
			"client.net.ipv4.tcp_syn_retries": "2", "client.net.ipv4.tcp_syn_linear_timeouts": "0", "client.net.ipv4.tcp_timestamps": "1",
		},
		Events: []result.Event{
			{Host: "client", What: "syn", Why: "connect() sends the first SYN", Expected: true},
			{At: sec(time.Second), Late: sec(36 * ms), Earliest: sec(time.Second), GapEarliest: sec(time.Second), GapLatest: sec(1036 * ms),
				Host: "client", What: "syn-retransmission", N: 1, Why: "TCP_TIMEOUT_INIT = 1 s after the SYN", Expected: true},
			{At: sec(3 * time.Second), Late: sec(68 * ms), Earliest: sec(3004 * ms), GapEarliest: sec(2 * time.Second), GapLatest: sec(2036 * ms),
				Host: "client", What: "syn-retransmission", N: 2, Why: "1 s + 2 s: tcp_syn_linear_timeouts=0, so each wait doubles", Expected: true},
		},
		Outcome: &result.Event{At: sec(7 * time.Second), Late: sec(360 * ms), Earliest: sec(7052 * ms), GapEarliest: sec(4 * time.Second), GapLatest: sec(4260 * ms),
			Host: "client", What: "connect-error", Errno: "ETIMEDOUT", Why: "1 s + 2 s + 4 s: tcp_syn_retries=2 repeats are used up", Expected: true},
		Notes: []result.Note{{Code: "TL1203", Text: "With this kernel's default tcp_syn_linear_timeouts=4 the SYNs come at 0 1 2 3 4 5 s."}},
	}
}

// synPacket is the n-th repeat of the SYN, which the server's INPUT chain drops after its capture.
func synPacket(id, n int, sent time.Duration) result.Packet {
	p := result.Packet{ID: id, From: "client", To: "server", What: "syn-retransmission", N: n, Flags: "SYN", Seq: 2_718_281_828,
		SentAt: at(sent), ArrivedAt: at(sent + 30*time.Microsecond), Fate: result.Dropped, Where: "server iptables filter INPUT"}
	if n == 0 {
		p.What = "syn"
	}
	return p
}

// seenAt is the n-th predicted event with what became of it.
func seenAt(e result.Event, d time.Duration, packet int, v result.Verdict) result.Event {
	e.Seen, e.Packet, e.Verdict = at(d), packet, v
	return e
}

func timeCheck(n int, expected, observed, gap, allowedGap string, v result.Verdict) result.Check {
	return result.Check{ID: fmt.Sprintf("syn-retransmission-%d", n), Name: fmt.Sprintf("SYN again %d", n), Expected: expected, Observed: observed,
		Gap: gap, AllowedGap: allowedGap, Verdict: v}
}

func errnoCheck(observed string, v result.Verdict) result.Check {
	return result.Check{ID: "errno", Name: "connect() fails", Expected: "ETIMEDOUT", Observed: observed, Verdict: v}
}

// passing is exp1 as it should be.
func passing() *result.Result {
	r := base("exp1-syn-loss", "every SYN is lost on its way to the server")
	p := synPrediction(r.Experiment.Name)
	r.Prediction = p
	r.Packets = []result.Packet{synPacket(1, 0, 0), synPacket(2, 1, 1004*ms), synPacket(3, 2, 3020*ms)}
	r.Events = []result.Event{
		seenAt(p.Events[0], 0, 1, result.Pass),
		seenAt(p.Events[1], 1004*ms, 2, result.Pass),
		seenAt(p.Events[2], 3020*ms, 3, result.Pass),
	}
	end := seenAt(*p.Outcome, 7277*ms, 0, result.Pass)
	end.SeenErr = "ETIMEDOUT"
	r.Outcome = &end
	r.States = []result.State{
		{At: sec(0), Host: "server", State: "LISTEN"},
		{At: sec(12 * ms), Host: "client", State: "SYN-SENT"},
		{At: sec(7301 * ms), Host: "client", State: "CLOSED"},
	}
	r.Checks = []result.Check{
		timeCheck(1, "1.000 s", "1.004 s", "1.004", "1.000 … 1.036 s", result.Pass),
		timeCheck(2, "3.000 s", "3.020 s", "2.016", "2.000 … 2.036 s", result.Pass),
		{ID: "connect-error", Name: "connect() returns", Expected: "7.000 s", Observed: "7.277 s", Gap: "4.257", AllowedGap: "4.000 … 4.260 s", Verdict: result.Pass},
		errnoCheck("ETIMEDOUT", result.Pass),
	}
	r.Story = []result.Sentence{
		{Text: "The client sent a SYN and waited 1 s, 2 s and 4 s: each wait doubles.", Packets: []int{1, 2, 3}},
		{Text: "Every SYN reached the server's capture and was dropped behind it, so the server's TCP never saw one."},
		{Text: "After two repeats the client gave up: connect() returned ETIMEDOUT."},
	}
	r.Notes = []result.Note{
		{Code: "TL1203", Text: "This kernel's default tcp_syn_linear_timeouts=4 was set to 0 in the lab, so that the classic doubling shows."},
		{Text: "Kernel timers fire late, never early: by up to one step of the timer wheel."},
	}
	r.Verdict = result.Pass
	return r
}

// exact is passing with the phase of jiffies known: deviations are against the tick.
func exact() *result.Result {
	r := passing()
	r.Clock = result.Clock{Known: true, From: "/proc/timer_list", Tick: sec(4 * ms), Error: sec(9 * time.Microsecond), Start: 4_295_012_345, Phase: sec(1200 * time.Microsecond)}
	for i, off := range []time.Duration{0, 52 * time.Microsecond, 71 * time.Microsecond} {
		r.Events[i].OffTick = at(off)
		r.Events[i].Tick = int64(251 * i)
	}
	r.Outcome.OffTick = at(-1 * time.Microsecond)
	return r
}

// missingSYN lost its second repeat.
func missingSYN() *result.Result {
	r := passing()
	r.Packets = r.Packets[:2]
	r.Events[2] = r.Prediction.Events[2]
	r.Events[2].Verdict = result.Fail
	r.Rules[0].Packets, r.Rules[0].Bytes = 2, 120
	r.Captures[0].Packets, r.Captures[1].Packets = 2, 2
	r.Checks[1] = result.Check{ID: "syn-retransmission-2", Name: "SYN again 2", Expected: "3.000 s", Observed: "never came", Allowed: "3.004 … 3.068 s",
		Verdict: result.Fail, Code: "TL1101", Detail: "the connection ended before the second repeat was due"}
	end := seenAt(*r.Prediction.Outcome, 3020*ms, 0, result.Fail)
	end.SeenErr = "ETIMEDOUT"
	r.Outcome = &end
	r.Checks[2] = result.Check{ID: "connect-error", Name: "connect() returns", Expected: "7.000 s", Observed: "3.020 s", Allowed: "7.052 … 7.360 s", Gap: "2.016",
		AllowedGap: "4.000 … 4.260 s", Verdict: result.Fail, Code: "TL1104", Detail: "4.032 s too early"}
	r.States[2].At = sec(3044 * ms)
	r.Hypothesis = &result.Hypothesis{Code: "TL1205", Text: "this socket has TCP_SYNCNT=1, which overrides tcp_syn_retries", Fits: 3, Of: 3,
		Command: "tcplab predict exp1-syn-loss --syn-retries=1"}
	r.Story, r.Verdict, r.Reason = nil, result.Fail, "2 of 4 checks contradict the prediction"
	return r
}

// extraSYN ran on a kernel that kept its linear timeouts: SYNs nobody predicted.
func extraSYN() *result.Result {
	r := passing()
	r.Packets = []result.Packet{synPacket(1, 0, 0), synPacket(2, 1, 1004*ms), synPacket(3, 2, 2028*ms), synPacket(4, 3, 3052*ms)}
	late := seenAt(r.Prediction.Events[2], 2028*ms, 3, result.Fail)
	r.Events[2] = late
	r.Events = append(r.Events, result.Event{Host: "client", What: "syn-retransmission", N: 3, Seen: at(3052 * ms), Packet: 4, Verdict: result.Fail})
	r.Checks[1] = result.Check{ID: "syn-retransmission-2", Name: "SYN again 2", Expected: "3.000 s", Observed: "2.028 s", Allowed: "3.004 … 3.068 s", Gap: "1.024",
		AllowedGap: "2.000 … 2.036 s", Verdict: result.Fail, Code: "TL1102", Detail: "0.976 s too early"}
	r.Checks = append(r.Checks, result.Check{ID: "syn-retransmission-3", Name: "SYN again 3", Expected: "none", Observed: "3.052 s", Verdict: result.Fail, Code: "TL1103",
		Detail: "nothing predicts this packet"})
	r.Hypothesis = &result.Hypothesis{Code: "TL1203", Text: "this kernel uses tcp_syn_linear_timeouts=4", Fits: 4, Of: 4, Command: "tcplab predict exp1-syn-loss --profile=kernel"}
	r.Story, r.Verdict, r.Reason = nil, result.Fail, "2 of 5 checks contradict the prediction"
	return r
}

// wrongErrno got an RST: the rule let the SYN through to a closed port.
func wrongErrnoRun() *result.Result {
	r := passing()
	r.Rules[0].Packets, r.Rules[0].Bytes = 0, 0
	r.Captures[0].Packets, r.Captures[1].Packets = 2, 2
	syn := synPacket(1, 0, 0)
	syn.Fate, syn.Where = result.Delivered, ""
	r.Packets = []result.Packet{syn, {ID: 2, From: "server", To: "client", What: "rst", Flags: "RST,ACK", Ack: 2_718_281_829, RelAck: 1,
		SentAt: at(61 * time.Microsecond), ArrivedAt: at(88 * time.Microsecond), Fate: result.Delivered}}
	r.Events = []result.Event{r.Events[0], {Host: "server", What: "rst", Seen: at(61 * time.Microsecond), Packet: 2, Verdict: result.Fail}}
	for _, e := range r.Prediction.Events[1:] {
		e.Verdict = result.Fail
		r.Events = append(r.Events, e)
	}
	end := seenAt(*r.Prediction.Outcome, 140*time.Microsecond, 0, result.Fail)
	end.SeenErr = "ECONNREFUSED"
	r.Outcome = &end
	r.States = []result.State{{At: sec(12 * ms), Host: "client", State: "CLOSED"}}
	r.Checks = []result.Check{
		timeCheck(1, "1.000 s", "never came", "", "", result.Fail), timeCheck(2, "3.000 s", "never came", "", "", result.Fail),
		errnoCheck("ECONNREFUSED", result.Fail),
	}
	r.Checks[2].Code, r.Checks[2].Detail = "TL1105", "the server answered the SYN with RST,ACK: its port is closed"
	r.Story, r.Notes, r.Verdict, r.Reason = nil, nil, result.Fail, "connect() ended with another error"
	return r
}

// stalled ran on a machine that stood still when the second repeat was due, and its capture lost packets.
func stalled() *result.Result {
	r := passing()
	r.Packets = r.Packets[:2]
	r.Events[2] = r.Prediction.Events[2]
	r.Events[2].Verdict = result.Inconclusive
	r.Captures[0].Packets, r.Captures[0].Dropped = 2, 1
	r.Stalls = []result.Stall{{At: sec(2988 * ms), For: sec(312 * ms), CPU: 1}}
	r.Checks[1] = result.Check{ID: "syn-retransmission-2", Name: "SYN again 2", Expected: "3.000 s", Observed: "not seen", Allowed: "3.004 … 3.068 s",
		Verdict: result.Inconclusive, Code: "TL0301", Detail: "client.pcapng lost 1 packet while this one was due"}
	r.Story, r.Verdict, r.Reason = nil, result.Inconclusive, "the capture lost packets: a missing SYN proves nothing"
	return r
}

// unseenSYN drops in the client's own OUTPUT chain: the client's capture stays empty, connect() times out all the same.
func unseenSYN() *result.Result {
	r := base("exp2-capture-point", "the client's own OUTPUT chain drops every SYN")
	p := synPrediction(r.Experiment.Name)
	r.Prediction = p
	r.Rules = []result.Rule{{Host: "client", Table: "filter", Chain: "OUTPUT", Text: "TCP SYN to :8080", Packets: 3, Bytes: 180}}
	r.Captures[0].Packets, r.Captures[1].Packets = 0, 0
	for _, e := range p.Events {
		e.Verdict = result.Skip
		r.Events = append(r.Events, e)
	}
	end := seenAt(*p.Outcome, 7277*ms, 0, result.Pass)
	end.SeenErr = "ETIMEDOUT"
	r.Outcome = &end
	r.States = []result.State{{At: sec(12 * ms), Host: "client", State: "SYN-SENT"}, {At: sec(7301 * ms), Host: "client", State: "CLOSED"}}
	r.Checks = []result.Check{
		{ID: "captured", Name: "packets captured at the client", Expected: "0", Observed: "0", Verdict: result.Pass},
		{ID: "counter", Name: "packets that the rule caught", Expected: "3", Observed: "3", Verdict: result.Pass},
		errnoCheck("ETIMEDOUT", result.Pass),
	}
	r.Verdict = result.Pass
	return r
}

// synAckLoss drops the answers at the client: two SYN-ACKs for each repeated SYN, seen at both ends and dropped behind the client's capture.
func synAckLoss() *result.Result {
	r := base("exp2-synack-loss", "every SYN-ACK is lost on its way to the client")
	r.Rules = []result.Rule{{Host: "client", Table: "raw", Chain: "PREROUTING", Text: "everything from the server", Packets: 3, Bytes: 180, AfterCapture: true}}
	us := time.Microsecond
	syn := func(id, n int, d time.Duration) result.Packet {
		p := synPacket(id, n, d)
		p.Fate, p.Where = result.Delivered, ""
		return p
	}
	ack := func(id, n int, d time.Duration) result.Packet {
		p := result.Packet{ID: id, From: "server", To: "client", What: "syn-ack-retransmission", N: n, Flags: "SYN,ACK", Seq: 314_159, Ack: 2_718_281_829, RelAck: 1,
			SentAt: at(d), ArrivedAt: at(d + 28*us), Fate: result.Dropped, Where: "client iptables raw PREROUTING"}
		if n == 0 {
			p.What = "syn-ack"
		}
		return p
	}
	r.Packets = []result.Packet{syn(1, 0, 0), ack(2, 0, 62*us), syn(3, 1, 1004*ms), ack(4, 1, 1004*ms+55*us), ack(5, 2, 1008*ms)}
	r.Packets[4].ArrivedAt, r.Packets[4].Fate, r.Packets[4].Where = nil, result.Lost, ""
	for _, p := range r.Packets {
		nominal := time.Duration(0)
		if p.ID > 2 {
			nominal = time.Second
		}
		r.Events = append(r.Events, result.Event{At: sec(nominal), Late: sec(36 * ms), Host: p.From, What: p.What, N: p.N, Expected: true,
			Seen: p.SentAt, Packet: p.ID, Verdict: result.Pass})
	}
	r.States = []result.State{
		{At: sec(8 * ms), Host: "client", State: "SYN-SENT"},
		{At: sec(9 * ms), Host: "server", State: "SYN-RECV"},
		{At: sec(4080 * ms), Host: "client", State: "CLOSED"},
	}
	r.Checks = []result.Check{{ID: "syn-acks", Name: "SYN-ACKs per SYN", Expected: "1 or 2", Observed: "1, 2", Verdict: result.Pass}}
	r.Wall, r.Verdict = sec(5100*ms), result.Pass
	return r
}

// handshake is a connection that opens, with a third ACK that no event names.
func handshake() *result.Result {
	r := base("exp0-handshake", "three packets open a connection")
	r.Rules = nil
	us := time.Microsecond
	r.Packets = []result.Packet{
		{ID: 1, From: "client", To: "server", What: "syn", Flags: "SYN", SentAt: at(0), ArrivedAt: at(30 * us), Fate: result.Delivered},
		{ID: 2, From: "server", To: "client", What: "syn-ack", Flags: "SYN,ACK", Ack: 8, RelAck: 1, SentAt: at(60 * us), ArrivedAt: at(90 * us), Fate: result.Delivered},
		{ID: 3, From: "client", To: "server", What: "ack", Flags: "ACK", RelSeq: 1, Ack: 9, RelAck: 1, SentAt: at(100 * us), Fate: result.Dropped, Where: "wire"},
	}
	r.Events = []result.Event{
		{Host: "client", What: "syn", Expected: true, Seen: at(0), Packet: 1, Verdict: result.Pass},
		{Host: "server", What: "syn-ack", Late: sec(ms), Expected: true, Seen: at(60 * us), Verdict: result.Pass},
		{Host: "client", What: "connected", Late: sec(ms), Expected: true, Seen: at(120 * us), Verdict: result.Pass},
		{Host: "client", What: "data", Late: sec(500 * ms), Maybe: true, Expected: true, Verdict: result.Pass},
	}
	r.Checks = []result.Check{{ID: "connected", Name: "connect() returns 0", Expected: "0", Observed: "0", Verdict: result.Pass},
		{ID: "data", Name: "data", Verdict: result.Skip, Detail: "no data was sent"}}
	r.States = []result.State{{At: sec(20 * ms), Host: "client", State: "ESTABLISHED"}}
	r.Verdict = result.Pass
	return r
}

// samples are all of the above, by the name of their goldens.
func samples() map[string]*result.Result {
	return map[string]*result.Result{
		"pass": passing(), "exact-tick": exact(), "missing-syn": missingSYN(), "extra-syn": extraSYN(), "wrong-errno": wrongErrnoRun(),
		"inconclusive": stalled(), "empty-capture": unseenSYN(), "synack": synAckLoss(), "handshake": handshake(),
	}
}

package analyse

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// at changes the time of a segment to some microseconds after the start.
func at(us int, x pcapout.Segment) pcapout.Segment {
	x.Time = start.Add(time.Duration(us) * time.Microsecond)
	return x
}

func win(w uint16, x pcapout.Segment) pcapout.Segment {
	x.Window = w
	return x
}

func sack(x pcapout.Segment, edges ...uint32) pcapout.Segment {
	for ; len(edges) >= 2; edges = edges[2:] {
		x.Options.SACK = append(x.Options.SACK, pcapout.SACKBlock{Left: edges[0], Right: edges[1]})
	}
	return x
}

// opened is a handshake at 0 with the round trip rtt, of which near is between this capture point and the client, followed by the rest.
// Initial numbers are 100 and 500.
func opened(withSACK bool, near, rtt int, rest ...pcapout.Segment) []pcapout.Segment {
	in := []pcapout.Segment{at(0, seg(0, c, s, syn, 100, 0, 0)), at(rtt-near, seg(0, s, c, synAck, 500, 101, 0)), at(rtt, seg(0, c, s, ack, 101, 501, 0))}
	in[0].Options.SACKPermitted, in[1].Options.SACKPermitted = withSACK, withSACK
	return append(in, rest...)
}

// fromClient and fromServer are segments of a connection made by opened, with relative numbers.
func fromClient(us int, f pcapout.Flags, rel, relAck uint32, n int) pcapout.Segment {
	return at(us, seg(0, c, s, f, 100+rel, 500+relAck, n))
}

func fromServer(us int, f pcapout.Flags, rel, relAck uint32, n int) pcapout.Segment {
	return at(us, seg(0, s, c, f, 500+rel, 100+relAck, n))
}

// kinds is the names of all packets but the handshake of opened.
func kinds(in []pcapout.Segment, skip int) []timeline.Event {
	var out []timeline.Event
	for _, conn := range Analyse(in, Options{}) {
		for _, p := range conn.Packets {
			if p.Segment >= skip {
				out = append(out, timeline.Event{Host: p.From, What: p.What, N: p.N})
			}
		}
	}
	return out
}

func event(host string, what timeline.What, n int) timeline.Event {
	return timeline.Event{Host: host, What: what, N: n}
}

// burst is n segments of 10 bytes from relative number 1, the first at us.
func burst(us, n int) []pcapout.Segment {
	var out []pcapout.Segment
	for i := range n {
		out = append(out, fromClient(us+10*i, psh, uint32(1+10*i), 1, 10))
	}
	return out
}

func repeat(e timeline.Event, n int) []timeline.Event {
	var out []timeline.Event
	for range n {
		out = append(out, e)
	}
	return out
}

func concat[T any](parts ...[]T) []T {
	var out []T
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// scaled offers window scaling in the SYN and the SYN-ACK of in, with the windows that Linux announces first.
func scaled(in []pcapout.Segment) []pcapout.Segment {
	for i := range in[:2] {
		in[i].Options.HasWScale, in[i].Options.WScale, in[i].Window = true, 7, 65160
	}
	return in
}

type naming struct {
	name string // names the mistake that the row catches
	in   []pcapout.Segment
	want []timeline.Event // without the handshake
}

func check(t *testing.T, rows []naming) {
	t.Helper()
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, kinds(tt.in, 3)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

var data = event(Client, timeline.Data, 0)

// The pairs of rows that differ in one fact, such as SACK or one gap, are each other's negative control.
func TestTimers(t *testing.T) {
	tlp, dataAgain := event(Client, timeline.TailLossProbe, 0), event(Client, timeline.DataAgain, 1)
	rto := func(n int) timeline.Event { return event(Client, timeline.RTORetransmission, n) }
	one := func(us ...int) []pcapout.Segment {
		var out []pcapout.Segment
		for _, x := range us {
			out = append(out, fromClient(x, psh, 1, 1, 6))
		}
		return out
	}
	check(t, []naming{
		{name: "one segment, the gap after the first repeat as long: the probe taken for RTO 1",
			in: opened(true, 0, 30, one(10_000, 214_000, 422_000, 838_000)...), want: []timeline.Event{data, tlp, rto(1), rto(2)}},
		{name: "one segment, the gap twice as long: RTO 1 taken for the probe",
			in: opened(true, 0, 30, one(10_000, 214_000, 626_000, 1_458_000)...), want: []timeline.Event{data, rto(1), rto(2), rto(3)}},
		{name: "one segment without SACK: a probe where there is none",
			in: opened(false, 0, 30, one(10_000, 214_000, 422_000)...), want: []timeline.Event{data, rto(1), rto(2)}},
		{name: "nothing follows, with SACK: not the probe", in: opened(true, 0, 30, one(10_000, 214_000)...), want: []timeline.Event{data, tlp}},
		{name: "nothing follows, without SACK: not RTO 1", in: opened(false, 0, 30, one(10_000, 214_000)...), want: []timeline.Event{data, rto(1)}},
		{name: "acknowledged in between: N that counts on, and no second probe",
			in:   opened(true, 0, 30, append(one(10_000, 214_000, 422_000), fromServer(422_030, ack, 1, 7, 0), fromClient(500_000, psh, 7, 1, 6), fromClient(704_000, psh, 7, 1, 6))...),
			want: []timeline.Event{data, tlp, rto(1), event(Server, timeline.ACK, 0), data, tlp}},
		{name: "three in flight: the probe is the last, the timer repeats the first",
			in:   opened(true, 0, 30, append(burst(10_000, 3), fromClient(16_000, psh, 21, 1, 10), fromClient(224_000, psh, 1, 1, 10))...),
			want: []timeline.Event{data, data, data, tlp, rto(1)}},
		{name: "two in flight, both joined into the repeat: the timer, for the probe joins nothing (tcp_retrans_try_collapse)",
			in:   opened(true, 0, 30, append(burst(10_000, 2), fromClient(214_000, psh, 1, 1, 20))...),
			want: []timeline.Event{data, data, rto(1)}},
		{name: "new data after 2 RTT, then the first again: the probe taken for data",
			in:   opened(true, 0, 30, append(burst(10_000, 2), fromClient(16_000, psh, 21, 1, 10), fromClient(224_000, psh, 1, 1, 10))...),
			want: []timeline.Event{data, data, tlp, rto(1)}},
		{name: "new data after 2 RTT, then the same again: the application's data taken for the probe",
			in:   opened(true, 0, 30, append(burst(10_000, 2), fromClient(16_000, psh, 21, 1, 10), fromClient(22_000, psh, 21, 1, 10))...),
			want: []timeline.Event{data, data, data, tlp}},
		{name: "new data at once: the application's data taken for the probe", in: opened(true, 0, 30, burst(10_000, 3)...), want: []timeline.Event{data, data, data}},
		{name: "new data after the timer fired: a probe in TCP_CA_Loss",
			in:   opened(false, 0, 30, append(one(10_000, 214_000), fromClient(220_000, psh, 7, 1, 6))...),
			want: []timeline.Event{data, rto(1), data}},
		{name: "what follows the timer's acknowledgement: another fire",
			in: opened(false, 0, 30, append(burst(10_000, 3), fromClient(214_000, psh, 1, 1, 10), fromServer(214_030, ack, 1, 11, 0),
				fromClient(214_040, psh, 11, 1, 10), fromClient(214_045, psh, 21, 1, 10))...),
			want: []timeline.Event{data, data, data, rto(1), event(Server, timeline.ACK, 0), dataAgain, dataAgain}},
		{name: "the other end talks, and says nothing new: its data taken for what set off the repeat",
			in:   opened(false, 0, 30, append(one(10_000), fromServer(213_900, psh, 1, 1, 5), fromClient(214_000, psh, 1, 1, 6))...),
			want: []timeline.Event{data, event(Server, timeline.Data, 0), rto(1)}},
		{name: "the acknowledgement was lost behind this point: a timer that needs something in flight",
			in:   opened(true, 0, 30, append(one(10_000), fromServer(10_030, ack, 1, 7, 0), fromClient(214_000, psh, 1, 1, 6), fromServer(214_030, ack, 1, 7, 0))...),
			want: []timeline.Event{data, event(Server, timeline.ACK, 0), tlp, event(Server, timeline.DuplicateACK, 1)}},
		{name: "acknowledgements lost behind this point, the last again and then the first: two of the same segment",
			in:   opened(true, 0, 30, append(burst(10_000, 2), fromServer(10_040, ack, 1, 21, 0), fromClient(210_000, psh, 11, 1, 10), fromClient(610_000, psh, 1, 1, 10))...),
			want: []timeline.Event{data, data, event(Server, timeline.ACK, 0), tlp, rto(1)}},
		{name: "the last again after 2 RTT, and again after the full RTO: a gap that doubled",
			in:   opened(true, 0, 30, append(burst(10_000, 2), fromServer(10_040, ack, 1, 21, 0), fromClient(16_000, psh, 11, 1, 10), fromClient(220_000, psh, 11, 1, 10))...),
			want: []timeline.Event{data, data, event(Server, timeline.ACK, 0), tlp, rto(1)}},
		{name: "the last again in the recovery after RTO: a probe in TCP_CA_Loss",
			in: opened(true, 0, 30, append(burst(10_000, 3), fromClient(16_000, psh, 21, 1, 10), fromClient(224_000, psh, 1, 1, 10), fromServer(224_030, ack, 1, 11, 0),
				fromClient(224_040, psh, 11, 1, 10), fromServer(224_070, ack, 1, 21, 0), fromClient(432_000, psh, 21, 1, 10))...),
			want: []timeline.Event{data, data, data, tlp, rto(1), event(Server, timeline.ACK, 0), dataAgain, event(Server, timeline.ACK, 0), rto(1)}},
		{name: "new data long after the probe timeout: a probe, where probes are off",
			in: opened(true, 0, 30, append(burst(10_000, 2), fromClient(150_000, psh, 21, 1, 10))...), want: []timeline.Event{data, data, data}},
		{name: "the round trip of a repeat: a sample for the probe timeout (Karn)",
			in:   opened(true, 0, 30, concat(one(10_000, 214_000), []pcapout.Segment{fromServer(214_030, ack, 1, 7, 0)}, []pcapout.Segment{fromClient(300_000, psh, 7, 1, 5), fromClient(300_010, psh, 12, 1, 5), fromClient(306_000, psh, 17, 1, 5)})...),
			want: []timeline.Event{data, tlp, event(Server, timeline.ACK, 0), data, data, tlp}},
		{name: "a D-SACK before: something missing",
			in: opened(true, 0, 30, append(one(10_000), fromServer(10_030, ack, 1, 7, 0), fromClient(214_000, psh, 1, 1, 6), sack(fromServer(214_030, ack, 1, 7, 0), 101, 107),
				fromClient(300_000, psh, 7, 1, 6), fromClient(504_000, psh, 7, 1, 6))...),
			want: []timeline.Event{data, event(Server, timeline.ACK, 0), tlp, event(Server, timeline.DuplicateACK, 1), data, tlp}},
		{name: "FIN again: another name than its own", in: opened(true, 0, 30, fromClient(0, finAck, 1, 1, 0), fromClient(204_000, finAck, 1, 1, 0), fromClient(412_000, finAck, 1, 1, 0)),
			want: []timeline.Event{event(Client, timeline.FIN, 0), event(Client, timeline.FINAgain, 1), event(Client, timeline.FINAgain, 2)}},
	})
}

func TestFastRetransmit(t *testing.T) {
	fast := event(Client, timeline.FastRetransmit, 0)
	dup := func(n int) timeline.Event { return event(Server, timeline.DuplicateACK, n) }
	acked := event(Server, timeline.ACK, 0)
	check(t, []naming{
		{name: "three duplicate ACKs, no SACK, and the second hole by the partial acknowledgement",
			in: opened(false, 0, 20_000, concat(burst(30_000, 6), []pcapout.Segment{
				fromServer(50_000, ack, 1, 11, 0), fromServer(50_010, ack, 1, 11, 0), fromServer(50_020, ack, 1, 11, 0), fromServer(50_030, ack, 1, 11, 0),
				fromClient(50_040, psh, 11, 1, 10), fromServer(70_040, ack, 1, 31, 0), fromClient(70_050, psh, 31, 1, 10), fromServer(90_050, ack, 1, 61, 0)})...),
			want: concat(repeat(data, 6), []timeline.Event{acked, dup(1), dup(2), dup(3), fast, acked, fast, acked})},
		{name: "two duplicate ACKs and silence: RTO, though something is known to be missing",
			in: opened(false, 0, 20_000, concat(burst(30_000, 3), []pcapout.Segment{
				fromServer(50_000, ack, 1, 1, 0), fromServer(50_010, ack, 1, 1, 0), fromClient(260_000, psh, 1, 1, 10)})...),
			want: concat(repeat(data, 3), []timeline.Event{dup(1), dup(2), event(Client, timeline.RTORetransmission, 1)})},
		{name: "the first SACK on a link without delay: no three duplicate ACKs needed",
			in: opened(true, 0, 30, concat(burst(30_000, 3), []pcapout.Segment{
				sack(fromServer(30_040, ack, 1, 11, 0), 121, 131), fromClient(30_050, psh, 11, 1, 10)})...),
			want: concat(repeat(data, 3), []timeline.Event{acked, fast})},
		{name: "RACK's reordering timer, a quarter of the round trip after the SACK: taken for the probe",
			in: opened(true, 0, 40_000, concat(burst(50_000, 3), []pcapout.Segment{
				sack(fromServer(90_000, ack, 1, 11, 0), 121, 131), fromClient(106_000, psh, 11, 1, 10)})...),
			want: concat(repeat(data, 3), []timeline.Event{acked, fast})},
		{name: "the reordering timer without delay on the link, two jiffies later: RTO",
			in: opened(true, 0, 30, concat(burst(50_000, 3), []pcapout.Segment{
				sack(fromServer(50_040, ack, 1, 11, 0), 121, 131), fromClient(58_000, psh, 11, 1, 10)})...),
			want: concat(repeat(data, 3), []timeline.Event{acked, fast})},
		{name: "a tail in recovery: the probe, which is for TCP_CA_Open alone",
			in: opened(true, 0, 30, concat(burst(50_000, 4), []pcapout.Segment{
				sack(fromServer(50_050, ack, 1, 11, 0), 121, 131), fromClient(50_060, psh, 11, 1, 10), fromServer(50_090, ack, 1, 31, 0), fromClient(258_000, psh, 31, 1, 10)})...),
			want: concat(repeat(data, 4), []timeline.Event{acked, fast, acked, event(Client, timeline.RTORetransmission, 1)})},
		{name: "the repeat was lost too, with SACK: RTO, and no probe while something is missing",
			in: opened(true, 0, 40_000, concat(burst(50_000, 3), []pcapout.Segment{
				sack(fromServer(90_000, ack, 1, 11, 0), 121, 131), fromClient(90_020, psh, 11, 1, 10), fromClient(338_000, psh, 11, 1, 10), fromClient(834_000, psh, 11, 1, 10)})...),
			want: concat(repeat(data, 3), []timeline.Event{acked, fast, event(Client, timeline.RTORetransmission, 1), event(Client, timeline.RTORetransmission, 2)})},
		{name: "at the server's end: the reaction comes a round trip later and is no timer",
			in: opened(false, 40_000, 40_030, concat(burst(80_000, 5), []pcapout.Segment{
				fromServer(80_050, ack, 1, 1, 0), fromServer(80_060, ack, 1, 1, 0), fromServer(80_070, ack, 1, 1, 0), fromClient(120_080, psh, 1, 1, 10),
				fromServer(120_090, ack, 1, 21, 0), fromClient(160_100, psh, 21, 1, 10)})...),
			want: concat(repeat(data, 5), []timeline.Event{dup(1), dup(2), dup(3), fast, acked, fast})},
		{name: "over the wrap of the sequence space",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 0xfffffff0, 0, 0), seg(0, s, c, synAck, 500, 0xfffffff1, 0), seg(0, c, s, ack, 0xfffffff1, 501, 0),
				seg(10, c, s, psh, 0xfffffff1, 501, 10), seg(10, c, s, psh, 0xfffffffb, 501, 10), seg(10, c, s, psh, 5, 501, 10),
				sack(seg(10, s, c, ack, 501, 0xfffffffb, 0), 5, 15), seg(10, c, s, psh, 0xfffffffb, 501, 10)},
			want: concat(repeat(data, 3), []timeline.Event{acked, fast})},
	})
}

func TestACKs(t *testing.T) {
	acked, update := event(Server, timeline.ACK, 0), event(Server, timeline.WindowUpdate, 0)
	dup := func(n int) timeline.Event { return event(Server, timeline.DuplicateACK, n) }
	challenge := event(Client, timeline.ChallengeACK, 0)
	check(t, []naming{
		{name: "another window: a duplicate ACK",
			in: opened(true, 0, 30, fromClient(10_000, psh, 1, 1, 10), win(400, fromServer(10_100, ack, 1, 1, 0))), want: []timeline.Event{data, update}},
		{name: "another window with a new SACK block: a window update",
			in:   opened(true, 0, 30, concat(burst(10_000, 2), []pcapout.Segment{sack(win(400, fromServer(10_100, ack, 1, 1, 0)), 111, 121)})...),
			want: []timeline.Event{data, data, dup(1)}},
		{name: "the same blocks again with another window: still news",
			in: opened(true, 0, 30, concat(burst(10_000, 2), []pcapout.Segment{sack(fromServer(10_100, ack, 1, 1, 0), 111, 121),
				sack(win(400, fromServer(10_200, ack, 1, 1, 0)), 111, 121)})...),
			want: []timeline.Event{data, data, dup(1), update}},
		{name: "N counts on over another hole",
			in: opened(false, 0, 30, concat(burst(10_000, 5), []pcapout.Segment{fromServer(10_100, ack, 1, 1, 0), fromServer(10_110, ack, 1, 1, 0),
				fromServer(10_200, ack, 1, 21, 0), fromServer(10_210, ack, 1, 21, 0)})...),
			want: concat(repeat(data, 5), []timeline.Event{dup(1), dup(2), acked, dup(1)})},
		{name: "nothing in flight: a duplicate ACK", in: opened(true, 0, 30, fromServer(10_000, ack, 1, 1, 0)), want: []timeline.Event{acked}},
		{name: "SYN-ACK again at a client that is connected: the answer taken for a duplicate ACK",
			in:   opened(true, 0, 30, fromServer(1_000_000, synAck, 0, 1, 0), fromClient(1_000_010, ack, 1, 1, 0)),
			want: []timeline.Event{event(Server, timeline.SYNACKAgain, 1), challenge}},
		{name: "long after the SYN-ACK: its answer",
			in:   opened(true, 0, 30, fromServer(1_000_000, synAck, 0, 1, 0), fromClient(1_300_010, ack, 1, 1, 0)),
			want: []timeline.Event{event(Server, timeline.SYNACKAgain, 1), event(Client, timeline.ACK, 0)}},
		{name: "RST that is not accepted, and its answer: the end of the connection",
			in: opened(true, 0, 30, fromServer(1_000_000, pcapout.RST, 90, 0, 0), fromClient(1_000_010, ack, 1, 1, 0), fromClient(2_000_000, psh, 1, 1, 5),
				fromServer(2_000_020, ack, 1, 6, 0), at(3_000_000, seg(0, c, s, syn, 7777, 0, 0)), fromServer(3_000_010, ack, 1, 6, 0)),
			want: []timeline.Event{event(Server, timeline.RST, 0), challenge, data, acked, event(Client, timeline.SYN, 0), event(Server, timeline.ChallengeACK, 0)}},
		{name: "D-SACK with another window: a window update",
			in: opened(true, 0, 30, fromClient(10_000, psh, 1, 1, 10), fromServer(10_020, ack, 1, 11, 0), fromClient(214_000, psh, 1, 1, 10),
				sack(win(400, fromServer(214_020, ack, 1, 11, 0)), 101, 111)),
			want: []timeline.Event{data, acked, event(Client, timeline.TailLossProbe, 0), dup(1)}},
		{name: "a new SACK block while an answer is owed: the answer",
			in:   opened(true, 0, 30, fromServer(1_000_000, synAck, 0, 1, 0), fromServer(1_000_005, psh, 11, 1, 10), sack(fromClient(1_000_010, ack, 1, 1, 0), 511, 521)),
			want: []timeline.Event{event(Server, timeline.SYNACKAgain, 1), event(Server, timeline.Data, 0), event(Client, timeline.DuplicateACK, 1)}},
		{name: "the same window as the SYN-ACK's, but scaled: a window update",
			in:   scaled(opened(false, 0, 30, concat(burst(10_000, 2), []pcapout.Segment{win(509, fromServer(10_100, ack, 1, 1, 0)), win(510, fromServer(10_200, ack, 1, 1, 0))})...)),
			want: []timeline.Event{data, data, dup(1), update}},
		{name: "an acknowledgement of what no window can hold: believed",
			in:   opened(true, 0, 30, fromClient(10_000, psh, 1, 1, 10), fromServer(10_020, ack, 1, 3<<29, 0), fromServer(10_040, ack, 1, 1, 0)),
			want: []timeline.Event{data, acked, dup(1)}},
		{name: "data outside the window: its answer taken for a duplicate ACK",
			in:   opened(true, 0, 30, fromClient(10_000, psh, 601, 1, 10), fromServer(10_020, ack, 1, 1, 0)),
			want: []timeline.Event{data, event(Server, timeline.ChallengeACK, 0)}},
		{name: "data that was there before, without SACK: nothing in flight, and still a duplicate ACK",
			in:   opened(false, 0, 30, fromClient(10_000, psh, 1, 1, 10), fromServer(10_020, ack, 1, 11, 0), fromClient(214_000, psh, 1, 1, 10), fromServer(214_020, ack, 1, 11, 0)),
			want: []timeline.Event{data, acked, event(Client, timeline.RTORetransmission, 1), dup(1)}},
		{name: "a number outside the window: its answer taken for a duplicate ACK",
			in:   opened(true, 0, 30, fromClient(10_000, psh, 1, 1, 50), fromServer(10_020, ack, 1, 51, 0), fromClient(20_000, ack, 1, 1, 0), fromServer(20_020, ack, 1, 51, 0)),
			want: []timeline.Event{data, acked, event(Client, timeline.ACK, 0), event(Server, timeline.ChallengeACK, 0)}},
	})
}

func TestProbes(t *testing.T) {
	probe := func(n int) timeline.Event { return event(Client, timeline.KeepaliveProbe, n) }
	window := func(n int) timeline.Event { return event(Client, timeline.WindowProbe, n) }
	alive, open, acked := event(Server, timeline.KeepaliveACK, 0), event(Server, timeline.WindowProbeACK, 0), event(Server, timeline.ACK, 0)
	const sec = 1_000_000
	check(t, []naming{
		{name: "keepalive: N counts on after an answer",
			in: opened(true, 0, 30, fromClient(2*sec, ack, 0, 1, 0), fromServer(2*sec+20, ack, 1, 1, 0), fromClient(4*sec, ack, 0, 1, 0), fromClient(5*sec, ack, 0, 1, 0),
				fromClient(6*sec, rstAck, 1, 1, 0)),
			want: []timeline.Event{probe(1), alive, probe(1), probe(2), event(Client, timeline.RST, 0)}},
		{name: "keepalive, SYN-ACK again in between: counted as an answer",
			in:   opened(true, 0, 30, fromClient(2*sec, ack, 0, 1, 0), fromServer(2*sec+500_000, synAck, 0, 1, 0), fromClient(3*sec, ack, 0, 1, 0)),
			want: []timeline.Event{probe(1), event(Server, timeline.SYNACKAgain, 1), probe(2)}},
		{name: "keepalive with one byte of other systems: data again",
			in:   opened(true, 0, 30, fromClient(0, psh, 1, 1, 5), fromServer(20, ack, 1, 6, 0), fromClient(2*sec, ack, 5, 1, 1), sack(fromServer(2*sec+20, ack, 1, 6, 0), 105, 106)),
			want: []timeline.Event{data, acked, probe(1), alive}},
		{name: "one byte again, soon: a keepalive probe",
			in:   opened(true, 0, 30, fromClient(0, psh, 1, 1, 1), fromServer(20, ack, 1, 2, 0), fromClient(204_000, ack, 1, 1, 1)),
			want: []timeline.Event{data, acked, event(Client, timeline.TailLossProbe, 0)}},
		{name: "something in flight: a keepalive probe",
			in:   opened(true, 0, 30, fromClient(0, psh, 1, 1, 5), fromClient(2*sec, ack, 0, 1, 0)),
			want: []timeline.Event{data, event(Client, timeline.ACK, 0)}},
		{name: "closed window: a keepalive probe; answered or not, N counts on; the window opens, and N begins anew",
			in: opened(true, 0, 30, fromClient(0, psh, 1, 1, 5), win(0, fromServer(20, ack, 1, 6, 0)), fromClient(200_000, ack, 5, 1, 0), win(0, fromServer(200_020, ack, 1, 6, 0)),
				fromClient(600_000, ack, 5, 1, 0), win(300, fromServer(900_000, ack, 1, 6, 0)), fromClient(900_010, psh, 6, 1, 9), win(0, fromServer(900_050, ack, 1, 15, 0)),
				fromClient(1_200_000, ack, 14, 1, 0), win(40, fromServer(1_200_020, ack, 1, 15, 0))),
			want: []timeline.Event{data, acked, window(1), open, window(2), event(Server, timeline.WindowUpdate, 0), data, acked, window(1), open}},
		{name: "one byte into the closed window: data, and its byte taken for sent",
			in: opened(true, 0, 30, fromClient(0, psh, 1, 1, 5), win(0, fromServer(20, ack, 1, 6, 0)), fromClient(200_000, ack, 6, 1, 1), win(0, fromServer(200_020, ack, 1, 6, 0)),
				fromClient(600_000, ack, 6, 1, 1), win(300, fromServer(600_020, ack, 1, 7, 0)), fromClient(600_030, psh, 7, 1, 9)),
			want: []timeline.Event{data, acked, window(1), open, window(2), acked, data}},
		{name: "an open window: a window probe",
			in:   opened(true, 0, 30, fromClient(0, psh, 1, 1, 5), fromServer(20, ack, 1, 6, 0), fromClient(2*sec, ack, 5, 1, 0)),
			want: []timeline.Event{data, acked, probe(1)}},
	})
}

// TestMidConnection catches names that need the handshake. The first packets of such a capture cannot be told, and are named by the little
// that is known.
func TestMidConnection(t *testing.T) {
	for _, tt := range []naming{
		{name: "unanswered probes: an end that repeats itself",
			in:   []pcapout.Segment{seg(0, c, s, ack, 100, 500, 0), seg(1000, c, s, ack, 100, 500, 0), seg(2000, c, s, ack, 100, 500, 0), seg(3000, c, s, rstAck, 101, 500, 0)},
			want: []timeline.Event{event(Client, timeline.ACK, 0), event(Client, timeline.KeepaliveProbe, 1), event(Client, timeline.KeepaliveProbe, 2), event(Client, timeline.RST, 0)}},
		{name: "a fast retransmit from the middle of a transfer",
			in: []pcapout.Segment{seg(0, c, s, psh, 100, 500, 10), at(20, seg(0, s, c, ack, 500, 110, 0)), at(100, seg(0, c, s, psh, 110, 500, 10)), at(110, seg(0, c, s, psh, 120, 500, 10)),
				at(120, sack(seg(0, s, c, ack, 500, 110, 0), 120, 130)), at(130, seg(0, c, s, psh, 110, 500, 10))},
			want: []timeline.Event{data, event(Server, timeline.ACK, 0), data, data, event(Server, timeline.DuplicateACK, 1), event(Client, timeline.FastRetransmit, 0)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, kinds(tt.in, 0)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestSYNACK: why a SYN-ACK was sent.
func TestSYNACK(t *testing.T) {
	first := func(us int) pcapout.Segment { return at(us, seg(0, c, s, syn, 100, 0, 0)) }
	answer := func(us int, isn uint32) pcapout.Segment { return at(us, seg(0, s, c, synAck, isn, 101, 0)) }
	syns := func(n int) timeline.Event { return event(Client, timeline.SYNRetransmission, n) }
	asked := func(n int) timeline.Event { return event(Server, timeline.SYNACKAnswer, n) }
	timer := func(n int) timeline.Event { return event(Server, timeline.SYNACKAgain, n) }
	open := []timeline.Event{event(Client, timeline.SYN, 0), event(Server, timeline.SYNACK, 0)}
	const sec = 1_000_000
	for _, tt := range []naming{
		{name: "a repeated SYN within 500 ms is not answered: the timer's taken for its answer",
			in: []pcapout.Segment{first(0), answer(20, 500), first(200_000), answer(200_020, 500), first(600_000), first(900_000), answer(900_020, 500), first(1_200_000),
				answer(1_910_000, 500)},
			want: concat(open, []timeline.Event{syns(1), asked(1), syns(2), syns(3), asked(2), syns(4), timer(1)})},
		{name: "one tick, the timer first: named by count instead of by what came before",
			in:   []pcapout.Segment{first(0), answer(20, 500), answer(sec, 500), first(sec + 10), answer(sec+20, 500)},
			want: concat(open, []timeline.Event{timer(1), syns(1), asked(1)})},
		{name: "one tick, at the client behind 40 ms: what was under way taken for the answer",
			in:   []pcapout.Segment{first(0), answer(40_000, 500), first(sec), answer(sec+20_000, 500), answer(sec+40_000, 500)},
			want: concat(open, []timeline.Event{syns(1), timer(1), asked(1)})},
		{name: "a new request: repeats counted on, and a SYN-ACK with another number taken for a repeat",
			in:   []pcapout.Segment{first(0), answer(20, 500), answer(sec, 500), first(7 * sec), answer(7*sec+20, 900), answer(8*sec, 900), first(9 * sec), answer(9*sec+20, 900)},
			want: concat(open, []timeline.Event{timer(1), syns(1), event(Server, timeline.SYNACK, 0), timer(1), syns(2), asked(1)})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, kinds(tt.in, 0)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestRTT catches a round trip that counts from a SYN that was lost.
func TestRTT(t *testing.T) {
	in := []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1004, c, s, syn, 100, 0, 0), seg(1044, s, c, synAck, 500, 101, 0)}
	if got, want := Analyse(in, Options{})[0].RTT, 40*time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// BenchmarkAnalyse shows that a packet costs the same in a long capture as in a short one, with a hole in every window.
func BenchmarkAnalyse(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 17} {
		in := opened(true, 0, 30)
		for i := range uint32(n / 4) {
			us, p := int(1000+100*i), 1+20*i
			in = append(in, fromClient(us, psh, p, 1, 10), fromClient(us+1, psh, p+10, 1, 10), sack(fromServer(us+30, ack, 1, p, 0), 110+p, 120+p),
				fromClient(us+40, psh, p, 1, 10), fromServer(us+70, ack, 1, p+20, 0))
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				Analyse(in, Options{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(in)), "ns/segment")
		})
	}
}

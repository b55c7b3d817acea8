package analyse

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

var (
	start = time.Unix(1_800_000_000, 0)
	c     = netip.MustParseAddrPort("10.99.0.1:40000")
	s     = netip.MustParseAddrPort("10.99.0.2:8080")
)

const (
	syn    = pcapout.SYN
	ack    = pcapout.ACK
	synAck = pcapout.SYN | pcapout.ACK
	finAck = pcapout.FIN | pcapout.ACK
	rstAck = pcapout.RST | pcapout.ACK
	psh    = pcapout.PSH | pcapout.ACK
)

// seg makes a segment at ms milliseconds.
func seg(ms int, src, dst netip.AddrPort, f pcapout.Flags, seq, ackNo uint32, n int) pcapout.Segment {
	return pcapout.Segment{Time: start.Add(time.Duration(ms) * time.Millisecond), Src: src, Dst: dst, Flags: f, Seq: seq, Ack: ackNo, Length: n, Window: 500}
}

func unreachable(ms int, from netip.Addr, quotedSrc, quotedDst netip.AddrPort, seq uint32) pcapout.Segment {
	return pcapout.Segment{Time: start.Add(time.Duration(ms) * time.Millisecond), Src: netip.AddrPortFrom(from, 0), Dst: netip.AddrPortFrom(quotedSrc.Addr(), 0),
		ICMP: &pcapout.ICMP{Type: 3, Code: 1, Src: quotedSrc, Dst: quotedDst, Seq: seq}}
}

// show writes connections as text that a person can check.
func show(conns []Connection) string {
	var b strings.Builder
	for _, x := range conns {
		fmt.Fprintf(&b, "%v -> %v\n", x.Client, x.Server)
		for _, p := range x.Packets {
			what, n := string(p.What), ""
			if what == "" {
				what = "?"
			}
			if p.N > 0 {
				n = fmt.Sprintf(" %d", p.N)
			}
			fmt.Fprintf(&b, "  %d %s %s%s seq=%d ack=%d\n", p.Segment, p.From, what, n, p.RelSeq, p.RelAck)
		}
	}
	return b.String()
}

// Each row names the mistake that it catches.
func TestAnalyse(t *testing.T) {
	const last = math.MaxUint32
	for _, tt := range []struct {
		name string
		o    Options
		in   []pcapout.Segment
		want string
	}{
		{name: "nothing: no connection out of thin air"},
		{
			name: "SYN repeats: a count that starts at the first SYN",
			in:   []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1004, c, s, syn, 100, 0, 0), seg(3020, c, s, syn, 100, 0, 0)},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 client syn-retransmission 1 seq=0 ack=0
  2 client syn-retransmission 2 seq=0 ack=0
`,
		},
		{
			name: "another ISN in SYN-SENT: a second dial taken for a repeat",
			in:   []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1000, c, s, syn, 100, 0, 0), seg(3000, c, s, syn, 999, 0, 0), seg(4000, c, s, syn, 999, 0, 0)},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 client syn-retransmission 1 seq=0 ack=0
10.99.0.1:40000 -> 10.99.0.2:8080
  2 client syn seq=0 ack=0
  3 client syn-retransmission 1 seq=0 ack=0
`,
		},
		{
			name: "a whole connection over the wrap of both sequence spaces: relative numbers that jump",
			in: []pcapout.Segment{
				seg(0, c, s, syn, last, 0, 0), seg(1, s, c, synAck, last-1, 0, 0), seg(2, c, s, ack, 0, last, 0),
				seg(3, c, s, psh, 0, last, 6), seg(4, s, c, ack, last, 6, 0), seg(210, c, s, psh, 0, last, 6),
				seg(211, s, c, psh, last, 6, 10), seg(420, s, c, psh, last, 6, 10),
				seg(421, c, s, finAck, 6, 9, 0), seg(430, c, s, finAck, 6, 9, 0), seg(431, s, c, finAck, 9, 7, 0), seg(432, c, s, ack, 7, 10, 0),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn-ack seq=0 ack=1
  2 client ack seq=1 ack=1
  3 client data seq=1 ack=1
  4 server ack seq=1 ack=7
  5 client rto-retransmission 1 seq=1 ack=1
  6 server data seq=1 ack=7
  7 server rto-retransmission 1 seq=1 ack=7
  8 client fin seq=7 ack=11
  9 client fin-retransmission 1 seq=7 ack=11
  10 server fin seq=11 ack=8
  11 client ack seq=8 ack=12
`,
		},
		{
			name: "two SYN-ACKs in one tick: copies that are merged",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, synAck, 500, 101, 0), seg(1030, c, s, syn, 100, 0, 0),
				seg(1030, s, c, synAck, 500, 101, 0), seg(1030, s, c, synAck, 500, 101, 0),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn-ack seq=0 ack=1
  2 client syn-retransmission 1 seq=0 ack=0
  3 server syn-ack-answer 1 seq=0 ack=1
  4 server syn-ack-retransmission 1 seq=0 ack=1
`,
		},
		{
			name: "half-open connection made anew: a new SYN-ACK counted as a repeat",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, synAck, 500, 101, 0), seg(1000, s, c, synAck, 500, 101, 0),
				seg(7000, c, s, syn, 100, 0, 0), seg(7000, s, c, synAck, 900, 101, 0), seg(8000, s, c, synAck, 900, 101, 0),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn-ack seq=0 ack=1
  2 server syn-ack-retransmission 1 seq=0 ack=1
  3 client syn-retransmission 1 seq=0 ack=0
  4 server syn-ack seq=0 ack=1
  5 server syn-ack-retransmission 1 seq=0 ack=1
`,
		},
		{
			name: "simultaneous open: the other end's SYN taken for a new connection or a repeat",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, syn, 500, 0, 0), seg(1, c, s, synAck, 100, 501, 0), seg(1, s, c, synAck, 500, 101, 0),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn seq=0 ack=0
  2 client syn-ack seq=0 ack=1
  3 server syn-ack seq=0 ack=1
`,
		},
		{
			name: "refused: a relative number that comes from the absent ISN of a closed port",
			in:   []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, rstAck, 0, 101, 0), seg(5, c, s, syn, 700, 0, 0)},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server rst seq=0 ack=1
10.99.0.1:40000 -> 10.99.0.2:8080
  2 client syn seq=0 ack=0
`,
		},
		{
			name: "out of order at the receiver: late data taken for a retransmission",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, synAck, 500, 101, 0), seg(0, c, s, ack, 101, 501, 0),
				seg(1, c, s, psh, 101, 501, 10), seg(2, c, s, psh, 121, 501, 10), seg(3, c, s, psh, 111, 501, 10),
				seg(4, c, s, psh, 111, 501, 20), seg(5, c, s, psh, 125, 501, 20), seg(6, c, s, psh, 145, 501, 5), seg(7, c, s, psh, 111, 501, 10),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn-ack seq=0 ack=1
  2 client ack seq=1 ack=1
  3 client data seq=1 ack=1
  4 client data seq=21 ack=1
  5 client data seq=11 ack=1
  6 client data-retransmission 1 seq=11 ack=1
  7 client data-retransmission 1 seq=25 ack=1
  8 client data seq=45 ack=1
  9 client data-retransmission 2 seq=11 ack=1
`,
		},
		{
			name: "Fast Open: data of the SYN forgotten, so that its repeat looks new",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 20), seg(1000, c, s, syn, 100, 0, 0), seg(1001, s, c, synAck, 500, 101, 0), seg(1001, c, s, psh, 101, 501, 20),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 client syn-retransmission 1 seq=0 ack=0
  2 server syn-ack seq=0 ack=1
  3 client data-retransmission 1 seq=1 ack=1
`,
		},
		{
			name: "FIN repeated together with data: a repeat named by its data",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, synAck, 500, 101, 0), seg(0, c, s, ack, 101, 501, 0),
				seg(1, c, s, psh, 101, 501, 20), seg(1, c, s, finAck, 121, 501, 0), seg(200, c, s, finAck, 101, 501, 20),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn-ack seq=0 ack=1
  2 client ack seq=1 ack=1
  3 client data seq=1 ack=1
  4 client fin seq=21 ack=1
  5 client fin-retransmission 1 seq=1 ack=1
`,
		},
		{
			name: "keepalive probe and stray SYN: an established connection cut in two",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, synAck, 500, 101, 0), seg(0, c, s, ack, 101, 501, 0),
				seg(2000, c, s, ack, 100, 501, 0), seg(3000, c, s, syn, 4000, 0, 0), seg(3000, s, c, ack, 501, 101, 0),
				seg(3000, c, s, pcapout.RST, 101, 0, 0), seg(4000, c, s, syn, 4000, 0, 0),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn-ack seq=0 ack=1
  2 client ack seq=1 ack=1
  3 client keepalive-probe 1 seq=0 ack=1
  4 client syn seq=3900 ack=0
  5 server challenge-ack seq=1 ack=1
  6 client rst seq=1 ack=0
10.99.0.1:40000 -> 10.99.0.2:8080
  7 client syn seq=0 ack=0
`,
		},
		{
			name: "same ports after both FINs: two connections joined",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), seg(0, s, c, synAck, 500, 101, 0), seg(0, c, s, ack, 101, 501, 0),
				seg(1, c, s, finAck, 101, 501, 0), seg(1, s, c, finAck, 501, 102, 0), seg(1, c, s, ack, 102, 502, 0), seg(9, c, s, syn, 9000, 0, 0),
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server syn-ack seq=0 ack=1
  2 client ack seq=1 ack=1
  3 client fin seq=1 ack=1
  4 server fin seq=1 ack=2
  5 client ack seq=2 ack=2
10.99.0.1:40000 -> 10.99.0.2:8080
  6 client syn seq=0 ack=0
`,
		},
		{
			name: "no handshake: the server taken for the client, numbers not starting at 1",
			in:   []pcapout.Segment{seg(0, s, c, psh, 7000, 300, 10), seg(1, c, s, ack, 300, 7010, 0), seg(2, c, s, 0, 300, 0, 0)},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 server data seq=1 ack=1
  1 client ack seq=1 ack=11
  2 client ? seq=1 ack=0
`,
		},
		{
			name: "no handshake, port known: the higher port taken for the client",
			o:    Options{ServerPort: 40000},
			in:   []pcapout.Segment{seg(0, s, c, psh, 7000, 300, 10)},
			want: `10.99.0.2:8080 -> 10.99.0.1:40000
  0 client data seq=1 ack=1
`,
		},
		{
			name: "SYN-ACK first: its sender taken for the client, the SYN behind it for another connection",
			in:   []pcapout.Segment{seg(0, s, c, synAck, 500, 101, 0), seg(1, c, s, syn, 100, 0, 0), seg(2, c, s, syn, 100, 0, 0)},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 server syn-ack seq=0 ack=1
  1 client syn seq=0 ack=0
  2 client syn-retransmission 1 seq=0 ack=0
`,
		},
		{
			name: "ICMP errors: one matched by its own addresses, a router's blamed on the server",
			in: []pcapout.Segment{
				seg(0, c, s, syn, 100, 0, 0), unreachable(1, s.Addr(), c, s, 100), unreachable(2, netip.MustParseAddr("10.99.0.254"), c, s, 100),
				unreachable(3, s.Addr(), netip.MustParseAddrPort("10.99.0.1:40001"), s, 7), {Time: start},
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client syn seq=0 ack=0
  1 server icmp-error seq=0 ack=0
  2  icmp-error seq=0 ack=0
10.99.0.1:40001 -> 10.99.0.2:8080
  3 server icmp-error seq=1 ack=0
`,
		},
		{
			name: "truncated segments: a repeat missed because the bytes are not in the file",
			in: []pcapout.Segment{
				{Time: start, Src: c, Dst: s, Flags: psh, Seq: 10, Ack: 20, Length: 1000, Truncated: true},
				{Time: start, Src: c, Dst: s, Flags: psh, Seq: 510, Ack: 20, Length: 1000, Truncated: true},
			},
			want: `10.99.0.1:40000 -> 10.99.0.2:8080
  0 client data seq=1 ack=1
  1 client tail-loss-probe seq=501 ack=1
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, show(Analyse(tt.in, tt.o))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Catches a stream over 4 GiB whose later bytes look like repeats of earlier ones with the same numbers.
func TestMoreThanTheSequenceSpace(t *testing.T) {
	in := []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0)}
	const n = 1 << 28
	for i := range uint32(20) { // 5 GiB
		in = append(in, seg(1, c, s, psh, 101+i*n, 501, n))
	}
	for _, p := range Analyse(in, Options{})[0].Packets[1:] {
		if p.What != timeline.Data {
			t.Errorf("segment %d: got %s, want data", p.Segment, p.What)
		}
	}
}

// Catches ISNs that are not those of the wire, or claimed without having been seen.
func TestISN(t *testing.T) {
	got := Analyse([]pcapout.Segment{seg(0, s, c, synAck, 500, 101, 0)}, Options{})[0]
	if got.ServerISN != 500 || !got.ServerISNSeen || got.ClientISN != 100 || got.ClientISNSeen {
		t.Errorf("got client %d %v, server %d %v, want 100 false, 500 true", got.ClientISN, got.ClientISNSeen, got.ServerISN, got.ServerISNSeen)
	}
}

// Catches events at wall-clock times, out of order, or for segments that TCP ignores.
func TestTimeline(t *testing.T) {
	in := []pcapout.Segment{
		seg(0, c, s, syn, 100, 0, 0), seg(3020, c, s, syn, 100, 0, 0), seg(1004, s, c, synAck, 7, 101, 0), seg(4000, c, s, 0, 101, 0, 0),
	}
	got := Analyse(in, Options{})[0].Timeline(start)
	want := timeline.Timeline{Events: []timeline.Event{
		{Host: Client, What: timeline.SYN},
		{Bound: timeline.Bound{At: 1004 * time.Millisecond}, Host: Server, What: timeline.SYNACK, RelAck: 1},
		{Bound: timeline.Bound{At: 3020 * time.Millisecond}, Host: Client, What: timeline.SYNRetransmission, N: 1},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Catches input that makes Analyse panic, lose a packet or name it twice.
func FuzzAnalyse(f *testing.F) {
	f.Add([]byte{2, 0, 0, 18, 0, 0, 16, 1, 1, 17, 5, 5})
	f.Add([]byte{1, 255, 9, 16, 255, 200, 4, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 18, 0, 0, 0, 16, 1, 1, 9, 17, 5, 5, 40})
	f.Fuzz(func(t *testing.T, b []byte) {
		var in []pcapout.Segment
		at := start
		for ; len(b) >= 4; b = b[4:] {
			src, dst := c, s
			if b[0]&0x80 != 0 {
				src, dst = s, c
			}
			x := seg(0, src, dst, pcapout.Flags(b[0]&0x17), uint32(int8(b[1]))<<(b[3]>>5*4), uint32(int8(b[2]))<<(b[3]>>5*4), int(b[2]&0x43)<<(b[3]>>6*9))
			at = at.Add(time.Duration(1)<<(b[3]&31) - time.Duration(b[1])) // also backwards
			x.Time, x.Window = at, uint16(b[1]&b[3])
			x.Options.SACKPermitted = b[2]&8 == 0
			if b[0]&0x20 != 0 {
				x.Options.SACK = []pcapout.SACKBlock{{Left: x.Ack + uint32(b[3]), Right: x.Ack + uint32(b[1])}, {Left: x.Seq, Right: x.Ack}}
			}
			if b[0]&0x40 != 0 {
				x.ICMP = &pcapout.ICMP{Src: src, Dst: dst, Seq: x.Seq}
			}
			in = append(in, x)
		}
		seen := map[int]bool{}
		for _, conn := range Analyse(in, Options{}) {
			for _, p := range conn.Packets {
				if seen[p.Segment] {
					t.Errorf("segment %d: named twice", p.Segment)
				}
				seen[p.Segment] = true
				if p.What == "" && (in[p.Segment].Length > 0 || in[p.Segment].Flags&^pcapout.PSH != 0) {
					t.Errorf("segment %d: %v: no name", p.Segment, in[p.Segment])
				}
				if p.What != "" && (!p.What.Known() || !p.What.OnWire()) {
					t.Errorf("segment %d: got %q, want a kind that is on the wire", p.Segment, p.What)
				}
			}
		}
		if len(seen) != len(in) {
			t.Errorf("got %d packets, want %d", len(seen), len(in))
		}
	})
}

package analyse

import (
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// summaries streams segments and returns what is told at the end.
func summaries(o StreamOptions, in []pcapout.Segment) []Summary {
	var out []Summary
	o.Ended = func(s *Summary) { out = append(out, *s) }
	st := NewStream(o)
	for i := range in {
		st.Add(i, &in[i])
	}
	st.Close()
	return out
}

// TestStreamNames catches a stream that names a packet otherwise than Analyse: there must be one analyser. It compares all captures.
func TestStreamNames(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.pcapng")
	if len(files) < 20 {
		t.Fatalf("got %d captures, want at least 20", len(files))
	}
	for _, path := range files {
		in := capture(t, path)
		got := map[int][]Named{}
		st := NewStream(StreamOptions{Copies: true,
			Packet:  func(c *Connection, n Named) { got[c.Number] = append(got[c.Number], n) },
			Renamed: func(c *Connection, i int, n Named) { got[c.Number][i] = n },
			Copy:    func(_ *Connection, n Named) { t.Errorf("%s: packet %d is left out as a copy", path, n.Segment+1) }})
		for i := range in {
			st.Add(i, &in[i])
		}
		st.Close()
		for _, c := range Analyse(in, Options{}) {
			if diff := cmp.Diff(c.Packets, got[c.Number]); diff != "" {
				t.Errorf("%s: connection %d (-Analyse +Stream):\n%s", path, c.Number, diff)
			}
		}
	}
}

// TestFindings catches a diagnosis that is wrong or missing for the captures of which it is known what was done (testdata/README.md), the
// counts that it stands on, and a diagnosis of a connection that had nothing.
func TestFindings(t *testing.T) {
	for _, tt := range []struct {
		file  string
		fates string
		want  string // "grade kind host n" of the gravest of each connection
	}{
		{"synack-lost-client", "half-open", "died syn-ack-unheard server 6"},
		{"ack-lost-client", "silent", "died ack-unheard client 3"},
		{"keepalive-client", "reset", "died keepalive-unanswered client 3"},
		{"zero-window-client", "open", "slow window-closed server 3"},
		{"fast-sack-client", "closed", "slow loss-repaired client 2"},
		{"fast-no-sack-client", "closed", "slow loss-repaired client 2"},
		{"tail-client", "closed", "slow loss-repaired client 1"},
		{"fin-lost-client", "silent", "died data-unanswered client 4"},
		{"no-probe-client", "silent", "died data-unanswered client 4"},
	} {
		var fates, worst []string
		for _, s := range summaries(StreamOptions{}, capture(t, "testdata/"+tt.file+".pcapng")) {
			fates = append(fates, string(s.Fate))
			if len(s.Findings) > 0 {
				f := s.Findings[0]
				worst = append(worst, strings.Join([]string{f.Grade.String(), string(f.Kind), f.Host, itoa(f.N)}, " "))
			} else {
				worst = append(worst, "nothing")
			}
		}
		if got := strings.Join(fates, " "); got != tt.fates {
			t.Errorf("%s: got fates %q, want %q", tt.file, got, tt.fates)
		}
		if got := strings.Join(worst, ", "); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.file, got, tt.want)
		}
	}
	clean := []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(20, s, c, synAck, 500, 101, 0), seg(40, c, s, ack, 101, 501, 0), seg(41, c, s, psh, 101, 501, 10),
		seg(60, s, c, ack, 501, 111, 0), seg(80, s, c, psh, 501, 111, 10), seg(100, c, s, ack, 111, 511, 0), seg(200, c, s, finAck, 111, 511, 0), seg(220, s, c, finAck, 511, 112, 0), seg(240, c, s, ack, 112, 512, 0)}
	got := summaries(StreamOptions{}, clean)
	if len(got) != 1 || got[0].Fate != Closed || len(got[0].Findings) != 0 || got[0].RTT != 40*time.Millisecond || got[0].Ends[0].Bytes != 10 {
		t.Errorf("a clean connection: got %+v, want closed, RTT 40 ms, 10 bytes, nothing found", got)
	}
}

func itoa(n int) string { return string(rune('0' + n)) }

// TestOpenings catches connections that never came to be and get another reason.
func TestOpenings(t *testing.T) {
	late := seg(9000, netip.MustParseAddrPort("10.0.0.8:1"), s, syn, 1, 0, 0) // the capture goes on
	for _, tt := range []struct {
		name string
		in   []pcapout.Segment
		fate Fate
		kind Kind
	}{
		{"SYN and its repeats", []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1000, c, s, syn, 100, 0, 0), seg(3000, c, s, syn, 100, 0, 0)}, Unanswered, SYNUnanswered},
		{"one SYN, long ago", []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0)}, Unanswered, SYNUnanswered},
		{"one SYN, just now", []pcapout.Segment{seg(8990, c, s, syn, 100, 0, 0)}, Open, ""},
		{"RST", []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1, s, c, rstAck, 0, 101, 0)}, Refused, SYNRefused},
		{"ICMP", []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), unreachable(1, s.Addr(), c, s, 100)}, Unreachable, SYNUnreachable},
		{"SYN-ACK without an answer", []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1, s, c, synAck, 500, 101, 0), seg(1001, s, c, synAck, 500, 101, 0)}, HalfOpen, SYNACKUnheard},
		{"a lone RST", []pcapout.Segment{seg(0, c, s, rstAck, 100, 5, 0)}, Stray, ""},
		{"SYN lost once", []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1000, c, s, syn, 100, 0, 0), seg(1001, s, c, synAck, 500, 101, 0), seg(1002, c, s, ack, 101, 501, 0)}, Open, SYNLost},
		{"reset while it stood", []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1, s, c, synAck, 500, 101, 0), seg(2, c, s, ack, 101, 501, 0), seg(3, s, c, rstAck, 501, 101, 0)}, ResetFate, ResetByPeer},
	} {
		got := summaries(StreamOptions{}, append(tt.in, late))[0]
		var kind Kind
		if len(got.Findings) > 0 {
			kind = got.Findings[0].Kind
		}
		if got.Fate != tt.fate || kind != tt.kind {
			t.Errorf("%s: got %s, %s, want %s, %s", tt.name, got.Fate, kind, tt.fate, tt.kind)
		}
	}
}

// TestCopies catches a capture of several points that is full of repeats: each packet of a connection with a lost segment is seen at two
// points, in one of them as a part of larger packets; and it catches real repeats that are taken for copies.
func TestCopies(t *testing.T) {
	in := opened(true, 0, 40_000, concat(burst(50_000, 3), []pcapout.Segment{
		sack(fromServer(90_000, ack, 1, 1, 0), 111, 131), fromClient(90_100, psh, 1, 1, 10), fromServer(135_000, ack, 1, 31, 0)})...)
	for i := range in {
		in[i].IPID = uint16(100 + i)
	}
	run := func(copied func(i int, s pcapout.Segment) []pcapout.Segment) (copies int, sum Summary) {
		st := NewStream(StreamOptions{Copies: true, Ended: func(s *Summary) { sum = *s }, Copy: func(*Connection, Named) { copies++ }})
		for i := range in {
			st.AddAt(i, &in[i], 1)
			for _, s := range copied(i, in[i]) {
				st.AddAt(i, &s, 2)
			}
		}
		st.Close()
		return copies, sum
	}
	_, want := run(func(int, pcapout.Segment) []pcapout.Segment { return nil })
	if want.Ends[0].Counts[timeline.FastRetransmit] != 1 || want.Ends[0].Repeats() != 1 {
		t.Fatalf("got %v, want one fast retransmission", want.Ends[0].Counts)
	}
	later := func(s pcapout.Segment) pcapout.Segment { s.Time = s.Time.Add(300 * time.Microsecond); return s }
	for name, copied := range map[string]func(int, pcapout.Segment) []pcapout.Segment{
		"the same packets": func(_ int, s pcapout.Segment) []pcapout.Segment { return []pcapout.Segment{later(s)} },
		"data in halves": func(_ int, s pcapout.Segment) []pcapout.Segment {
			if s.Length < 10 {
				return []pcapout.Segment{later(s)}
			}
			a, b := later(s), later(s)
			a.Length, b.Length, b.Seq, b.IPID = 5, 5, s.Seq+5, 0
			return []pcapout.Segment{a, b}
		},
		"some lost between the points": func(i int, s pcapout.Segment) []pcapout.Segment {
			if i == 4 {
				return nil
			}
			return []pcapout.Segment{later(s)}
		},
	} {
		n, got := run(copied)
		if diff := cmp.Diff(want.Ends, got.Ends); diff != "" || n == 0 {
			t.Errorf("%s: %d copies, counts (-one point +two points):\n%s", name, n, diff)
		}
	}
	// The same packet again at the same point: a mirror port, known by its identification. Without one it is TCP's own repeat.
	one := []pcapout.Segment{seg(0, c, s, syn, 100, 0, 0), seg(1, c, s, syn, 100, 0, 0)}
	for id, want := range map[uint16]int{7: 0, 0: 1} {
		one[0].IPID, one[1].IPID = id, id
		got := summaries(StreamOptions{Copies: true}, one)[0]
		if n := got.Ends[0].Counts[timeline.SYNRetransmission]; n != want {
			t.Errorf("the same SYN with identification %d: got %d repeats, want %d", id, n, want)
		}
	}
}

// TestBounds catches memory that grows with the capture: connections that never end, one that repeats everything, one whose capture is full
// of holes, one that nobody acknowledges.
func TestBounds(t *testing.T) {
	st := NewStream(StreamOptions{MaxOpen: 100, Copies: true})
	for i := range 5000 {
		x := seg(i, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1000), s, syn, 100, 0, 0)
		st.Add(i, &x)
	}
	if st.Open() != 100 || st.order.n != 100 {
		t.Errorf("got %d connections open, %d in the list, want 100", st.Open(), st.order.n)
	}
	var given int
	st = NewStream(StreamOptions{MaxOpen: 1 << 20, Ended: func(*Summary) { given++ }})
	for i := range 3 * maxLinger {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 1000)
		for _, x := range []pcapout.Segment{seg(i, from, s, syn, 100, 0, 0), seg(i, s, from, rstAck, 0, 101, 0)} {
			st.Add(i, &x)
		}
	}
	if st.Open() > maxLinger || given < 2*maxLinger {
		t.Errorf("got %d connections open and %d ended, want at most %d open", st.Open(), given, maxLinger)
	}
	st = NewStream(StreamOptions{Copies: true, Ended: func(*Summary) {}})
	for i := range 3 * defaultOpen {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1000)
		for _, x := range []pcapout.Segment{seg(i, from, s, syn, 100, 0, 0), seg(i, s, from, synAck, 500, 101, 0), seg(i, from, s, psh, 101, 501, 10)} {
			st.Add(i, &x)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 200<<20 || st.Open() != defaultOpen {
		t.Errorf("got %d MB for %d connections, want at most 200 MB for %d", m.HeapAlloc>>20, st.Open(), defaultOpen)
	}
	runtime.KeepAlive(st)
	r := rand.New(rand.NewPCG(1, 2))
	var f *flow
	st = NewStream(StreamOptions{begun: func(x *flow) { f = x }})
	add := func(x pcapout.Segment) { st.Add(0, &x) }
	add(seg(0, c, s, psh, 100, 500, 10))
	for i := range 100_000 {
		add(seg(i, c, s, psh, 200+uint32(i)*20, 500, 10))           // every second part is missing
		add(seg(i, c, s, psh, 200+uint32(r.IntN(i+1))*20, 500, 10)) // again
		if i > 100 {
			add(sack(seg(i, s, c, ack, 500, 200, 0), 200+uint32(i-50)*40, 210+uint32(i-50)*40))
		}
	}
	d := &f.client
	if len(d.seen) > maxSpans || len(d.sacked) > maxSpans || len(d.counts) > maxCounts || len(d.inFlight) > maxInFlight {
		t.Errorf("got %d spans, %d sacked, %d counts, %d in flight, want at most %d, %d, %d, %d", len(d.seen), len(d.sacked), len(d.counts), len(d.inFlight),
			maxSpans, maxSpans, maxCounts, maxInFlight)
	}
}

// TestOneDirection catches nonsense in a capture that sees only what one end sends: acknowledgements that say the same are not probes.
func TestOneDirection(t *testing.T) {
	var in []pcapout.Segment
	for i := range 20 {
		in = append(in, seg(i, c, s, ack, 100, 500+uint32(i/4)*1000, 0))
	}
	got := summaries(StreamOptions{}, in)[0]
	if n := got.Ends[0].Counts[timeline.KeepaliveProbe]; n != 0 {
		t.Errorf("got %d keepalive probes, want none: %v", n, got.Ends[0].Counts)
	}
}

// FuzzStream feeds segments that no TCP would send. The stream must keep its bounds and count every packet once.
func FuzzStream(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		named, copies, packets := 0, 0, 0
		st := NewStream(StreamOptions{MaxOpen: 3, Copies: true, Packet: func(*Connection, Named) { named++ }, Copy: func(*Connection, Named) { copies++ },
			Ended: func(s *Summary) {
				packets += s.Packets
				if s.Ends[0].Repeats() < 0 || s.Ends[1].Repeats() < 0 || s.Ends[0].Bytes < 0 || s.Waited < 0 {
					t.Errorf("got %+v", s)
				}
			}})
		n := 0
		for now := 0; len(b) >= 10; b = b[10:] {
			now += int(b[0]) * int(b[0])
			x := seg(now, c, s, pcapout.Flags(b[1])&0x1f, uint32(b[2])<<uint(b[3]%32), uint32(b[4])<<uint(b[5]%32), int(b[6])<<(b[7]%8))
			x.IPID, x.Window = uint16(b[8]), uint16(b[9])<<8
			if b[9]&1 != 0 {
				x.Src, x.Dst = x.Dst, x.Src
			}
			if b[9]&2 != 0 {
				x.Options.SACK = []pcapout.SACKBlock{{Left: x.Ack + uint32(b[7]), Right: x.Ack + uint32(b[8])*10}}
			}
			if b[9]&12 == 12 {
				x.Src = netip.AddrPortFrom(x.Src.Addr(), uint16(b[8]))
			}
			if b[9] == 0x55 {
				x.ICMP = &pcapout.ICMP{Type: b[8], Src: x.Src, Dst: x.Dst, Seq: x.Seq}
			}
			st.AddAt(n, &x, uint64(b[9]&4))
			n++
			if st.Open() > 3 {
				t.Fatalf("got %d connections open, want at most 3", st.Open())
			}
		}
		st.Close()
		if named+copies != n || packets != named {
			t.Errorf("got %d named and %d copies of %d packets, %d in summaries", named, copies, n, packets)
		}
	})
}

package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// backlogOf is a listener of this length with clients 80 ms apart, of which one is held.
func backlogOf(length, clients, held int) Backlog {
	b := Backlog{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 2, InvalidRatelimit: 500 * time.Millisecond}, Length: length, Cookies: 1,
		Ratelimit: 500 * time.Millisecond}
	for i := range clients {
		b.Clients = append(b.Clients, BacklogClient{Port: 40001 + uint16(i), At: time.Duration(i) * 80 * time.Millisecond, Held: i == held})
	}
	return b
}

// apart puts the clients of b on a link with a round trip.
func apart(b *Backlog, rtt time.Duration) {
	b.RTT = rtt
	for i := range b.Clients {
		b.Clients[i].At += time.Duration(i) * rtt
	}
}

// TestBacklogPlaces catches a queue that is one too long or too short: o has a place, x is refused, l is half open and will be too late, c got a cookie.
func TestBacklogPlaces(t *testing.T) {
	for _, tt := range []struct {
		version string
		b       Backlog
		cookies int
		want    string
	}{
		{"6.18", backlogOf(1, 4, 1), 1, "o l o x"},
		{"6.18", backlogOf(3, 6, 3), 1, "o o o l o x"},
		{"6.18", backlogOf(3, 8, 3), 1, "o o o l o x x x"},
		{"6.18", backlogOf(1, 4, 1), 2, "oc c oc x"},
		{"6.18", backlogOf(1, 4, 1), 0, "o l o x"},
		{"6.1", backlogOf(1, 4, 1), 1, "o l o x"},
		{"5.15", backlogOf(1, 4, 1), 1, "o l oc x"}, // one half-open connection is as many as the backlog
		{"5.15", backlogOf(3, 6, 3), 1, "o o o l o x"},
		{"5.15", backlogOf(1, 4, 1), 0, "o o x x"}, // so is this, and without cookies SYNs are dropped: the queue never fills
	} {
		tt.b.Cookies = tt.cookies
		var got []string
		for _, p := range tt.b.Places(modelled(t, tt.version, 250)) {
			s := ""
			for _, w := range []struct {
				is   bool
				name string
			}{{p.Open, "o"}, {p.Refused, "x"}, {p.Late, "l"}, {p.Cookie, "c"}} {
				if w.is {
					s += w.name
				}
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s, length %d, syncookies %d: got %q, want %q", tt.version, tt.b.Length, tt.cookies, s, tt.want)
		}
	}
}

// TestBacklogMeasured holds the windows against runs by hand on 6.18.44 (HZ=250): the SYN-ACKs of the held client and its acknowledgements, in
// seconds from its SYN, and the SYNs of the one that is refused. It catches a repeat that is not answered, a RST that does not come, and
// a refused SYN that is answered.
func TestBacklogMeasured(t *testing.T) {
	f := modelled(t, "6.18", 250)
	for _, tt := range []struct {
		name  string
		spoil func(*Backlog)
		want  string // after the handshakes, of the held client and the last
		seen  []float64
	}{
		{"ignored", func(*Backlog) {}, "2:syn-ack-retransmission 2:challenge-ack 2:syn-ack-retransmission 2:challenge-ack 2:request-gone", []float64{1.029, 1.029, 3.045, 3.045}},
		{"ignored, over 100 ms", func(b *Backlog) { apart(b, 100*time.Millisecond) }, "2:syn-ack-retransmission 2:challenge-ack 2:syn-ack-retransmission 2:challenge-ack 2:request-gone", nil},
		{"reset, over 100 ms", func(b *Backlog) {
			apart(b, 100*time.Millisecond)
			b.Abort, b.Reads = true, true
		}, "2:syn-ack-retransmission 2:challenge-ack 2:rst 2:request-gone 2:socket-error", nil},
		{"reset", func(b *Backlog) { b.Abort, b.Reads = true, true }, "2:syn-ack-retransmission 2:challenge-ack 2:rst 2:request-gone 2:socket-error", []float64{1.019, 1.019, 1.019}},
		{"cookies", func(b *Backlog) { b.Cookies = 2 }, "", nil},
		{"cookies, and abort", func(b *Backlog) { b.Cookies, b.Abort = 2, true }, "", nil},
	} {
		b := backlogOf(1, 4, 1)
		tt.spoil(&b)
		tl, err := b.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		refused, n := 0, 0
		for _, e := range tl.Events {
			switch {
			case e.Port == 40004:
				refused++
				if e.Host == "server" {
					t.Errorf("%s: the server answers the refused client: %+v", tt.name, e)
				}
			case e.At > 400*time.Millisecond+4*b.RTT: // after the handshakes
				name := fmt.Sprintf("%d:%s", e.Port-40000, e.What)
				if e.What.OnWire() {
					if n < len(tt.seen) {
						at := time.Duration(tt.seen[n]*float64(time.Second)) + b.Clients[1].At
						if at < e.Earliest-8*time.Millisecond || at > e.Latest+8*time.Millisecond {
							t.Errorf("%s: %s: got a window of %v to %v, want %v in it", tt.name, name, e.Earliest, e.Latest, at)
						}
					}
					n++
				}
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != tt.want || refused != 3 { // SYN, SYN again, ETIMEDOUT
			t.Errorf("%s: got %s, and %d events of the refused client, want %s, and 3", tt.name, s, refused, tt.want)
		}
	}
}

// TestBacklogHeld has the packets of each client under way for 10 ms and their own draws. It catches a packet that has the draw of another one or of
// another client, an answer of the held client that comes when the link without draws would bring it, and a next client that overtakes.
func TestBacklogHeld(t *testing.T) {
	b := backlogOf(1, 4, 1)
	b.Abort, b.Reads = true, true
	apart(&b, 20*ms)
	b.Clients[0].Link = held([]int{1, 4}, []int{2})
	b.Clients[1].Link = held([]int{3, 0, 2}, []int{1, 4, 5}) // SYN, lost ACK, ACK of the repeat; SYN-ACK, repeat, RST
	b.Clients[3].Link = held([]int{5}, nil)
	tl, err := b.Predict(modelled(t, "6.18", 1000), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range tl.Events {
		if e.Host == "client" && e.What == timeline.SYN || e.What == timeline.Connected || e.Port == 40003 || e.Port == 40004 {
			continue
		}
		at := e.At - b.Clients[e.Port-40001].At
		got = append(got, fmt.Sprintf("%d %s %d", e.Port-40000, e.What, at.Milliseconds()))
	}
	want := "1 syn-ack 11, 1 ack 23, 2 syn-ack 13, 2 ack 24, 2 syn-ack-retransmission 1013, 2 challenge-ack 1027, 2 rst 1039, 2 request-gone 1039, 2 socket-error 1054"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	for name, spoil := range map[string]func(*Backlog){
		"after the third packet": func(b *Backlog) { b.Clients[0].Link = held([]int{60, 60}, nil) },
		"choose another value": func(b *Backlog) {
			b.Abort, b.Ratelimit, b.Clients[1].Link = false, 2016*time.Millisecond, held(nil, []int{0, 0, 1})
		},
	} {
		other := b
		other.Clients = slices.Clone(b.Clients)
		spoil(&other)
		if _, err := other.Predict(modelled(t, "6.18", 250), nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error with %q", err, name)
		}
	}
}

// TestBacklogOverflows catches a count that forgets the SYNs, or the acknowledgements.
func TestBacklogOverflows(t *testing.T) {
	f := modelled(t, "6.18", 250)
	b := backlogOf(1, 4, 1)
	tl, err := b.Predict(f, &Start{Jiffies: 1 << 33, Called: true})
	if err != nil {
		t.Fatal(err)
	}
	b.Connect.Host = "client"
	if least, most := b.Overflows(tl, f); least != 4 || most != 4 { // two SYNs, two acknowledgements
		t.Errorf("got %d to %d, want 4", least, most)
	}
	b.Cookies = 2
	tl, err = b.Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	if least, most := b.Overflows(tl, f); least != 2 || most != 2 {
		t.Errorf("cookies: got %d to %d, want 2", least, most)
	}
}

// TestBacklogRefuses catches input that nobody can predict and that is predicted all the same.
func TestBacklogRefuses(t *testing.T) {
	f := modelled(t, "6.18", 250)
	for want, spoil := range map[string]func(*Backlog){
		"length 0":         func(b *Backlog) { b.Length = 0 },
		"tcp_syncookies=3": func(b *Backlog) { b.Cookies = 3 },
		"one held":         func(b *Backlog) { b.Clients[2].Held = true },
		"from its own":     func(b *Backlog) { b.Clients[2].Port = 40001 },
		"want it after":    func(b *Backlog) { b.Clients[2].At = b.Clients[1].At - 1 },
		"within 900 ms":    func(b *Backlog) { b.Clients[3].At = time.Second },
		"is not full":      func(b *Backlog) { b.Length = 5 },
		"ratelimit":        func(b *Backlog) { b.Ratelimit = -1 },
		"tcp_syn_retries":  func(b *Backlog) { b.SYNRetries = 0 },
		"tcp_synack":       func(b *Backlog) { b.Server.SYNACKRetries = 300 },
	} {
		b := backlogOf(1, 4, 1)
		spoil(&b)
		if _, err := b.Predict(f, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	b := backlogOf(1, 4, 1)
	b.Cookies = 0
	if _, err := b.Predict(modelled(t, "5.15", 250), nil); err == nil {
		t.Error("5.15 without cookies: got no error, want one: the queue of half-open connections is full with one")
	}
}

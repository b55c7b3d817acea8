package page

import (
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// TestEdge checks the edge of the receive window: the acknowledged number plus the window, scaled by the receiver's shift where both SYNs
// have the option. It catches a window that is scaled where one end did not offer it, a SYN-ACK whose own window is scaled, an answer that the
// sender never got, the other end's shift, and a line through a picture that it is not in.
func TestEdge(t *testing.T) {
	shift := func(n int) *int { return &n }
	build := func(client, server *int, window int, lost bool) *result.Result {
		var r result.Result
		add := func(ms int, p result.Packet) {
			at := result.Seconds(time.Duration(ms) * time.Millisecond)
			p.ID, p.SentAt, p.Fate = len(r.Packets)+1, &at, result.Delivered
			p.To = map[string]string{"client": "server", "server": "client"}[p.From]
			p.SrcPort, p.DstPort = 4000, 8080
			if p.From == "server" {
				p.SrcPort, p.DstPort = 8080, 4000
			}
			if lost && p.Flags == "ACK" && p.From == "server" {
				p.Fate = result.Lost
			} else {
				p.ArrivedAt = &at
			}
			r.Packets = append(r.Packets, p)
		}
		add(0, result.Packet{From: "client", Flags: "SYN", Window: 64240, WindowScale: client})
		add(1, result.Packet{From: "server", Flags: "SYN,ACK", RelAck: 1, Window: 3000, WindowScale: server})
		add(10, result.Packet{From: "client", Flags: "ACK", What: "data", RelSeq: 1, Len: 1000, RelAck: 1, Window: 9999})
		add(11, result.Packet{From: "client", Flags: "ACK", What: "data", RelSeq: 1001, Len: 1000, RelAck: 1, Window: 9999})
		add(20, result.Packet{From: "server", Flags: "ACK", RelSeq: 1, RelAck: 2001, Window: window})
		return &r
	}
	for _, tt := range []struct {
		name           string
		client, server *int
		window         int
		lost           bool
		want           []uint64
		drawn          bool
		text           string
	}{
		{"scaled", shift(7), shift(2), 100, false, []uint64{3001, 2401}, true, ""},
		{"the client has no option", shift(-1), shift(2), 100, false, []uint64{3001, 2101}, true, ""},
		{"the server has none", shift(7), shift(-1), 100, false, []uint64{3001, 2101}, true, ""},
		{"a SYN is not in the capture", nil, shift(2), 100, false, nil, false, ""},
		{"closed", shift(7), shift(2), 0, false, []uint64{3001, 2001}, true, ""},
		{"the answer is lost", shift(7), shift(2), 100, true, []uint64{3001}, true, ""},
		{"high above", shift(7), shift(14), 500, false, []uint64{3001, 2001 + 500<<14}, false, "stays above this picture, up to 8194001"}, // 3001 is above the data, too
	} {
		r := build(tt.client, tt.server, tt.window, tt.lost)
		found, _ := edges(r.Packets, flow{"client", 4000, 8080})
		var got []uint64
		for _, e := range found {
			got = append(got, e.edge)
		}
		if len(got) != len(tt.want) || len(got) > 0 && (got[0] != tt.want[0] || got[len(got)-1] != tt.want[len(got)-1]) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		c := newComposer(Options{})
		v := c.sequence(r)
		if (v.Edge != "") != tt.drawn || !strings.Contains(v.EdgeText.Text, tt.text) || tt.text == "" && v.EdgeText.Text != "" {
			t.Errorf("%s: got the line %q and %q, want %v and %q", tt.name, v.Edge, v.EdgeText.Text, tt.drawn, tt.text)
		}
		if v.EdgeText.Text != "" && v.EdgeText.Other == "" {
			t.Errorf("%s: no Chinese form of %q", tt.name, v.EdgeText.Text)
		}
	}
}

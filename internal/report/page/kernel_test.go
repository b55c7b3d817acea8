package page

import (
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// rows are the cells of a table, one line for each row.
func rows(e evidence) string {
	var b strings.Builder
	for _, r := range e.Rows {
		for _, t := range r {
			b.WriteString(t.Text + "|")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestDeaths catches a packet that died without its reason and its function, a repeat without its cause, and a page that is silent where
// the kernel did not tell. The controls are the same run with the one thing taken away.
func TestDeaths(t *testing.T) {
	r := stored(t)["exp3-ack-loss-6.12"]
	c := newComposer(Options{})
	table := rows(c.deaths(r, "run1"))
	died, again := 0, 0
	for _, p := range r.Packets {
		if p.Fate == result.Dropped {
			died++
		}
		if timeline.What(p.What).Again() {
			again++
		}
	}
	if got := strings.Count(table, "NETFILTER_DROP|nft_do_chain|"); got != died || died == 0 {
		t.Errorf("got %d packets with the kernel's reason and function, want %d\n%s", got, died, table)
	}
	if got := strings.Count(table, "|request timer|") + strings.Count(table, "|RTO|"); got != again || again == 0 {
		t.Errorf("got %d repeats with their cause, want %d\n%s", got, again, table)
	}
	if strings.Contains(table, "not told") {
		t.Errorf("the kernel told of all:\n%s", table)
	}
	for _, tt := range []struct {
		name   string
		change func(p *result.Packet)
	}{
		{"a reason", func(p *result.Packet) { p.DropReason, p.DropHook = "", "" }},
		{"a cause", func(p *result.Packet) { p.Cause = "" }},
	} {
		r := stored(t)["exp3-ack-loss-6.12"]
		for i := range r.Packets {
			if p := &r.Packets[i]; p.Fate == result.Dropped && p.Cause != "" {
				tt.change(p)
				break
			}
		}
		if got := strings.Count(rows(c.deaths(r, "run1")), "|not told|"); got != 1 {
			t.Errorf("%s is missing: got %d cells that say so, want 1", tt.name, got)
		}
	}
}

// TestAsked catches a page that hides what the kernel was not asked.
func TestAsked(t *testing.T) {
	c := newComposer(Options{})
	for _, tt := range []struct {
		name   string
		change func(r *result.Result)
		want   string
	}{
		{"all", func(*result.Result) {}, "no event was lost"},
		{"--evidence=off", func(r *result.Result) { r.Evidence = nil }, "--evidence=off"},
		{"rootless", func(r *result.Result) { r.Evidence.Tracepoints = false }, "counters only"},
		{"a full ring", func(r *result.Result) { r.Evidence.Lost = 7 }, "7 events"},
		{"no inet_diag", func(r *result.Result) { r.Samples = nil }, "No samples of inet_diag"},
	} {
		r := stored(t)["exp3-ack-loss-6.12"]
		tt.change(r)
		if got := rows(c.told(r)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q in it", tt.name, got, tt.want)
		}
	}
}

// TestSamplesOfSeveral catches a connection of several that has no rows of its own, and a table that does not say which one is judged.
func TestSamplesOfSeveral(t *testing.T) {
	r := &result.Result{LookAt: 40002, States: []result.State{{Host: "client", State: "ESTABLISHED"}, {At: 1e9, Host: "client", State: "CLOSED"}},
		Samples: []result.Sample{{Host: "client", State: "ESTABLISHED"}, {Host: "client", Port: 40003, State: "SYN-SENT"}, {Host: "client", Port: 40001, State: "CLOSE-WAIT"}}}
	c := newComposer(Options{})
	table := c.samples(r)
	got := rows(table)
	for i, want := range []string{"40001|client|CLOSE-WAIT|", "40002|client|ESTABLISHED|", "40003|client|SYN-SENT|"} {
		if line := strings.Split(got, "\n")[i]; !strings.Contains(line, "|"+want) {
			t.Errorf("line %d: got %q, want %q in it", i+1, line, want)
		}
	}
	if len(table.Heads) != len(table.Rows[0]) || !strings.Contains(c.states(r).Of.Text, "40002") {
		t.Errorf("got %d heads for %d cells, and %q of the states", len(table.Heads), len(table.Rows[0]), c.states(r).Of.Text)
	}
	r.LookAt, r.Samples = 0, r.Samples[:1]
	if len(c.samples(r).Heads) != len(table.Heads)-1 || c.states(r).Of.Text != "" {
		t.Error("the control: one connection has a column of ports")
	}
}

// TestSampleColumns catches a value of inet_diag that the page does not show.
func TestSampleColumns(t *testing.T) {
	r := &result.Result{Samples: []result.Sample{{At: 1, Host: "client", State: "ESTABLISHED", Timer: "retransmit", Expires: result.Seconds(204e6), Retrans: 3, Backoff: 2, RTO: result.Seconds(816e6),
		Cwnd: 10, Ssthresh: 7, Unacked: 5, SendQueue: 1448, RecvQueue: 99}, {Host: "server", State: "SYN-RECV", Retrans: 1}}}
	got := rows(newComposer(Options{}).samples(r))
	for _, want := range []string{"|client|ESTABLISHED|retransmit|204\u00a0ms|3|2|816\u00a0ms|10|7|5|1448|99|\n", "|server|SYN-RECV|||1|0|||||0|0|\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}

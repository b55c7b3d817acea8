package report

import (
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// TestKernelLines catches a drop or a repeat that the text report keeps to itself, and the ordinary end of a packet that it tells.
func TestKernelLines(t *testing.T) {
	r := base("exp1-syn-loss", "every SYN is lost on its way to the server")
	drop := result.KernelEvent{Host: "server", Hook: result.HookDrop, Packet: 1, Reason: "NETFILTER_DROP", Where: "nf_hook_slow"}
	r.Evidence = &result.Evidence{Tracepoints: true, Lost: 2, Events: []result.KernelEvent{
		{Host: "client", Hook: result.HookState, Was: "CLOSED", State: "SYN-SENT"}, drop, drop,
		{Host: "client", Hook: result.HookRetransmit, Cause: "RTO"}, {Host: "client", Hook: result.HookRetransmit, Cause: "RTO", Errno: "EPERM"},
		{Host: "client", Hook: result.HookDrop, Reason: "NOT_SPECIFIED", Where: "tcp_done"},
	}, Counters: []result.Counter{{Host: "client", Name: "TcpRetransSegs", Added: 2}, {Host: "client", Name: "IpOutRequests", Added: 3}}}
	var b strings.Builder
	if err := Evidence(&b, r, Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"server kfree_skb: NETFILTER_DROP in nf_hook_slow, 2 times\n", "client tcp_retransmit_skb: RTO, 1 time\n",
		"client tcp_retransmit_skb: RTO, not sent: EPERM, 1 time\n", "2 events lost\n", "client TcpRetransSegs +2\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("want %q in\n%s", want, b.String())
		}
	}
	for _, strange := range []string{"NOT_SPECIFIED", "SYN-SENT", "IpOutRequests"} {
		if strings.Contains(b.String(), strange) {
			t.Errorf("want no %s in\n%s", strange, b.String())
		}
	}
}

// TestWheelText catches timers that are counted as right by their number alone, and those that nobody recorded.
func TestWheelText(t *testing.T) {
	at := func(d time.Duration) *result.Seconds { s := result.Seconds(d); return &s }
	r := base("exp1-syn-loss", "every SYN is lost on its way to the server")
	r.Events = []result.Event{
		{What: "syn", Host: "client"},
		{What: "syn-retransmission", Host: "client", N: 1, Tick: 250, Due: at(time.Second), OnTick: true},
		{What: "syn-retransmission", Host: "client", N: 2, Tick: 750, Due: at(3008 * time.Millisecond)},
		{What: "syn-retransmission", Host: "client", N: 3, Tick: 1750},
	}
	r.Outcome = &result.Event{What: "connect-error", Host: "client", Tick: 3750, Due: at(15 * time.Second), OnTick: true}
	r.Evidence = &result.Evidence{Tracepoints: true}
	for i, e := range []result.Event{r.Events[1], r.Events[2], *r.Outcome} {
		r.Evidence.Events = append(r.Evidence.Events, result.KernelEvent{Host: "client", Hook: result.HookTimer, Timer: "tcp_write_timer", Due: e.Due,
			At: *e.Due + result.Seconds(time.Duration(20+10*i)*time.Microsecond)})
	}
	got := wheelText(r)
	if want := "timer wheel: 2 of 3 timers due in the predicted jiffy, run 20 µs to 40 µs after it began"; len(got) != 1 || got[0][0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.Events, r.Outcome = r.Events[:1], nil
	if got := wheelText(r); got != nil {
		t.Errorf("without timers: got %q, want nothing", got)
	}
}

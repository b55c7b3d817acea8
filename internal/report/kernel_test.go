package report

import (
	"strings"
	"testing"

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

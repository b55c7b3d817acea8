package runner

import (
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/result"
)

// TestComments catches a packet whose capture file says nothing, or says it in one language where two are spoken, or a sentence that is
// lost because it has no Chinese form.
func TestComments(t *testing.T) {
	at, seen := result.Seconds(1e9), result.Seconds(1002e6)
	e := result.Event{Host: "client", What: "syn-retransmission", N: 1, At: at, Seen: &seen, Expected: true}
	p := result.Packet{ID: 1, From: "client", To: "server", What: e.What, N: 1, SentAt: &seen, Fate: result.Dropped, Where: "server iptables filter INPUT",
		Detail: "a detail", Cause: "RTO", DropReason: "NETFILTER_DROP", DropHook: "nf_hook_slow"}
	const en = "SYN again, repetition 1 of 1 (a detail). Expected 1.000 s, seen 1.002 s. Dropped by server iptables filter INPUT, after this capture point. " +
		"Sent again by the kernel's RTO. Thrown away in nf_hook_slow: NETFILTER_DROP."
	for _, tt := range []struct {
		name    string
		chinese func(string) (string, bool)
		want    []string
	}{
		{"nobody translates", nil, []string{en}},
		{"all of it", func(string) (string, bool) { return "是", true }, []string{en, "是。是。是。是。是。"}},
		{"not all of it", func(s string) (string, bool) { return "重传", strings.HasPrefix(s, "SYN again") },
			[]string{en, "重传。Expected 1.000 s, seen 1.002 s。Dropped by server iptables filter INPUT, after this capture point。" +
				"Sent again by the kernel's RTO。Thrown away in nf_hook_slow: NETFILTER_DROP。"}},
	} {
		res := &result.Result{Events: []result.Event{e}, Packets: []result.Packet{p}}
		say := &speech{remarks: comment(res), translate: tt.chinese}
		if got := say.of(1); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if got := res.Packets[0].Comment; got != en {
			t.Errorf("%s: result.json: got %q, want %q", tt.name, got, en)
		}
		if got := say.of(2); got != nil {
			t.Errorf("%s: a packet without an event: got %q, want nothing", tt.name, got)
		}
	}
}

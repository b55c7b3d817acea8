//go:build lab

package spec

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
)

func init() { netns.PinMain() }

func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }

const routed = `schema: tcplab.experiment/v1
name: late-syn
link: {router: true}
client: {sysctl: {tcp_syn_linear_timeouts: 0}}
faults: [{drop: syn once, at: router}]
steps: [connect]
`

const refused = `schema: tcplab.experiment/v1
name: refused
faults: [{reject: syn, with: icmp-admin-prohibited}]
steps: [connect]
`

const lostData = `schema: tcplab.experiment/v1
name: lost-data
server: {service: echo}
faults: [{drop: data once}]
client: {sysctl: {tcp_early_retrans: 0}}
steps: [connect, {sleep: 100ms}, {send: hello}, receive]
expect:
  text: |
    0      client > S 0:0(0)
    +0     server > S. 0:0(0) ack 1
    +0     client > . 1:1(0) ack 1
    +0     client connect = 0
    .1     client > P. 1:6(5) ack 1
    +.2    client > P. 1:6(5) ack 1
    +0     server > . 1:1(0) ack 6
    +0     server > P. 1:6(5) ack 6
    +0     client > . 6:6(0) ack 6
`

// overIPv6 is a file with the other family.
func overIPv6(text string) string {
	for _, link := range []string{"\nlink:\n", "\nlink: {"} {
		if before, after, ok := strings.Cut(text, link); ok && link[len(link)-1] == '{' {
			return before + link + "family: ipv6, " + after
		} else if ok {
			return before + link + "  family: ipv6\n" + after
		}
	}
	return text + "link: {family: ipv6}\n"
}

// TestRun carries files out on this kernel, all at once: three of the catalogue in short, a router, and a text, and some of them over IPv6. It catches a
// step, a fault or a place that does something else than its prediction says. Those that fail are the negative controls: the same run with an
// expectation that is wrong.
func TestRun(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	short := strings.NewReplacer("tcp_syn_retries: 5", "tcp_syn_retries: 1", "tcp_retries2: 15", "tcp_retries2: 2", "tcp_synack_retries: 5", "tcp_synack_retries: 1",
		"sleep: 70s", "sleep: 3500ms", "tcp_keepalive_time: 7200", "tcp_keepalive_time: 1", "tcp_keepalive_intvl: 75", "tcp_keepalive_intvl: 1",
		"tcp_keepalive_probes: 9", "tcp_keepalive_probes: 2", "rtt: 100ms", "rtt: 40ms")
	for _, tt := range []struct {
		name, text string
		fails      bool
	}{
		{"exp4 over IPv6", overIPv6(file(t, "exp4-keepalive")), false},
		{"exp6 over IPv6", overIPv6(file(t, "exp6-fast-retransmit")), false}, {"router over IPv6", overIPv6(routed), false},
		{"refused over IPv6", overIPv6(refused), false}, {"text over IPv6", overIPv6(lostData), false},
		{"wrong numbers over IPv6", overIPv6(strings.Replace(lostData, "ack 6\n    +0     client", "ack 5\n    +0     client", 1)), true},
		{"exp1", file(t, "exp1-syn-loss"), false}, {"exp3", file(t, "exp3-ack-loss"), false}, {"exp4", file(t, "exp4-keepalive"), false},
		{"exp6", file(t, "exp6-fast-retransmit"), false}, {"router", routed, false}, {"text", lostData, false},
		{"wrong text", strings.Replace(lostData, "+.2 ", "+.9 ", 1), true},
		{"wrong numbers", strings.Replace(lostData, "ack 6\n    +0     client", "ack 5\n    +0     client", 1), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := parse(t, short.Replace(tt.text)).Experiment()
			plan, err := x.Plan(experiments.Textbook, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			r, err := runner.Run(t.Context(), runner.Options{Experiment: x, Plan: plan, Tool: result.Tool{Name: "tcplab", Version: "test"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := netip.MustParseAddr(r.Hosts[1].Addr).Is6(); got != strings.Contains(tt.name, "IPv6") {
				t.Errorf("the server's address is %s", r.Hosts[1].Addr)
			}
			switch {
			case r.Verdict == result.Inconclusive:
				t.Logf("inconclusive, the machine is busy: %s", r.Reason)
			case tt.fails != (r.Verdict == result.Fail):
				t.Errorf("got %s (%s), want a failure: %v", r.Verdict, r.Reason, tt.fails)
			}
		})
	}
}

package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/result"
)

// tellingCounters are those of a host that tell something about its timers and losses, in the order in which they are shown. result.json
// has all that changed.
var tellingCounters = []string{"TcpRetransSegs", "TcpExtTCPTimeouts", "TcpExtTCPSynRetrans", "TcpExtTCPLossProbes", "TcpExtTCPFastRetrans", "TcpExtTCPLostRetransmit",
	"TcpExtTCPKeepAlive", "TcpExtTCPAbortOnTimeout", "TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPReqQFullDrop"}

// kernelLines are what the kernel's tracepoints and counters told, in short.
func kernelLines(e *result.Evidence) (events, counters [][2]string) {
	if e == nil {
		return nil, nil
	}
	var order []string
	times := map[string]int{}
	for _, k := range e.Events {
		line := ""
		host := k.Host
		if host == "" {
			host = "TCP"
		}
		switch {
		case k.Hook == result.HookDrop && k.Reason != "NOT_SPECIFIED":
			line = fmt.Sprintf("%s %s: %s in %s", host, k.Hook, k.Reason, k.Where)
		case k.Errno != "":
			line = fmt.Sprintf("%s %s: %s, not sent: %s", host, k.Hook, k.Cause, k.Errno)
		case k.Hook == result.HookRetransmit || k.Hook == result.HookSynAck:
			line = fmt.Sprintf("%s %s: %s", host, k.Hook, k.Cause)
		case k.Hook == result.HookTimer:
			line = fmt.Sprintf("%s %s: %s", host, k.Hook, k.Timer)
		default:
			continue
		}
		if times[line] == 0 {
			order = append(order, line)
		}
		times[line]++
	}
	slices.Sort(order)
	for _, line := range order {
		events = append(events, [2]string{fmt.Sprintf("%s, %s", line, count(times[line], "time")), ""})
	}
	if e.Lost > 0 {
		events = append(events, [2]string{fmt.Sprintf("%s lost", count(e.Lost, "event")), ""})
	}
	for _, host := range []string{"client", "server"} {
		var all []string
		for _, name := range tellingCounters {
			if n := e.Added(host, name); n > 0 {
				all = append(all, fmt.Sprintf("%s +%d", name, n))
			}
		}
		if len(all) > 0 {
			counters = append(counters, [2]string{host + " " + strings.Join(all, ", "), ""})
		}
	}
	return events, counters
}

package experiments

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzPlan gives each experiment flags that nobody would type. What is accepted can be set up and written out as commands, and the plan's own parameters, given
// as flags, are accepted again and make the same plan: result.json holds those, and a run is to be made again from it.
func FuzzPlan(f *testing.F) {
	f.Add(byte(0), true, "ipv6=yes\nrtt=20ms", "client.net.ipv4.tcp_sack=0")
	f.Add(byte(1), false, "syn-retries=6\nrtt=1ms\njitter=100us\nseed=7", "")
	f.Add(byte(2), true, "at=all", "server.net.ipv4.tcp_syncookies=1")
	f.Add(byte(7), true, "lose=15,19\nsegments=40\nsack=off", "")
	f.Add(byte(12), true, "cases=1,2,7\nuser-timeout=2500", "net.ipv4.tcp_retries2=5")
	f.Fuzz(func(t *testing.T, which byte, fast bool, lines, set string) {
		x := All()[int(which)%len(All())]
		profile, flags, sets := Textbook, map[string]string{}, []string(nil)
		if fast {
			profile = Fast
		}
		for line := range strings.SplitSeq(lines, "\n") {
			if name, value, ok := strings.Cut(line, "="); ok {
				flags[name] = value
			}
		}
		if set != "" {
			sets = strings.Split(set, "\n")
		}
		plan, err := x.Plan(profile, flags, sets)
		if err != nil {
			return
		}
		x.Setup(plan.Options)
		x.Script(plan)
		again := map[string]string{}
		for _, p := range plan.Params {
			if p.From == "flag" {
				again[p.Name] = p.Value
			}
		}
		same, err := x.Plan(profile, again, sets)
		if err != nil {
			t.Fatalf("%s: the plan's own parameters %q: %v", x.Name, again, err)
		}
		if !reflect.DeepEqual(plan, same) {
			t.Fatalf("%s: got another plan from its own parameters %q:\n%+v\n%+v", x.Name, again, plan, same)
		}
	})
}

package experiments

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
)

// TestScriptQuotes catches a value of --set that a shell takes for more than a value: the script is for a root shell.
func TestScriptQuotes(t *testing.T) {
	values := []string{"1; id", "$(id)", "`id`", "a'b", `"; id; "`, "1 2 3", "x #y", `\`, "a|b&c>d<e", "*", "~", "é"}
	const nasty = "ab01 ;|&$`'\"\\(){}[]<>*?#~!=\t"
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var v strings.Builder
		for range 1 + r.IntN(12) {
			v.WriteByte(nasty[r.IntN(len(nasty))])
		}
		values = append(values, v.String())
	}
	seen := 0
	for _, v := range values {
		p, err := find(t, "exp1-syn-loss").Plan(Textbook, nil, []string{"client.net.core.xyz=" + v})
		if err != nil {
			continue // nothing but blanks
		}
		seen++
		want := []string{"ip", "netns", "exec", "client", "sysctl", "-w", "net.core.xyz=" + strings.Join(strings.Fields(v), " ")}
		script := find(t, "exp1-syn-loss").Script(p)
		if !slices.ContainsFunc(script, func(line string) bool {
			got, err := labtest.Words(line)
			return err == nil && slices.Equal(got, want)
		}) {
			i := slices.IndexFunc(script, func(line string) bool { return strings.Contains(line, "net.core.xyz") })
			t.Errorf("--set %q: got %s, want a shell to read %q", v, script[i], want)
		}
	}
	if seen < 400 {
		t.Errorf("got %d values that are taken, want 400 or more", seen)
	}
	p, err := find(t, "exp1-syn-loss").Plan(Textbook, nil, []string{"client.tcp_rmem=4096 8192 16384"})
	if err != nil {
		t.Fatal(err)
	}
	if script := find(t, "exp1-syn-loss").Script(p); !slices.Contains(script, "ip netns exec client sysctl -w 'net.ipv4.tcp_rmem=4096 8192 16384'") {
		t.Errorf("a value of three numbers: got\n%s\nwant it in one word", strings.Join(script, "\n"))
	}
}

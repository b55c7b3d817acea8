package spec

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/labtest"
)

// TestByHandQuotes catches a file whose text is more than text in the line of Python that does its steps by hand, to a shell, to Python, or to the shell
// that Python starts.
func TestByHandQuotes(t *testing.T) {
	for _, tt := range []struct{ set, get string }{
		{"client.net.core.x=1; id", "/plain"},
		{`client.net.core.x='"; id; "`, `/';id;'`},
		{"client.net.core.x=$(id)", `/");os.system("id");s.sendall(b"`},
		{"client.tcp_rmem=4096 8192 16384", `/\"\'\x41`},
		{`client.net.core.x=\`, "/`id`$(id)"},
	} {
		x := parse(t, `schema: tcplab.experiment/v1
name: quotes
summary: text that is more than text to a shell
question: Is it?
server: {service: http}
steps:
  - connect
  - set: `+strconv.Quote(tt.set)+`
  - get: `+strconv.Quote(tt.get)+`
expect:
  text: |
    0 client > S 0:0(0)
`).Experiment()
		plan, err := x.Plan(experiments.Textbook, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		script := x.Script(plan)
		i := slices.IndexFunc(script, func(line string) bool { return strings.Contains(line, "s.connect") })
		words, err := labtest.Words(script[i])
		if err != nil || len(words) != 7 || words[4] != "python3" || words[5] != "-c" {
			t.Errorf("%s, %s: got %q, %v, want one command", tt.set, tt.get, words, err)
			continue
		}
		_, name, _ := strings.Cut(tt.set, ".")
		name = strings.Replace(name, "tcp_rmem", "net.ipv4.tcp_rmem", 1)
		want := []string{"ip", "netns", "exec", "client", "sysctl", "-w", name}
		if got, err := labtest.Words(literal(t, words[6], "os.system(")); err != nil || !slices.Equal(got, want) {
			t.Errorf("set: got %q, %v, want %q", got, err, want)
		}
		if got, want := literal(t, words[6], "s.sendall(b"), "GET "+tt.get+" HTTP/1.1\r\nHost: server\r\n\r\n"; got != want {
			t.Errorf("get: got %q, want %q", got, want)
		}
	}
}

// literal is the text that Python reads after a call's beginning. Of what is printed here its literals are Go's.
func literal(t *testing.T, py, after string) string {
	t.Helper()
	_, rest, _ := strings.Cut(py, after)
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		t.Fatalf("%s: no text after %s: %v", py, after, err)
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

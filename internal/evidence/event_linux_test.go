package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCause catches a mechanism that is taken for another.
func TestCause(t *testing.T) {
	for _, tt := range []struct {
		name           string
		ca, pen, armed uint8
		want           string
	}{
		{"inside the retransmission timer", 4, 0, 0, CauseRTO},
		{"an ACK after it", 4, 1, 1, CauseLoss},
		{"inside the tail loss probe's timer", 0, 5, 0, CauseTLP},
		{"the same while the window is reduced", 2, 5, 0, CauseTLP},
		{"an ACK that tells of a loss, with the probe's timer still armed", 3, 5, 1, CauseRecovery},
		{"an ACK that tells of a loss", 3, 1, 1, CauseRecovery},
		{"inside RACK's timer", 3, 6, 0, CauseReorder},
		{"an ACK while RACK's timer is armed", 3, 6, 1, CauseRecovery},
		{"something else while the probe's timer is armed", 0, 5, 1, CauseOther},
		{"none of them", 0, 1, 1, CauseOther},
	} {
		if got := (&traceEvent{CaState: tt.ca, Pending: tt.pen, Armed: tt.armed}).cause(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestFunction catches a symbol with what belongs to the compiler or the module.
func TestFunction(t *testing.T) {
	for in, want := range map[string]string{"nf_hook_slow": "nf_hook_slow", "ip_rcv_core.isra.0": "ip_rcv_core", "f [veth]": "f", "": ""} {
		var where [48]int8
		for i, c := range []byte(in) {
			where[i] = int8(c)
		}
		if got := function(where); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// TestEventSize catches a padding that C and Go see differently.
func TestEventSize(t *testing.T) {
	tr := &Tracer{}
	for _, n := range []int{0, 100} {
		if _, err := tr.event(make([]byte, n)); err == nil {
			t.Errorf("an event of %d bytes: got no error", n)
		}
	}
}

// TestCountersParse catches a name that is given the value of another, and input that is cut short.
func TestCountersParse(t *testing.T) {
	c := Counters{}
	if err := c.parse(strings.NewReader("Tcp: MaxConn RetransSegs\nTcp: -1 7\nTcpExt: A\nTcpExt: 18446744073709551615\n")); err != nil {
		t.Fatal(err)
	}
	if c["TcpRetransSegs"] != 7 || c["TcpExtA"] != 1<<64-1 || c["TcpMaxConn"] != 1<<64-1 {
		t.Errorf("got %v", c)
	}
	if d := c.Since(Counters{"TcpRetransSegs": 5, "TcpExtA": 1<<64 - 1, "TcpMaxConn": 1<<64 - 1}); len(d) != 1 || d["TcpRetransSegs"] != 2 {
		t.Errorf("since: got %v, want TcpRetransSegs 2", d)
	}
	for _, bad := range []string{"Tcp", "Tcp: A\n", "Tcp: A\nTcp: 1 2\n", "Tcp: A\nUdp: 1\n", "Tcp: A\nTcp: x\n"} {
		if err := (Counters{}).parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

// TestGenerated catches a C source that was changed without `go generate`, and an object that was changed otherwise. Other compilers make other
// objects, so nothing is compiled here: what was compiled, from what and to what, is in the list that go generate writes.
func TestGenerated(t *testing.T) {
	list, err := os.ReadFile("bpf/generated.sha256")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) == 2 {
			listed[f[1]] = f[0]
		}
	}
	for _, name := range []string{"bpf/kernel.h", "bpf/trace.c", "trace_bpfeb.go", "trace_bpfeb.o", "trace_bpfel.go", "trace_bpfel.o"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%x", sha256.Sum256(b)); listed[name] != want {
			t.Errorf("%s is not what bpf/generated.sha256 lists: run go generate ./internal/evidence (it needs clang, llvm, libbpf-dev)", name)
		}
	}
}

// TestUntraced catches a refusal that ends a run, and one that does not say what is missing.
func TestUntraced(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("load: %w", unix.EPERM): "root in the first user namespace", fmt.Errorf("load: %w", unix.EACCES): "not locked down",
		fmt.Errorf("load: %w", unix.ENOSYS): "no bpf(2)", errors.New("verifier: R1 is odd"): "R1 is odd",
	} {
		if got := untraced(err); !errors.Is(got, ErrNoTrace) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: got %v, want ErrNoTrace and %q", err, got, want)
		}
	}
}

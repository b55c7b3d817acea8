//go:build lab && !race

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// In a guest netem makes the RTT: within 100 µs for a packet that is alone, and both captures tell the truth. The
// runs pass, so the link loses nothing and keeps the order. It catches a guest that lacks a module and falls back to the process.
func TestLinkInGuest(t *testing.T) {
	labtest.Need(t, labtest.IPTables, machinesHere)
	t.Parallel() // the guest's time is its own
	program, out := released(t), t.TempDir()
	for _, tt := range []struct {
		kernel string
		rtt    time.Duration
	}{{"6.1", 100 * time.Millisecond}, {"6.12", 100 * time.Millisecond}} {
		cmd := exec.Command(program, "run", "exp6-fast-retransmit", "--kernel="+tt.kernel, "--rtt="+tt.rtt.String(), "--out="+out)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s, %v: %v: %s", tt.kernel, tt.rtt, err, text)
		}
		read := func(name string) []byte {
			b, err := os.ReadFile(filepath.Join(out, "latest", name))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		r, err := result.Read(bytes.NewReader(read("result.json")))
		if err != nil {
			t.Fatal(err)
		}
		if r.Link == nil || !strings.Contains(r.Link.How, "netem") || r.Link.Frames < len(r.Packets) || r.Link.Lost != 0 {
			t.Fatalf("%s, %v: got the link %+v, want netem, %d frames and none lost", tt.kernel, tt.rtt, r.Link, len(r.Packets))
		}
		for _, p := range r.Packets[:3] { // the handshake: each of them alone
			if p.SentAt == nil || p.ArrivedAt == nil {
				t.Fatalf("%s, %v: packet %d was not seen at both ends", tt.kernel, tt.rtt, p.ID)
			}
			// The guest's instructions take 4 ns each; some 20 µs of them are between the captures.
			if d := (*p.ArrivedAt - *p.SentAt).Duration() - tt.rtt/2; d < 0 || d > 100*time.Microsecond {
				t.Errorf("%s, %v: packet %d took %v more than half the RTT, want 100 µs at most", tt.kernel, tt.rtt, p.ID, d)
			}
		}
	}
}

// inGuest runs an experiment in a guest on 6.1, which must pass, and returns its result.
func inGuest(t *testing.T, args ...string) *result.Result {
	t.Helper()
	program, out := released(t), t.TempDir()
	cmd := exec.Command(program, append([]string{"run", "--profile=fast", "--kernel=6.1", "--out=" + out}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	b, err := os.ReadFile(filepath.Join(out, "latest", "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := result.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestBadLinkInGuest catches dice that fall otherwise in a guest than in the prediction, and a sender of another kernel that is not played to
// the tick: losses, repeats among them, segments that overtake others, jitter and a rate at once.
func TestBadLinkInGuest(t *testing.T) {
	labtest.Need(t, labtest.IPTables, machinesHere)
	t.Parallel() // the guest's time is its own
	r := inGuest(t, "exp6-fast-retransmit", "--lose=none", "--loss=10%", "--jitter=2ms", "--reorder=15%", "--reorder-by=8ms", "--rate=20mbit", "--seed=2")
	if r.Link == nil || !strings.Contains(r.Link.How, "TAP") || r.Link.Rate != 20e6 || len(r.Link.Behind) == 0 || len(r.Link.Hold) == 0 {
		t.Errorf("got the link %+v, want a process with a rate and segments held back", r.Link)
	}
	lost := 0
	for _, p := range r.Packets {
		if p.Fate == result.Dropped {
			lost++
		}
	}
	if lost < 2 {
		t.Errorf("got %d lost segments, want 2 or more", lost)
	}
	for _, e := range r.Events {
		if e.OffTick != nil && e.OffTick.Duration() >= r.Clock.Tick.Duration() {
			t.Errorf("%s of the %s: %v after its tick, want less than one tick", e.What, e.Host, e.OffTick.Duration())
		}
	}
}

// TestJitterInGuest catches draws that are counted otherwise in a guest, or by a kernel that sends another packet in between: every packet of both
// ends, each timer of which is dated from when the packet really came.
func TestJitterInGuest(t *testing.T) {
	labtest.Need(t, labtest.IPTables, machinesHere)
	t.Parallel() // the guest's time is its own
	r := inGuest(t, "exp10-delayed-ack", "--rtt=100ms", "--jitter=20ms", "--seed=3")
	if r.Link == nil || !strings.Contains(r.Link.How, "TAP") || !r.Link.Every || len(r.Link.Hold) == 0 || len(r.Link.Back) == 0 {
		t.Errorf("got the link %+v, want a process with draws for each packet of both ends", r.Link)
	}
}

//go:build lab && !race

package cli

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// In a guest netem makes the RTT: within 100 µs for a packet that is alone, and both captures tell the truth. The
// runs pass, so the link loses nothing and keeps the order. It catches a guest that lacks a module and falls back to the process.
func linkInGuest(t *testing.T) {
	const rtt = 100 * time.Millisecond
	program := staticProgram(t)
	for _, kernel := range otherKernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			takeProcessor(t)
			out := t.TempDir()
			cmd := exec.Command(program, "run", "exp6-fast-retransmit", "--kernel="+kernel, "--rtt="+rtt.String(), "--out="+out)
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			r := readResult(t, readFile(t, out, "latest", "result.json"))
			if r.Link == nil || !strings.Contains(r.Link.How, "netem") || r.Link.Frames < len(r.Packets) || r.Link.Lost != 0 {
				t.Fatalf("got the link %+v, want netem, %d frames and none lost", r.Link, len(r.Packets))
			}
			for _, p := range r.Packets[:3] { // the handshake: each of them alone
				if p.SentAt == nil || p.ArrivedAt == nil {
					t.Fatalf("packet %d was not seen at both ends", p.ID)
				}
				// The guest's instructions take 4 ns each; some 20 µs of them are between the captures.
				if d := (*p.ArrivedAt - *p.SentAt).Duration() - rtt/2; d < 0 || d > 100*time.Microsecond {
					t.Errorf("packet %d took %v more than half the RTT, want 100 µs at most", p.ID, d)
				}
			}
		})
	}
}

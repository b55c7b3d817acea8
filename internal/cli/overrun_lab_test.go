//go:build lab && !race

package cli

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// flood fills both captures' buffers: 20000 frames that the kernel counts as 2304 bytes each, where a buffer has room for some 7300 (packet_rcv
// holds sk_rmem_alloc against sk_rcvbuf, which is twice the 8 MiB that were asked for).
var flood = fmt.Sprintf(`import socket
s, frame = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), bytes(1400)
for _ in range(20000): s.sendto(frame, (%q, 9))`, lab.ServerAddr.Addr())

// TestOverrun stops the program, which reads both captures, while the lab is flooded from inside, until the kernel has no room for a packet. It
// catches a run that says PASS or FAIL although packets are missing, or does not say that they are, where and between which times. The control is
// the same run, stopped as well but not flooded: it passes.
func TestOverrun(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("nsenter"), labtest.Command("python3"))
	t.Parallel()
	t.Run("flooded", func(t *testing.T) {
		t.Parallel()
		u, r, code := stopped(t, func(client int) {
			cmd := exec.Command("nsenter", "--net=/proc/"+strconv.Itoa(client)+"/ns/net", "python3", "-c", flood)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("flood: %v: %s", err, out)
			}
		})
		if code != explain.ExitInconclusive || r.Verdict != result.Inconclusive {
			t.Errorf("got exit code %d and %s, want %d and inconclusive\n%s", code, r.Verdict, explain.ExitInconclusive, u.stderr.String())
		}
		dropped := 0
		for _, c := range r.Captures {
			dropped += c.Dropped
			inGaps := 0
			for _, g := range c.Gaps {
				inGaps += g.Packets
				if g.From > g.To || g.Packets <= 0 {
					t.Errorf("%s: got the gap %+v", c.Host, g)
				}
			}
			if inGaps != c.Dropped {
				t.Errorf("%s: got %d packets in gaps, want the %d dropped", c.Host, inGaps, c.Dropped)
			}
		}
		if dropped == 0 {
			t.Fatalf("the captures lost nothing: %+v", r.Captures)
		}
		lost := 0
		for _, c := range r.Checks {
			if c.Verdict == result.Fail {
				t.Errorf("check %s: got FAIL (%s) while %d packets are missing", c.ID, c.Detail, dropped)
			}
			if c.Code == explain.CaptureDrops {
				lost++
			}
		}
		if lost == 0 {
			t.Errorf("no check names %s: %+v", explain.CaptureDrops, r.Checks)
		}
		wantParts(t, "the report", u.stderr.String(), "INCONCLUSIVE", "lost by the capture (", "tcplab explain "+explain.CaptureDrops)
	})
	t.Run("stopped alone", func(t *testing.T) {
		t.Parallel()
		for range attempts {
			_, r, code := stopped(t, func(int) { <-time.After(300 * time.Millisecond) }) // as long as a flood
			if code == 0 && r.Verdict == result.Pass {
				return
			}
			if r.Verdict != result.Inconclusive {
				t.Fatalf("got exit code %d and %s (%s), want a pass", code, r.Verdict, r.Reason)
			}
			t.Logf("the machine disturbed the run: %s", r.Reason)
		}
		t.Fatalf("the machine disturbed %d runs one after the other; run this on a quieter one", attempts)
	})
}

// stopped makes a fast run that is stopped between its first packet and the next, does something meanwhile that is told the client's process,
// and returns what came of it.
func stopped(t *testing.T, do func(client int)) (*underway, *result.Result, int) {
	t.Helper()
	u := start(t)
	client := 0
	for child := range holdings(t, u.cmd.Process.Pid).children {
		if _, home := namespacesOf(child)[hostNamespace(t)]; !home {
			client = child
		}
	}
	if client == 0 {
		t.Fatal("the run has no client")
	}
	u.signal(t, syscall.SIGSTOP)
	do(client)
	u.signal(t, syscall.SIGCONT)
	code := u.wait(t)
	text, err := os.ReadFile(u.dir + "/tcplab-runs/latest/result.json")
	if err != nil {
		t.Fatalf("exit code %d: %v\n%s", code, err, u.stderr.String())
	}
	return u, readResult(t, text), code
}

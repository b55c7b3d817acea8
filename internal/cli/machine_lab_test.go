//go:build lab

package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/pcapout"
)

// Runs in virtual time leave the same packets each time, on each kernel; another parameter leaves others. It needs no privilege.
func TestRunOnOtherKernels(t *testing.T) {
	labtest.Need(t, labtest.IPTables, labtest.Requirement{Name: "QEMU and the kernels 6.1 and 6.12", Missing: func() string {
		_, err := vm.FindEngine()
		for _, k := range []string{"6.1", "6.12"} {
			if err == nil {
				_, err = vm.Find(k)
			}
		}
		if err != nil {
			return err.Error()
		}
		return ""
	}})
	program := filepath.Join(t.TempDir(), "tcplab")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "../../cmd/tcplab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	out := t.TempDir()
	run := func(args ...string) map[string][]byte {
		t.Helper()
		cmd := exec.Command(program, append([]string{"run", "exp1-syn-loss", "--out=" + out}, args...)...)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, text)
		}
		files := map[string][]byte{}
		for _, name := range []string{"result.json", "client.pcapng", "server.pcapng", "junit.xml", "ladder.txt"} {
			b, err := os.ReadFile(filepath.Join(out, "latest", name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = b
		}
		return files
	}
	for _, kernel := range []string{"6.1", "6.12"} {
		first, second := run("--kernel="+kernel), run("--kernel="+kernel)
		for _, name := range []string{"junit.xml", "ladder.txt"} {
			if !bytes.Equal(first[name], second[name]) {
				t.Errorf("%s: %s is not the same the second time", kernel, name)
			}
		}
		for _, name := range []string{"client.pcapng", "server.pcapng"} {
			if err := sameCapture(first[name], second[name]); err != nil {
				t.Errorf("%s: %s is not the same the second time: %v", kernel, name, err)
			}
		}
		r, err := result.Read(bytes.NewReader(first["result.json"]))
		if err != nil || !strings.HasPrefix(r.Kernel.Release, kernel+".") || !r.Clock.Known {
			t.Errorf("%s: got a result of %+v, %v, clock %+v", kernel, r.Kernel.Release, err, r.Clock)
		}
		if other := run("--kernel="+kernel, "--syn-retries=2"); bytes.Equal(first["client.pcapng"], other["client.pcapng"]) {
			t.Errorf("%s: another number of retries gave the same capture", kernel)
		}
	}
}

// sameCapture compares packets, byte for byte, and their times to the microsecond: of the nanoseconds a few leak from the host.
func sameCapture(a, b []byte) error {
	x, err := pcapout.Read(bytes.NewReader(a))
	if err != nil {
		return err
	}
	y, err := pcapout.Read(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if len(x.Records) != len(y.Records) {
		return fmt.Errorf("%d packets and %d", len(x.Records), len(y.Records))
	}
	for i, p := range x.Records {
		q := y.Records[i]
		if d := p.Time.Sub(q.Time).Abs(); !bytes.Equal(p.Data, q.Data) || d > time.Microsecond {
			return fmt.Errorf("packet %d: other bytes, or %v apart", i+1, d)
		}
	}
	return nil
}

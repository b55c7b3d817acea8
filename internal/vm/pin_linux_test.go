package vm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Catches an engine whose threads run on two processors at once, and machines that share a processor while another has none.
func TestPin(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for range all.Count() {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { in.Close(); _ = cmd.Wait() }()
		unpin, err := pin(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		defer unpin()
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "Cpus_allowed_list:\t")
		cpu, _, _ := strings.Cut(rest, "\n")
		if cpu == "" || strings.ContainsAny(cpu, ",-") || used[cpu] {
			t.Errorf("processors of an engine: got %q after %v, want one that no other has", cpu, used)
		}
		used[cpu] = true
	}
	if _, err := pin(1 << 30); err == nil {
		t.Error("a process that is not there has a processor")
	}
}

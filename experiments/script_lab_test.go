//go:build lab

package experiments

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

func init() { netns.PinMain() }

func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }

// TestScriptWorks types the script's commands into a shell, in a mount and network namespace of its own: its named namespaces are not the
// machine's. It catches a command that does not work, and one that does something else than tcplab.
func TestScriptWorks(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("bash"), labtest.Command("ip"), labtest.Command("ethtool"),
		labtest.Command("tcpdump"), labtest.Command("curl"), labtest.Command("python3"))
	x := find(t, "exp1-syn-loss")
	p, err := x.Plan(Fast, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var script strings.Builder
	for _, line := range x.Script(p) {
		if strings.Contains(line, "curl ") {
			// A person types slower than the captures start. The command itself must fail.
			script.WriteString("until [ -e client.pcap ] && [ -e server.pcap ]; do read -rt 0.05 <> <(:) || :; done\n! ")
		}
		script.WriteString(line + "\n")
	}
	cmd := exec.Command("bash", "-e", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // fails where all have ended, as they should
	guard := time.AfterFunc(30*time.Second, end)
	defer guard.Stop()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	end()
	if err != nil {
		t.Errorf("bash: %v\n%s", err, out.String())
	}
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("got the end after %v, want 3 s or more: 1 s and 2 s of waiting", took)
	}
	if !regexp.MustCompile(`(?m)^\s*2\s+\d+ DROP\b.*dpt:8080`).MatchString(out.String()) {
		t.Errorf("got\n%s\nwant a rule that dropped 2 packets: a SYN and its repetition", out.String())
	}
}
